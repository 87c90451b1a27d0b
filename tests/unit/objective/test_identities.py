"""What must hold whatever the numbers: invariances, gradients, and what padding may never do."""

import dataclasses
import math

import pytest
import torch
from torch import tensor

from orapo.objective.advantages import centred_advantages, standardised_advantages
from orapo.objective.cal_dpo import CalDpo
from orapo.objective.cispo import Cispo
from orapo.objective.dapo import Dapo
from orapo.objective.dpo import Dpo
from orapo.objective.grpo import DrGrpo, Grpo
from orapo.objective.gspo import Gspo
from orapo.objective.kto import Kto
from orapo.objective.orpo import Orpo
from orapo.objective.preference import ZeroRewardRollouts
from orapo.objective.sft import Sft
from orapo.objective.simpo import SimPo
from orapo.objective.tensors import ScoredGroups

POLICY_LOSSES = [
    DrGrpo(max_new_tokens=9),
    DrGrpo(max_new_tokens=9, kl_coef=0.3),
    Grpo(),
    Grpo(kl_coef=0.3),
    Dapo(max_new_tokens=9),
    Dapo(max_new_tokens=9, overlong_fraction=0.6, overlong_filtering=True, max_redraws=1),
    # wide enough for the case's ratios not to be clipped
    Gspo(clip_low=0.4, clip_high=0.4),
    Cispo(),
]
ORACLE_LOSSES = [
    Dpo(dpo_beta=0.7),
    Dpo(dpo_beta=0.7, length_normalised=False),
    Dpo(dpo_beta=0.7, negatives=ZeroRewardRollouts()),
    Sft(),
    SimPo(simpo_beta=2.0, margin_ratio=0.5),
    Orpo(odds_coef=0.3),
    CalDpo(cal_beta=0.4),
    CalDpo(cal_beta=0.4, length_normalised=True, negatives=ZeroRewardRollouts()),
    Kto(kto_beta=0.4),
    Kto(kto_beta=0.4, length_normalised=True, negatives=ZeroRewardRollouts()),
]
LOSSES = POLICY_LOSSES + ORACLE_LOSSES
MASK_OF = {
    "policy_logps": "completion_mask",
    "old_logps": "completion_mask",
    "ref_logps": "completion_mask",
    "oracle_policy_logps": "oracle_mask",
    "oracle_ref_logps": "oracle_mask",
}
INPUTS = ("policy_logps", "oracle_policy_logps")


def with_gradients(scored: ScoredGroups) -> ScoredGroups:
    leaves = {name: getattr(scored, name).detach().clone().requires_grad_() for name in MASK_OF}
    return dataclasses.replace(scored, **leaves)


def loss_and_gradients(loss, scored):
    scored = with_gradients(scored)
    value = loss(scored).loss
    value.sum().backward()
    return value.detach(), {name: getattr(scored, name).grad for name in INPUTS}


def fill_padding(scored: ScoredGroups, filler: float) -> ScoredGroups:
    filled = {
        name: torch.where(getattr(scored, mask), getattr(scored, name), tensor(filler, dtype=torch.float64))
        for name, mask in MASK_OF.items()
    }
    return dataclasses.replace(scored, **filled)


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
@pytest.mark.parametrize("filler", [math.nan, math.inf, -math.inf, 0.0, -1e30])
def test_padding_changes_neither_value_nor_gradient(loss, filler, scored):
    base, base_gradients = loss_and_gradients(loss, fill_padding(scored, -1.5))
    value, gradients = loss_and_gradients(loss, fill_padding(scored, filler))
    assert torch.equal(value, base)
    for name in INPUTS:
        if base_gradients[name] is None:
            assert gradients[name] is None
            continue
        assert torch.equal(gradients[name], base_gradients[name])
        assert torch.equal(gradients[name][~getattr(scored, MASK_OF[name])].abs().sum(), tensor(0.0).double())


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_wider_padding_changes_nothing(loss, scored):
    wide = {name: torch.nn.functional.pad(getattr(scored, name), (0, 4), value=math.nan) for name in MASK_OF}
    masks = {name: torch.nn.functional.pad(getattr(scored, name), (0, 4)) for name in set(MASK_OF.values())}
    got = loss(dataclasses.replace(scored, **wide, **masks)).loss
    assert got.tolist() == pytest.approx(loss(scored).loss.tolist(), rel=1e-12)


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_the_eos_token_counts(loss, scored):
    # the last token that counts is the EOS: of rollout 1 of study 2 (mixed rewards), or of its oracle report
    scored = dataclasses.replace(scored, finished=torch.ones_like(scored.finished))
    name = "oracle_policy_logps" if loss in ORACLE_LOSSES else "policy_logps"
    mask = getattr(scored, MASK_OF[name])
    row = (2,) if mask.ndim == 2 else (2, 1)
    eos = int(mask[row].sum()) - 1
    moved = getattr(scored, name).clone()
    # near the sampling policy, where nothing is clipped
    moved[(*row, eos)] = moved[(*row, eos)] - 0.3 if mask.ndim == 2 else scored.old_logps[(*row, eos)] + 0.01
    before, after = loss(scored).loss, loss(dataclasses.replace(scored, **{name: moved})).loss
    assert after[2] != before[2]
    assert torch.equal(after[:2], before[:2])
    _, gradients = loss_and_gradients(loss, dataclasses.replace(scored, **{name: moved}))
    assert gradients[name][(*row, eos)] != 0


