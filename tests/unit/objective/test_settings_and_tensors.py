"""The doors: coefficients out of range or of another type, and tensors of another shape, dtype or content."""

import dataclasses
import math

import pytest
import torch

from orapo.errors import DataError, NonFiniteError, SettingError
from orapo.objective.dpo import Dpo
from orapo.objective.grpo import DrGrpo, Grpo
from orapo.objective.preference import AllRollouts
from orapo.objective.tensors import ScoredGroups

CLASSES = {Grpo: {}, DrGrpo: {"max_new_tokens": 8}, Dpo: {"dpo_beta": 0.1}}
REFUSED = [
    *[
        (kind, key, value)
        for kind in (Grpo, DrGrpo)
        for key in ("clip_low", "clip_high")
        for value in (-0.1, 1.0, "0.2")
    ],
    *[(kind, key, value) for kind in (Grpo, DrGrpo) for key in ("clip_low", "kl_coef") for value in (True, math.nan)],
    *[(kind, "kl_coef", value) for kind in (Grpo, DrGrpo) for value in (-0.1, None, math.inf, "0")],
    *[(Grpo, "std_eps", value) for value in (0, -1e-4, "1e-4", math.nan)],
    *[(DrGrpo, "max_new_tokens", value) for value in (0, -1, 8.0, "8", True)],
    *[(Dpo, "dpo_beta", value) for value in (0, -0.1, math.nan, math.inf, "0.1", True, None)],
    *[(Dpo, "length_normalised", value) for value in (1, 0, "true", None)],
    *[(Dpo, "negatives", value) for value in ("all", None, AllRollouts)],
]


@pytest.mark.parametrize(("kind", "key", "value"), REFUSED)
def test_a_bad_setting_is_refused_by_name(kind, key, value):
    with pytest.raises(SettingError, match=rf"^{key} is .*; it must be .") as caught:
        kind(**{**CLASSES[kind], key: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("kind", "key"), [(Grpo, "clip_low"), (DrGrpo, "clip_high"), (Grpo, "kl_coef")])
def test_the_edges_are_allowed(kind, key):
    kind(**{**CLASSES[kind], key: 0})


def test_reference_is_needed_exactly_with_a_kl_term():
    assert not Grpo().needs_reference
    assert Grpo(kl_coef=0.01).needs_reference
    assert not DrGrpo(max_new_tokens=8).needs_reference
    assert DrGrpo(max_new_tokens=8, kl_coef=0.01).needs_reference


def test_a_rollout_longer_than_the_limit_is_refused(scored):
    longest = int(scored.completion_mask.sum(dim=-1).max())
    DrGrpo(max_new_tokens=longest)(scored)
    with pytest.raises(DataError, match=f"{longest} tokens; .*{longest - 1}"):
        DrGrpo(max_new_tokens=longest - 1)(scored)


LOGPS = ["policy_logps", "old_logps", "ref_logps", "oracle_policy_logps", "oracle_ref_logps"]


@pytest.mark.parametrize("name", LOGPS)
@pytest.mark.parametrize(
    "spoil",
    [
        lambda t: t[..., :-1],
        lambda t: t[:-1],
        lambda t: t.unsqueeze(0),
        lambda t: t.nan_to_num().long(),
        lambda t: t.bfloat16(),
        lambda t: t.half(),
        lambda t: t.float(),
        lambda t: t.tolist(),
    ],
)
def test_bad_log_probabilities_are_refused_by_name(name, spoil, scored):
    with pytest.raises(DataError, match="^" + ("" if name == "policy_logps" else name)) as caught:
        dataclasses.replace(scored, **{name: spoil(getattr(scored, name))})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", LOGPS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_non_finite_token_that_counts_is_refused(name, value, scored):
    spoilt = getattr(scored, name).clone()
    spoilt[(1,) + (0,) * (spoilt.ndim - 1)] = value
    with pytest.raises(NonFiniteError, match=rf"^{name}\[1, 0"):
        dataclasses.replace(scored, **{name: spoilt})


@pytest.mark.parametrize("name", ["completion_mask", "oracle_mask"])
@pytest.mark.parametrize(
    "spoil", [lambda m: m.float(), lambda m: m.long(), lambda m: m[..., 0], lambda m: m[:-1], lambda m: m & False]
)
def test_bad_masks_are_refused(name, spoil, scored):
    with pytest.raises(DataError):
        dataclasses.replace(scored, **{name: spoil(getattr(scored, name))})


def test_one_completion_without_a_token_is_refused(scored):
    mask = scored.completion_mask.clone()
    mask[2, 1] = False
    with pytest.raises(DataError, match=r"^completion_mask\[2, 1\] counts no token"):
        dataclasses.replace(scored, completion_mask=mask)


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda r: r[:, :-1], DataError),
        (lambda r: r.T, DataError),
        (lambda r: r.long(), DataError),
        (lambda r: r + 0.5, DataError),
        (lambda r: r - 0.5, DataError),
        (lambda r: r * math.nan, NonFiniteError),
        (lambda r: r.tolist(), DataError),
    ],
)
def test_bad_rewards_are_refused(spoil, error, scored):
    with pytest.raises(error, match=r"^rewards"):
        dataclasses.replace(scored, rewards=spoil(scored.rewards))


def test_half_an_oracle_is_refused(scored):
    for name in ("oracle_policy_logps", "oracle_mask"):
        with pytest.raises(DataError, match="go together"):
            dataclasses.replace(scored, **{name: None})
    with pytest.raises(DataError, match=r"^oracle_ref_logps"):
        dataclasses.replace(scored, oracle_policy_logps=None, oracle_mask=None)


def test_without_rollouts(scored):
    reports = ScoredGroups.without_rollouts(scored.oracle_policy_logps, scored.oracle_mask, scored.oracle_ref_logps)
    assert reports.num_studies == 3
    assert reports.rollouts_per_study == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_throughout_is_refused(dtype, scored):
    with pytest.raises(DataError, match=r"^policy_logps is torch\..*float32"):
        dataclasses.replace(scored, **{name: getattr(scored, name).to(dtype) for name in LOGPS})
