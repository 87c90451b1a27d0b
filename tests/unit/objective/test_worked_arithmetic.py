"""Every loss on numbers small enough to be worked by hand; the working stands beside the expectation."""

import math

import pytest
import torch
from torch import tensor

from orapo.objective.advantages import centred_advantages, standardised_advantages
from orapo.objective.dpo import Dpo
from orapo.objective.grpo import DrGrpo, Grpo, clipped_surrogate, is_clipped, k3_kl
from orapo.objective.preference import ZeroRewardRollouts
from orapo.objective.sft import Sft
from orapo.objective.tensors import ScoredGroups
from orapo.objective.zero_reward import AllZeroIndicator, ZeroRewardFraction, mixing_weight

LN2 = math.log(2)
F64 = torch.float64


def two_rollouts() -> ScoredGroups:
    """One study, K = 2: rollout 0 has 2 tokens and reward 1, rollout 1 has 1 token and reward 0.

    ratios        rollout 0: 2, 1      rollout 1: 1/2
    ref / policy  rollout 0: 1, 1/2    rollout 1: 2
    oracle report of 2 tokens: log-probabilities -1 and -3, under the reference -2 and -4
    """
    policy = [[-1.0, -1.0], [-2.0, 0.0]]
    return ScoredGroups(
        policy_logps=tensor([policy], dtype=F64),
        old_logps=tensor([[[-1.0 - LN2, -1.0], [-2.0 + LN2, 0.0]]], dtype=F64),
        ref_logps=tensor([[[-1.0, -1.0 - LN2], [-2.0 + LN2, 0.0]]], dtype=F64),
        completion_mask=tensor([[[True, True], [True, False]]]),
        rewards=tensor([[1.0, 0.0]], dtype=F64),
        oracle_policy_logps=tensor([[-1.0, -3.0]], dtype=F64),
        oracle_ref_logps=tensor([[-2.0, -4.0]], dtype=F64),
        oracle_mask=tensor([[True, True]]),
    )


def test_advantages():
    # mu = (0 + 0 + 1 + 1) / 4 = 1/2 ; sigma = sqrt(4 * 1/4 / 4) = 1/2
    rewards = tensor([[0.0, 0.0, 1.0, 1.0]], dtype=F64)
    assert centred_advantages(rewards).tolist() == [[-0.5, -0.5, 0.5, 0.5]]
    # 0.5 / (0.5 + 0.5) = 1/2
    assert standardised_advantages(rewards, std_eps=0.5).tolist() == [[-0.5, -0.5, 0.5, 0.5]]
    # 0.5 / (0.5 + 1.5) = 1/4
    assert standardised_advantages(rewards, std_eps=1.5).tolist() == [[-0.25, -0.25, 0.25, 0.25]]


def test_advantages_use_the_population_deviation():
    # mu = 1/2, deviations -1/2 and 1/2; population sigma 1/2 (the sample's would be sqrt(1/2))
    advantages = standardised_advantages(tensor([[0.0, 1.0]], dtype=F64), std_eps=1e-12)
    assert advantages.tolist()[0] == pytest.approx([-1, 1], abs=1e-10)


@pytest.mark.parametrize(
    ("ratio", "advantage", "expected"),
    [
        (2.0, 1.0, 1.5),  # min(2, 1.5): the gain is cut at 1 + clip_high
        (2.0, -1.0, -2.0),  # min(-2, -1.5): a loss is not
        (0.5, 1.0, 0.5),  # min(0.5, 0.75)
        (0.5, -1.0, -0.75),  # min(-0.5, -0.75): cut at 1 - clip_low
        (1.25, 2.0, 2.5),  # inside the range
    ],
)
def test_clipped_surrogate(ratio, advantage, expected):
    got = clipped_surrogate(tensor([[[ratio]]], dtype=F64).log(), tensor([[advantage]], dtype=F64), 0.25, 0.5)
    assert got.item() == pytest.approx(expected, rel=1e-12)
    # clipped exactly where the gain differs from ratio * advantage
    cut = is_clipped(tensor([[[ratio]]], dtype=F64).log(), tensor([[advantage]], dtype=F64), 0.25, 0.5)
    assert cut.item() == (expected != ratio * advantage)


def test_k3_kl():
    # d = ln 2: 2 - ln 2 - 1 = 1 - ln 2 ; d = -ln 2: 1/2 + ln 2 - 1 = ln 2 - 1/2 ; d = 0: 0
    got = k3_kl(tensor([-3.0, -3.0, -3.0], dtype=F64), tensor([-3.0 + LN2, -3.0 - LN2, -3.0], dtype=F64))
    assert got.tolist() == pytest.approx([1 - LN2, LN2 - 0.5, 0.0], abs=1e-12)


