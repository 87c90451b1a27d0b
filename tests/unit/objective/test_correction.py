"""Importance weights of what another model sampled: worked numbers, and the gradient of every loss by them."""

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from orapo.errors import SettingError
from orapo.objective.cispo import Cispo
from orapo.objective.correction import corrected, effective_sample_size, importance_weights, masked, truncated
from orapo.objective.dapo import Dapo
from orapo.objective.dpo import Dpo
from orapo.objective.grpo import DrGrpo, Grpo, clipped_surrogate, log_ratio
from orapo.objective.gspo import Gspo
from orapo.objective.orapo import OrapoObjective
from orapo.objective.tensors import ScoredGroups
from orapo.objective.zero_reward import PerStudyAverage, ZeroRewardFraction

MASK = torch.tensor([[[True, True, True], [True, True, False]]])
WEIGHTS = torch.tensor([[[3.0, 0.5, 1.0], [0.25, 2.0, 7.0]]], dtype=torch.float64)
"""Of one study with two rollouts, of which the second ends before its third place."""
OLD = torch.full_like(WEIGHTS, -1.0)


def groups(**changed: Any) -> ScoredGroups:
    old = OLD.masked_fill(~MASK, math.nan)
    return ScoredGroups(
        policy_logps=old + 0.05,
        old_logps=old,
        ref_logps=None,
        completion_mask=MASK,
        rewards=torch.tensor([[1.0, 0.25]], dtype=torch.float64),
        **{"sampler_logps": old - WEIGHTS.log(), **changed},
    )


def weights(level: Any) -> Tensor:
    scored = groups()
    assert scored.sampler_logps is not None
    return importance_weights(scored.old_logps, scored.sampler_logps, MASK, level)


def test_weights_worked_by_hand() -> None:
    torch.testing.assert_close(weights("token"), torch.tensor([[[3, 0.5, 1], [0.25, 2, 0]]], dtype=torch.float64))
    torch.testing.assert_close(
        weights("sequence"), torch.tensor([[[1.5, 1.5, 1.5], [0.5, 0.5, 0]]], dtype=torch.float64)
    )


def test_bounds_worked_by_hand() -> None:
    by_token = weights("token")
    assert truncated(by_token, 2.0).flatten().tolist() == pytest.approx([2, 0.5, 1, 0.25, 2, 0])
    # 3 is above 2, 0.25 below 1 / 2; the limits themselves are kept (their weights are a rounding error away).
    assert masked(by_token, 2.0 + 1e-9).flatten().tolist() == pytest.approx([0, 0.5, 1, 0, 2, 0])


def test_effective_sample_size_worked_by_hand() -> None:
    # 6.75^2 / (5 * (9 + 1/4 + 1 + 1/16 + 4))
    assert effective_sample_size(weights("token"), MASK).tolist() == pytest.approx([6.75**2 / (5 * 14.3125)])
    assert effective_sample_size(MASK.double() * 0.3, MASK).tolist() == pytest.approx([1.0])


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_effective_sample_size_of_weights_whose_squares_no_float32_holds(scale: float) -> None:
    small = weights("token").float()
    expected = pytest.approx(effective_sample_size(small, MASK).tolist())
    assert effective_sample_size(small * scale, MASK).tolist() == expected


def test_what_is_told() -> None:
    _, told = corrected(groups(), "truncate", "token", 2.0 + 1e-9)
    assert told["corrected_fraction"].tolist() == pytest.approx([1 / 5])
    _, told = corrected(groups(), "mask", "token", 2.0 + 1e-9)
    assert told["corrected_fraction"].tolist() == pytest.approx([2 / 5])
    _, told = corrected(groups(), "mask", "sequence", 1.4)
    assert told["corrected_fraction"].tolist() == pytest.approx([1])
    scored = groups()
    same, told = corrected(scored, "none", "token", 2.0)
    assert same is scored
    assert told.keys() == {"effective_sample_size"}
    assert corrected(groups(sampler_logps=None), "truncate", "token", 2.0)[1] == {}