@pytest.mark.parametrize("loss", POLICY_LOSSES, ids=repr)
def test_a_constant_added_to_a_groups_rewards_changes_nothing(loss, scored):
    low = dataclasses.replace(scored, rewards=scored.rewards * 0.5)
    shift = tensor([[0.5], [0.25], [0.125]], dtype=torch.float64)
    high = dataclasses.replace(scored, rewards=scored.rewards * 0.5 + shift)
    assert loss(high).loss.tolist() == pytest.approx(loss(low).loss.tolist(), rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("reward", [0.0, 0.7, 0.1, 1.0])
@pytest.mark.parametrize(
    "loss",
    [
        DrGrpo(max_new_tokens=9),
        Grpo(),
        Grpo(std_eps=1e-20),
        Gspo(),
        Cispo(),
        Dapo(max_new_tokens=9),
        Dapo(max_new_tokens=9, overlong_fraction=0.6, max_redraws=0),
    ],
    ids=repr,
)
def test_an_all_equal_group_has_no_task_gradient(loss, reward, scored):
    equal = dataclasses.replace(scored, rewards=torch.full_like(scored.rewards, reward))
    value, gradients = loss_and_gradients(loss, equal)
    assert value.abs().sum() == 0
    assert gradients["policy_logps"].abs().sum() == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rounding_does_not_pass_for_an_advantage(dtype):
    # seven times 0.1 is not 0.7 in floats, so an equal group's mean may miss its reward by a rounding step
    groups = [torch.full((1, size), tenth / 10, dtype=dtype) for size in range(2, 17) for tenth in range(11)]
    assert any((group - group.mean()).abs().sum() > 0 for group in groups)
    for group in groups:
        assert centred_advantages(group).abs().sum() == 0
        assert standardised_advantages(group, std_eps=1e-30).abs().sum() == 0


def test_an_all_equal_group_still_feels_the_kl(scored):
    equal = dataclasses.replace(scored, rewards=torch.zeros_like(scored.rewards))
    _, gradients = loss_and_gradients(DrGrpo(max_new_tokens=9, kl_coef=0.3), equal)
    assert gradients["policy_logps"].abs().sum() > 0


@pytest.mark.parametrize("clip", [0.0, 0.2])
def test_dr_grpo_gradient_at_ratio_one_is_the_policy_gradient(clip, scored):
    # d loss_i / d logp_ikt = -A_ik / (K * max_new_tokens) at every token that counts
    on_policy = dataclasses.replace(scored, old_logps=scored.policy_logps)
    _, gradients = loss_and_gradients(DrGrpo(max_new_tokens=9, clip_low=clip, clip_high=clip), on_policy)
    advantages = scored.rewards - scored.rewards.mean(dim=1, keepdim=True)
    expected = (-advantages / (4 * 9)).unsqueeze(-1) * scored.completion_mask
    assert torch.allclose(gradients["policy_logps"], expected, rtol=1e-12, atol=1e-15)


def test_grpo_gradient_at_ratio_one_is_the_policy_gradient(scored):
    # d loss_i / d logp_ikt = -A_ik / (K * |y_ik|)
    on_policy = dataclasses.replace(scored, old_logps=scored.policy_logps)
    _, gradients = loss_and_gradients(Grpo(std_eps=0.1), on_policy)
    deviations = scored.rewards - scored.rewards.mean(dim=1, keepdim=True)
    advantages = deviations / (scored.rewards.std(dim=1, correction=0, keepdim=True) + 0.1)
    lengths = scored.completion_mask.sum(dim=-1)
    expected = (-advantages / (4 * lengths)).unsqueeze(-1) * scored.completion_mask
    assert torch.allclose(gradients["policy_logps"], expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(("shift", "reward"), [(0.5, 1.0), (-0.5, 0.0)])
def test_a_clipped_token_has_no_gradient(shift, reward, scored):
    # the winner already more likely by more than 1 + clip_high, the loser less likely than 1 - clip_low
    rewards = torch.full_like(scored.rewards, 0.5)
    rewards[:, 0] = reward
    moved = scored.old_logps.clone()
    moved[:, 0] += shift
    _, gradients = loss_and_gradients(
        DrGrpo(max_new_tokens=9), dataclasses.replace(scored, rewards=rewards, policy_logps=moved)
    )
    assert gradients["policy_logps"][:, 0].abs().sum() == 0
    assert (gradients["policy_logps"][:, 1:][scored.completion_mask[:, 1:]] != 0).all()


@pytest.mark.parametrize("loss", ORACLE_LOSSES[:2], ids=repr)
@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_dpo_is_ln_2_exactly_when_the_policy_is_the_reference(loss, shift, scored):
    same = dataclasses.replace(
        scored, policy_logps=scored.ref_logps, oracle_policy_logps=scored.oracle_ref_logps + shift
    )
    got = loss(same).loss.tolist()
    assert (got == pytest.approx([math.log(2)] * 3, rel=1e-12)) == (shift == 0.0)


def test_dpo_gradient_raises_the_oracle_and_lowers_the_rollouts(scored):
    _, gradients = loss_and_gradients(Dpo(dpo_beta=0.7), scored)
    assert (gradients["oracle_policy_logps"][scored.oracle_mask] < 0).all()
    assert (gradients["policy_logps"][scored.completion_mask] > 0).all()


def test_dpo_without_a_pair_is_zero_and_has_no_gradient(scored):
    rewards = torch.ones_like(scored.rewards)
    rewards[1] = 0.0
    loss = Dpo(dpo_beta=0.7, negatives=ZeroRewardRollouts())
    value, gradients = loss_and_gradients(loss, dataclasses.replace(scored, rewards=rewards))
    assert value[0] == value[2] == 0 < value[1]
    assert gradients["policy_logps"][[0, 2]].abs().sum() == 0
    assert gradients["oracle_policy_logps"][[0, 2]].abs().sum() == 0
    diagnostics = loss(dataclasses.replace(scored, rewards=rewards)).diagnostics
    assert diagnostics["dpo_num_pairs"].tolist() == [0, 4, 0]
    assert diagnostics["dpo_margin"].isnan().tolist() == [True, False, True]
    assert diagnostics["dpo_accuracy"].isnan().tolist() == [True, False, True]


def test_dpo_survives_extreme_margins(scored):
    value, gradients = loss_and_gradients(Dpo(dpo_beta=1e4, length_normalised=False), scored)
    assert value.isfinite().all()
    assert gradients["policy_logps"].isfinite().all()


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_order_of_rollouts_does_not_matter(loss, scored):
    order = [2, 0, 3, 1]
    names = ("policy_logps", "old_logps", "ref_logps", "completion_mask", "rewards", "finished")
    shuffled = dataclasses.replace(scored, **{name: getattr(scored, name)[:, order] for name in names})
    assert loss(shuffled).loss.tolist() == pytest.approx(loss(scored).loss.tolist(), rel=1e-12)


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_studies_do_not_mix(loss, scored):
    names = [*MASK_OF, "completion_mask", "oracle_mask", "rewards", "finished"]
    # of the whole batch, so it stays what it was when the batch is split
    scored = dataclasses.replace(scored, tokens_per_study=11.0)
    apart = [
        loss(dataclasses.replace(scored, **{name: getattr(scored, name)[i : i + 1] for name in names})).loss.item()
        for i in range(3)
    ]
    assert apart == pytest.approx(loss(scored).loss.tolist(), rel=1e-12)


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_only_the_policy_gets_a_gradient(loss, scored):
    scored = with_gradients(scored)
    loss(scored).loss.sum().backward()
    assert scored.old_logps.grad is None
    assert scored.ref_logps.grad is None
    assert scored.oracle_ref_logps.grad is None


# The weight of CISPO and the reference point of KTO carry no gradient on purpose; their own tests have their gradients.
@pytest.mark.parametrize("loss", [loss for loss in LOSSES if not isinstance(loss, Cispo | Kto)], ids=repr)
def test_gradcheck(loss, scored):
    scored = fill_padding(scored, -1.0)

    def of_inputs(policy_logps, oracle_policy_logps):
        moved = dataclasses.replace(scored, policy_logps=policy_logps, oracle_policy_logps=oracle_policy_logps)
        return loss(moved).loss

    inputs = [getattr(scored, name).detach().clone().requires_grad_() for name in INPUTS]
    assert torch.autograd.gradcheck(of_inputs, inputs)