def test_dr_grpo():
    # A = 1/2, -1/2
    # rollout 0: min(2 * 1/2, 1.5 * 1/2) + 1 * 1/2 = 3/4 + 1/2 = 5/4 ; rollout 1: min(-1/4, -3/4 * 1/2) = -3/8
    # sum 7/8, over K * max_new_tokens = 2 * 4: 7/64
    loss = DrGrpo(max_new_tokens=4, clip_low=0.25, clip_high=0.5)(two_rollouts())
    assert loss.loss.item() == pytest.approx(-7 / 64, rel=1e-12)
    # clipped: token 0 of rollout 0 and token 0 of rollout 1, of 3 tokens
    assert loss.diagnostics["clip_fraction"].item() == pytest.approx(2 / 3, rel=1e-12)


def test_dr_grpo_with_kl():
    # kl: rollout 0: 0 + (ln 2 - 1/2) ; rollout 1: 1 - ln 2 ; sum 1/2
    # loss: -(7/8 - 1/2 * 1/2) / 8 = -5/64
    loss = DrGrpo(max_new_tokens=4, clip_low=0.25, clip_high=0.5, kl_coef=0.5)(two_rollouts())
    assert loss.loss.item() == pytest.approx(-5 / 64, rel=1e-12)
    # 1/2 over 3 tokens
    assert loss.diagnostics["kl"].item() == pytest.approx(1 / 6, rel=1e-12)


def test_grpo():
    # sigma = 1/2, eps = 1/2: A = 1/2, -1/2 as above
    # rollout 0: (3/4 + 1/2) / 2 = 5/8 ; rollout 1: -3/8 ; mean 1/8
    loss = Grpo(clip_low=0.25, clip_high=0.5, std_eps=0.5)(two_rollouts())
    assert loss.loss.item() == pytest.approx(-1 / 8, rel=1e-12)


def test_grpo_with_kl():
    # kl: rollout 0: (ln 2 - 1/2) / 2 ; rollout 1: 1 - ln 2 ; mean (3/4 - ln 2 / 2) / 2 = 3/8 - ln 2 / 4
    loss = Grpo(clip_low=0.25, clip_high=0.5, std_eps=0.5, kl_coef=2.0)(two_rollouts())
    assert loss.loss.item() == pytest.approx(-1 / 8 + 2 * (3 / 8 - LN2 / 4), rel=1e-12)


def test_dpo_length_normalised():
    # h(oracle) = ((-1 + 2) + (-3 + 4)) / 2 = 1
    # h(rollout 0) = (0 + ln 2) / 2 = ln 2 / 2 ; h(rollout 1) = -ln 2
    # margins at beta 2: 2 - ln 2 and 2 + 2 ln 2 ; -log sigmoid(m) = ln(1 + e^-m)
    # e^-(2 - ln 2) = 2 e^-2 ; e^-(2 + 2 ln 2) = e^-2 / 4
    loss = Dpo(dpo_beta=2.0)(two_rollouts())
    e2 = math.exp(-2)
    assert loss.loss.item() == pytest.approx((math.log(1 + 2 * e2) + math.log(1 + e2 / 4)) / 2, rel=1e-12)
    assert loss.diagnostics["dpo_margin"].item() == pytest.approx((4 + LN2) / 2, rel=1e-12)
    assert loss.diagnostics["dpo_accuracy"].item() == 1
    assert loss.diagnostics["dpo_num_pairs"].item() == 2


def test_dpo_summed():
    # h(oracle) = 2 ; h(rollout 0) = ln 2 ; h(rollout 1) = -ln 2
    # margins at beta 1: 2 - ln 2 and 2 + ln 2: e^-m is 2 e^-2 and e^-2 / 2
    loss = Dpo(dpo_beta=1.0, length_normalised=False)(two_rollouts())
    e2 = math.exp(-2)
    assert loss.loss.item() == pytest.approx((math.log(1 + 2 * e2) + math.log(1 + e2 / 2)) / 2, rel=1e-12)


def test_dpo_against_zero_reward_rollouts_only():
    # only rollout 1 earned 0: one pair, e^-(2 + 2 ln 2) = e^-2 / 4
    loss = Dpo(dpo_beta=2.0, negatives=ZeroRewardRollouts())(two_rollouts())
    assert loss.loss.item() == pytest.approx(math.log(1 + math.exp(-2) / 4), rel=1e-12)
    assert loss.diagnostics["dpo_num_pairs"].item() == 1


def test_sft():
    # (1 + 3) / 2
    assert Sft()(two_rollouts()).loss.tolist() == [2.0]


def test_zero_reward_rates():
    rewards = tensor([[0.0, 0.0, 0.5, 1.0], [0.0, 0.0, 0.0, 0.0], [1.0, 0.1, 0.2, 0.3]])
    assert ZeroRewardFraction()(rewards).tolist() == [0.5, 1.0, 0.0]
    assert AllZeroIndicator()(rewards).tolist() == [0.0, 1.0, 0.0]


def test_mixing_weight():
    # 1/4 + (3/4 - 1/4) * zbar^2 at 0, 1/2, 1: 1/4, 1/4 + 1/8, 3/4
    got = mixing_weight(tensor([0.0, 0.5, 1.0], dtype=F64), w_min=0.25, w_max=0.75, gamma=2)
    assert got.tolist() == [0.25, 0.375, 0.75]