LOSSES = [
    Grpo(),
    DrGrpo(max_new_tokens=4),
    Dapo(max_new_tokens=4),
    Cispo(),
    Gspo(clip_low=0.2, clip_high=0.2),
]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("correction", ["truncate", "mask"])
@pytest.mark.parametrize("level", ["token", "sequence"])
def test_the_gradient_of_every_loss_is_multiplied_and_its_value_stays(loss: Any, correction: Any, level: Any) -> None:
    bounded = (truncated if correction == "truncate" else masked)(weights(level), 1.4)
    assert not torch.equal(bounded, weights(level))

    def gradient(how: Any) -> tuple[float, Tensor]:
        leaf = groups().policy_logps.clone().requires_grad_()
        scored, _ = corrected(dataclasses.replace(groups(), policy_logps=leaf), how, level, 1.4)
        value = loss(scored).loss.sum()
        value.backward()
        assert leaf.grad is not None
        return value.item(), leaf.grad

    plain, expected = gradient("none")
    value, actual = gradient(correction)
    assert value == pytest.approx(plain)
    assert expected.abs().sum() > 0
    torch.testing.assert_close(actual, expected * bounded)
    assert not torch.allclose(actual, expected)


def test_dr_grpo_is_the_weighted_surrogate_of_the_papers() -> None:
    """The gradient of -sum w min(rho A, clip(rho) A) / (K * max_new_tokens), written out."""
    leaf = groups().policy_logps.clone().requires_grad_()
    scored = dataclasses.replace(groups(), policy_logps=leaf)
    advantages = torch.tensor([[0.375, -0.375]], dtype=torch.float64)
    gain = truncated(weights("token"), 2.0) * clipped_surrogate(log_ratio(scored), advantages, 0.2, 0.2)
    (-gain.masked_fill(~MASK, 0.0).sum() / (2 * 4)).backward()
    other = groups().policy_logps.clone().requires_grad_()
    sampled, _ = corrected(dataclasses.replace(groups(), policy_logps=other), "truncate", "token", 2.0)
    DrGrpo(max_new_tokens=4)(sampled).loss.sum().backward()
    assert leaf.grad is not None
    torch.testing.assert_close(other.grad, leaf.grad)


def test_the_mass_that_top_p_keeps_is_no_difference_between_two_models() -> None:
    """Renormalised log-probabilities, log p - log 0.8, would make every weight 0.8; whole ones make it 1."""
    old = torch.tensor([[[0.5, 0.3]]]).log()
    mask = torch.ones_like(old, dtype=torch.bool)
    torch.testing.assert_close(importance_weights(old, old, mask, "token"), torch.ones_like(old))
    renormalised = old - math.log(0.8)
    torch.testing.assert_close(importance_weights(old, renormalised, mask, "token"), torch.full_like(old, 0.8))


def objective(**settings: Any) -> OrapoObjective:
    return OrapoObjective(
        alpha=0.5,
        w_min=0.25,
        w_max=0.25,
        gamma=2.0,
        zero_reward=ZeroRewardFraction(),
        average=PerStudyAverage(),
        policy_loss=DrGrpo(max_new_tokens=4),
        oracle_loss=Dpo(dpo_beta=0.7),
        **settings,
    )


def test_the_mixture_corrects_the_policy_loss_alone() -> None:
    oracle = torch.full((1, 2), -1.0, dtype=torch.float64)
    reference = {"oracle_ref_logps": oracle, "oracle_mask": torch.ones(1, 2, dtype=torch.bool)}

    def gradient(weight: float, **settings: Any) -> Tensor:
        leaf = groups().policy_logps.clone().requires_grad_()
        scored = groups(oracle_policy_logps=oracle - 0.1, **reference)
        scored = dataclasses.replace(scored, ref_logps=scored.old_logps, policy_logps=leaf)
        mixture = objective(**settings)
        mixture.loss(scored, torch.tensor([weight], dtype=torch.float64)).loss.backward()
        assert leaf.grad is not None
        return leaf.grad

    truncating = {"correction": "truncate", "correction_limit": 1.4}
    difference = gradient(0.25) - gradient(0.25, **truncating)
    leaf = groups().policy_logps.clone().requires_grad_()
    (0.75 * DrGrpo(max_new_tokens=4)(dataclasses.replace(groups(), policy_logps=leaf)).loss.sum()).backward()
    assert leaf.grad is not None
    torch.testing.assert_close(difference, leaf.grad * (1 - truncated(weights("token"), 1.4)).masked_fill(~MASK, 0.0))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"correction": "clip"}, "correction is 'clip'; it must be one of none, truncate, mask"),
        ({"correction_level": "word"}, "correction_level is 'word'; it must be one of token, sequence"),
        ({"correction_limit": 1.0}, "correction_limit is 1"),
        ({"correction_limit": math.inf}, "correction_limit is inf"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        objective(**settings)
