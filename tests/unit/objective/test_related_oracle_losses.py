"""SimPO, ORPO, Cal-DPO and KTO: worked arithmetic, identities, gradients."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import tensor

from orapo.errors import DataError, SettingError
from orapo.objective.cal_dpo import CalDpo
from orapo.objective.dpo import Dpo
from orapo.objective.kto import Kto, reference_point
from orapo.objective.orpo import Orpo, log_odds
from orapo.objective.preference import ZeroRewardRollouts
from orapo.objective.sft import Sft
from orapo.objective.simpo import SimPo
from orapo.objective.tensors import ScoredGroups

LN2 = math.log(2)
LN3 = math.log(3)
F64 = torch.float64


def one_study() -> ScoredGroups:
    """One study, K = 2, oracle report of 2 tokens.

    mean log-probabilities   oracle -ln 2 ; rollout 0 (2 tokens) -2 ln 2 ; rollout 1 (1 token) -ln 2
    summed log-ratios        oracle 2 ; rollout 0: 2 ; rollout 1: -1
    rewards                  1/2 and 0
    """
    policy = tensor([[[-3 * LN2, -LN2], [-LN2, 0.0]]], dtype=F64)
    oracle = tensor([[-0.5 * LN2, -1.5 * LN2]], dtype=F64)
    return ScoredGroups(
        policy_logps=policy,
        old_logps=policy,
        ref_logps=policy - tensor([[[0.5, 1.5], [-1.0, 0.0]]], dtype=F64),
        completion_mask=tensor([[[True, True], [True, False]]]),
        rewards=tensor([[0.5, 0.0]], dtype=F64),
        oracle_policy_logps=oracle,
        oracle_ref_logps=oracle - tensor([[1.0, 1.0]], dtype=F64),
        oracle_mask=tensor([[True, True]]),
    )


def softplus(x: float) -> float:
    return math.log(1 + math.exp(x))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_simpo():
    # margins at beta 2, gamma / beta = 1/2: 2 (-ln 2 + 2 ln 2 - 1/2) = 2 ln 2 - 1 and 2 (0 - 1/2) = -1
    loss = SimPo(simpo_beta=2.0, margin_ratio=0.5)(one_study())
    assert loss.loss.item() == pytest.approx((softplus(1 - 2 * LN2) + softplus(1)) / 2, rel=1e-12)
    assert loss.diagnostics["dpo_margin"].item() == pytest.approx(LN2 - 1, rel=1e-12)
    assert loss.diagnostics["dpo_accuracy"].item() == 0.5
    assert loss.diagnostics["dpo_num_pairs"].item() == 2


def test_orpo():
    # P: oracle 1/2, rollouts 1/4 and 1/2 ; odds 1, 1/3 and 1 ; log odds ratios ln 3 and 0
    # -log sigmoid: ln(1 + 1/3) = ln(4/3) and ln 2 ; SFT: ln 2
    loss = Orpo(odds_coef=0.5)(one_study())
    assert loss.loss.item() == pytest.approx(LN2 + 0.5 * (math.log(4 / 3) + LN2) / 2, rel=1e-12)
    assert loss.diagnostics["dpo_margin"].item() == pytest.approx(LN3 / 2, rel=1e-12)


def test_cal_dpo():
    # targets at beta 1/4: 2 and -2 ; oracle at its target ; rollouts off by 4 and 1 ; margins 0 and 3
    loss = CalDpo(cal_beta=0.25)(one_study())
    assert loss.loss.item() == pytest.approx((LN2 + 16 + softplus(-3) + 1) / 2, rel=1e-12)


def test_cal_dpo_per_token():
    # h: 1, 1 and -1 ; off by 1, 3 and 1 ; margins 0 and 2
    loss = CalDpo(cal_beta=0.25, length_normalised=True)(one_study())
    assert loss.loss.item() == pytest.approx((LN2 + 1 + 9 + softplus(-2) + 1 + 1) / 2, rel=1e-12)


def test_kto():
    # z_0 = (2 - 1) / 2 = 1/2 ; beta 2, lambda_D 3, lambda_U 5
    # oracle: 3 (1 - sigmoid(2 * 3/2)) ; rollouts: 5 (1 - sigmoid(2 * -3/2)), 5 (1 - sigmoid(2 * 3/2))
    loss = Kto(kto_beta=2.0, desirable_weight=3.0, undesirable_weight=5.0)(one_study())
    wanted = 3 * (1 - sigmoid(3))
    unwanted = 5 * ((1 - sigmoid(-3)) + (1 - sigmoid(3))) / 2
    assert loss.loss.item() == pytest.approx((wanted + unwanted) / 2, rel=1e-12)
    assert loss.diagnostics["dpo_margin"].item() == pytest.approx(2 * (0 + 3) / 2, rel=1e-12)


def test_against_zero_reward_rollouts_only():
    # only rollout 1 ; KTO's reference point is still that of both
    only = {"negatives": ZeroRewardRollouts()}
    assert SimPo(2.0, 0.5, **only)(one_study()).loss.item() == pytest.approx(softplus(1), rel=1e-12)
    assert Orpo(0.5, **only)(one_study()).loss.item() == pytest.approx(1.5 * LN2, rel=1e-12)
    assert CalDpo(0.25, **only)(one_study()).loss.item() == pytest.approx(softplus(-3) + 1, rel=1e-12)
    assert Kto(2.0, **only)(one_study()).loss.item() == pytest.approx(1 - sigmoid(3), rel=1e-12)


def test_without_a_pair_what_remains_is_the_oracle_reports_own_part():
    rich = dataclasses.replace(one_study(), rewards=torch.ones(1, 2, dtype=F64))
    only = {"negatives": ZeroRewardRollouts()}
    assert SimPo(2.0, 0.5, **only)(rich).loss.item() == 0
    assert CalDpo(0.25, **only)(rich).loss.item() == 0
    assert Orpo(0.5, **only)(rich).loss.item() == pytest.approx(Sft()(rich).loss.item(), rel=1e-12)
    assert Kto(2.0, **only)(rich).loss.item() == pytest.approx((1 - sigmoid(3)) / 2, rel=1e-12)
    for loss in (SimPo(2.0, 0.5, **only), CalDpo(0.25, **only), Orpo(0.5, **only), Kto(2.0, **only)):
        diagnostics = loss(rich).diagnostics
        assert diagnostics["dpo_num_pairs"].item() == 0
        assert diagnostics["dpo_margin"].isnan()


def gradients(loss, scored: ScoredGroups) -> tuple[torch.Tensor, torch.Tensor]:
    leaves = {name: getattr(scored, name).detach().clone().requires_grad_() for name in PROBABILITIES}
    loss(dataclasses.replace(scored, **leaves)).loss.sum().backward()
    return leaves["policy_logps"].grad, leaves["oracle_policy_logps"].grad


PROBABILITIES = ("policy_logps", "oracle_policy_logps")
LOSSES = [SimPo(2.0, 0.5), Orpo(0.3), CalDpo(0.001), Kto(0.4)]


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_the_gradient_raises_the_oracle_report_and_lowers_the_rollouts(loss, scored):
    # Cal-DPO's targets are far away at this beta, so that both terms pull the same way
    rollouts, oracle = gradients(loss, scored)
    assert (oracle[scored.oracle_mask] < 0).all()
    assert (rollouts[scored.completion_mask] > 0).all()


def test_kto_gradient_with_a_fixed_reference_point(scored):
    # d/dh of lambda sigmoid(+-beta (z - h)) / 2, z_0 a constant; h is the sum, so every token has the same
    rollouts, oracle = gradients(Kto(kto_beta=0.4), scored)
    h = ((scored.policy_logps - scored.ref_logps).masked_fill(~scored.completion_mask, 0)).sum(dim=-1)
    own = ((scored.oracle_policy_logps - scored.oracle_ref_logps).masked_fill(~scored.oracle_mask, 0)).sum(dim=-1)
    z = h.mean(dim=-1, keepdim=True).clamp(min=0)
    s = torch.sigmoid(0.4 * (own - z.squeeze(-1)))
    assert torch.allclose(oracle, (-0.4 * s * (1 - s) / 2).unsqueeze(-1) * scored.oracle_mask, rtol=1e-10)
    s = torch.sigmoid(0.4 * (z - h))
    assert torch.allclose(rollouts, (0.4 * s * (1 - s) / 8).unsqueeze(-1) * scored.completion_mask, rtol=1e-10)


def test_simpo_without_a_margin_is_dpo_against_a_uniform_reference(scored):
    flat = dataclasses.replace(
        scored,
        ref_logps=torch.full_like(scored.ref_logps, -2.0),
        oracle_ref_logps=torch.full_like(scored.oracle_ref_logps, -2.0),
    )
    got = SimPo(simpo_beta=0.7, margin_ratio=0.0)(flat).loss.tolist()
    assert got == pytest.approx(Dpo(dpo_beta=0.7, length_normalised=True)(flat).loss.tolist(), rel=1e-12)


def test_kto_is_half_its_weights_when_the_policy_is_the_reference(scored):
    same = dataclasses.replace(scored, policy_logps=scored.ref_logps, oracle_policy_logps=scored.oracle_ref_logps)
    got = Kto(0.4, desirable_weight=1.5, undesirable_weight=0.5)(same).loss.tolist()
    assert got == pytest.approx([(0.75 + 0.25) / 2] * 3, rel=1e-12)


def test_cal_dpo_at_its_targets_is_dpo_at_its_margin(scored):
    # h(y+) = 1/(2 beta) and h(y-) = -1/(2 beta): no calibration left, margin 1 / beta
    per_token = 1 / (2 * 0.5)
    at_target = dataclasses.replace(
        scored,
        policy_logps=scored.ref_logps - per_token,
        oracle_policy_logps=scored.oracle_ref_logps + per_token,
    )
    got = CalDpo(cal_beta=0.5, length_normalised=True)(at_target).loss.tolist()
    assert got == pytest.approx([softplus(-2.0)] * 3, rel=1e-10)


def test_reference_point_is_never_negative_and_has_no_gradient():
    rewards = tensor([[1.0, 2.0], [-3.0, 1.0]], requires_grad=True)
    assert reference_point(rewards).tolist() == [[1.5], [0.0]]
    assert not reference_point(rewards).requires_grad


@given(st.floats(1e-6, 1 - 1e-6))
def test_log_odds(p):
    assert log_odds(tensor(math.log(p), dtype=F64)).item() == pytest.approx(math.log(p / (1 - p)), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_log_odds_of_a_certain_report_is_finite(dtype):
    certain = tensor([0.0, -1e-30, -1e-3], dtype=dtype, requires_grad=True)
    value = log_odds(certain)
    value.sum().backward()
    assert value.isfinite().all()
    assert value[0] == value[1] > value[2]
    assert certain.grad.isfinite().all()


@pytest.mark.parametrize("loss", [SimPo(2.0, 0.5), Dpo(0.7), CalDpo(0.4, length_normalised=True)], ids=repr)
@given(shift=st.floats(-3, 3))
def test_only_cal_dpo_sees_a_shift_common_to_the_oracle_report_and_the_rollouts(loss, shift):
    base = one_study()
    moved = dataclasses.replace(
        base, policy_logps=base.policy_logps + shift, oracle_policy_logps=base.oracle_policy_logps + shift
    )
    before, after = loss(base), loss(moved)
    assert after.diagnostics["dpo_margin"].item() == pytest.approx(before.diagnostics["dpo_margin"].item(), abs=1e-9)
    if isinstance(loss, CalDpo):
        # the mean over the pairs of (h + s - a)^2 - (h - a)^2 = 2 s (h - a) + s^2 ; h - a: oracle -1/4 ; 9/4 and 1/4
        extra = 2 * shift * (-0.25 + (2.25 + 0.25) / 2) + 2 * shift**2
        assert after.loss.item() - before.loss.item() == pytest.approx(extra, abs=1e-9)
    else:
        assert after.loss.item() == pytest.approx(before.loss.item(), rel=1e-9)


@pytest.mark.parametrize(
    ("loss", "reference"),
    [(SimPo(2.0, 0.5), False), (Orpo(0.3), False), (CalDpo(0.4), True), (Kto(0.4), True)],
    ids=repr,
)
def test_needs(loss, reference, scored):
    assert loss.needs_rollouts is True
    assert loss.needs_reference is reference
    bare = dataclasses.replace(scored, ref_logps=None, oracle_ref_logps=None)
    if reference:
        with pytest.raises(DataError, match=rf"^oracle_ref_logps is None; {type(loss).__name__} needs it"):
            loss(bare)
    else:
        assert torch.equal(loss(bare).loss, loss(scored).loss)
    alone = dataclasses.replace(scored, oracle_policy_logps=None, oracle_ref_logps=None, oracle_mask=None)
    with pytest.raises(DataError, match=rf"^oracle_policy_logps is None; {type(loss).__name__} needs it"):
        loss(alone)


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        (SimPo, "simpo_beta", 0),
        (SimPo, "margin_ratio", -0.1),
        (SimPo, "negatives", "all"),
        (Orpo, "odds_coef", 0.0),
        (Orpo, "negatives", ZeroRewardRollouts),
        (CalDpo, "cal_beta", -1),
        (CalDpo, "length_normalised", 1),
        (CalDpo, "negatives", None),
        (Kto, "kto_beta", math.inf),
        (Kto, "desirable_weight", 0),
        (Kto, "undesirable_weight", "1"),
        (Kto, "length_normalised", "no"),
        (Kto, "negatives", {}),
    ],
)
def test_bad_settings_are_refused_by_name(kind, key, value):
    good = {SimPo: {"simpo_beta": 2.0, "margin_ratio": 0.5}, Orpo: {"odds_coef": 0.1}, CalDpo: {"cal_beta": 0.1}}
    with pytest.raises(SettingError, match=rf"^{key} is .*it must be ") as caught:
        kind(**{**good.get(kind, {"kto_beta": 0.1}), key: value})
    assert "\n" not in str(caught.value)
