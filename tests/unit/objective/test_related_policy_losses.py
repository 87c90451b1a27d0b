"""DAPO, GSPO and CISPO: worked arithmetic, gradients by their formula, and the mean over a split batch."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import tensor

from orapo.errors import DataError, SettingError
from orapo.objective.advantages import is_flat
from orapo.objective.cispo import Cispo, clipped_weight
from orapo.objective.dapo import Dapo, overlong_punishment
from orapo.objective.dpo import Dpo
from orapo.objective.grpo import DrGrpo, Grpo
from orapo.objective.gspo import Gspo
from orapo.objective.orapo import OrapoObjective
from orapo.objective.tensors import ScoredGroups
from orapo.objective.zero_reward import PerStudyAverage, ZeroRewardFraction

LN2 = math.log(2)
F64 = torch.float64


def two_studies() -> ScoredGroups:
    """K = 2. Study 0: rollout 0 has 2 tokens and reward 1, rollout 1 has 1 token and reward 0. Study 1: 3 and 2 tokens.

    ratios      study 0: rollout 0: 2, 1      rollout 1: 1/2
                study 1: 1 everywhere
    """
    old = tensor([[[-1.0, -1.0, 0.0], [-2.0, 0.0, 0.0]], [[-1.0, -2.0, -3.0], [-1.0, -1.0, 0.0]]], dtype=F64)
    moved = tensor([[[LN2, 0.0, 0.0], [-LN2, 0.0, 0.0]], [[0.0] * 3, [0.0] * 3]], dtype=F64)
    lengths = tensor([[2, 1], [3, 2]])
    return ScoredGroups(
        policy_logps=old + moved,
        old_logps=old,
        ref_logps=None,
        completion_mask=torch.arange(3) < lengths.unsqueeze(-1),
        rewards=tensor([[1.0, 0.0], [0.5, 0.5]], dtype=F64),
        finished=tensor([[True, True], [False, True]]),
    )


def part(scored: ScoredGroups, indices: list[int]) -> ScoredGroups:
    fields = {f.name: getattr(scored, f.name) for f in dataclasses.fields(scored)}
    return ScoredGroups(**{n: v[indices] if isinstance(v, torch.Tensor) else v for n, v in fields.items()})


# std_eps 1/2: study 0 has A = (1/2) / (1/2 + 1/2) = 1/2 and -1/2, study 1 has none


def test_dapo_is_a_mean_over_the_batchs_tokens():
    # rollout 0: min(2, 3/2) * 1/2 + 1/2 = 5/4 ; rollout 1: min(-1/4, -3/4 * 1/2) = -3/8 ; 8 tokens in the batch
    loss = Dapo(max_new_tokens=4, clip_low=0.25, clip_high=0.5, std_eps=0.5)(two_studies())
    assert loss.loss.mean().item() == pytest.approx(-(5 / 4 - 3 / 8) / 8, rel=1e-12)
    assert loss.loss[1] == 0
    # clipped: one token of each rollout of study 0
    assert loss.diagnostics["clip_fraction"].tolist() == pytest.approx([2 / 3, 0])


def test_dapo_leaves_groups_without_variance_out_of_the_mean():
    # 3 tokens remain, those of study 0
    loss = Dapo(max_new_tokens=4, clip_low=0.25, clip_high=0.5, std_eps=0.5, max_redraws=0)(two_studies())
    assert loss.loss.mean().item() == pytest.approx(-(7 / 8) / 3, rel=1e-12)


def test_dapo_filters_overlong_rollouts():
    # study 1's first rollout was cut: 3 of the 8 tokens go
    filtered = Dapo(max_new_tokens=4, clip_low=0.25, clip_high=0.5, std_eps=0.5, overlong_filtering=True)
    assert filtered(two_studies()).loss.mean().item() == pytest.approx(-(7 / 8) / 5, rel=1e-12)
    with pytest.raises(DataError, match=r"^finished is None; overlong_filtering needs it"):
        filtered(dataclasses.replace(two_studies(), finished=None))


def test_dapo_punishes_length_near_the_limit():
    # L_max 4, L_cache 2: 3 tokens lose (3 - 2) / 2 = 1/2 ; study 1: rewards 0 and 1/2, A = -1/4 / (1/4 + 1/2) = -1/3
    # its gain: 3 * -1/3 + 2 * 1/3 = -1/3 ; study 0 has 2 and 1 tokens and loses nothing
    loss = Dapo(max_new_tokens=4, clip_low=0.25, clip_high=0.5, std_eps=0.5, overlong_fraction=0.5)(two_studies())
    assert loss.loss.mean().item() == pytest.approx(-(7 / 8 - 1 / 3) / 8, rel=1e-12)


def test_overlong_punishment():
    # L_max 10, L_cache 4: from 6 tokens on a quarter each
    lengths = tensor([[1.0, 6.0, 7.0, 9.0, 10.0]], dtype=F64)
    assert overlong_punishment(lengths, 10, 0.4)[0].tolist() == pytest.approx([0, 0, -0.25, -0.75, -1])
    assert overlong_punishment(lengths, 10, 0.0).tolist() == [[0] * 5]


def test_dapo_without_any_token_left_is_zero():
    scored = dataclasses.replace(two_studies(), rewards=torch.ones(2, 2, dtype=F64))
    leaf = scored.policy_logps.clone().requires_grad_()
    loss = Dapo(max_new_tokens=4, max_redraws=1)(dataclasses.replace(scored, policy_logps=leaf)).loss
    loss.sum().backward()
    assert loss.tolist() == [0, 0]
    assert leaf.grad.abs().sum() == 0


def test_dapo_refuses_a_rollout_beyond_its_limit():
    with pytest.raises(DataError, match="a rollout has 3 tokens; the objective's max_new_tokens is 2"):
        Dapo(max_new_tokens=2)(two_studies())


def test_gspo():
    # s of rollout 0: (2 * 1)^(1/2) = sqrt 2, of rollout 1: 1/2 ; clipped at 5/4 and 3/4
    # (5/4 * 1/2 - 3/4 * 1/2) / 2 = 1/8
    loss = Gspo(clip_low=0.25, clip_high=0.25, std_eps=0.5)(two_studies())
    assert loss.loss.tolist() == pytest.approx([-1 / 8, 0], rel=1e-12)
    assert loss.diagnostics["clip_fraction"].tolist() == [1, 0]
    # unclipped: (sqrt 2 - 1/2) / 4
    wide = Gspo(clip_low=0.6, clip_high=0.6, std_eps=0.5)(two_studies())
    assert wide.loss[0].item() == pytest.approx(-(math.sqrt(2) - 0.5) / 4, rel=1e-12)


def test_cispo():
    # weights 3/2 (of 2), 1 and 3/4 (of 1/2) ; log pi: -1 + ln 2, -1 ; -2 - ln 2
    # (3/2 * (ln 2 - 1) - 1) / 2 + 3/4 * (2 + ln 2) / 2 over 3 tokens
    loss = Cispo(clip_low=0.25, clip_high=0.5, std_eps=0.5)(two_studies())
    gain = (1.5 * (LN2 - 1) - 1) / 2 + 0.75 * (2 + LN2) / 2
    assert loss.loss.tolist() == pytest.approx([-gain / 3, 0], rel=1e-12)
    assert loss.diagnostics["clip_fraction"].tolist() == pytest.approx([2 / 3, 0])


def test_clipped_weight():
    ratios = tensor([0.01, 0.5, 1.0, 4.0, 50.0], dtype=F64)
    assert clipped_weight(ratios.log(), 1.0, 4.0).tolist() == pytest.approx([0.01, 0.5, 1, 4, 5])
    assert not clipped_weight(ratios.log().requires_grad_(), 1.0, 4.0).requires_grad


def policy_gradient(loss, scored: ScoredGroups) -> torch.Tensor:
    leaf = scored.policy_logps.detach().clone().requires_grad_()
    loss(dataclasses.replace(scored, policy_logps=leaf)).loss.sum().backward()
    return leaf.grad


def grpo_advantages(scored: ScoredGroups, std_eps: float) -> torch.Tensor:
    deviations = scored.rewards - scored.rewards.mean(dim=1, keepdim=True)
    return deviations / (scored.rewards.std(dim=1, correction=0, keepdim=True) + std_eps)


def test_cispo_gradient_is_the_weighted_policy_gradient(scored):
    # d loss_i / d logp_ikt = -clip(rho) A_ik / (tokens of the group), out of range too
    loss = Cispo(clip_low=0.1, clip_high=0.1, std_eps=0.1)
    weight = (scored.policy_logps - scored.old_logps).exp().clamp(0.9, 1.1)
    tokens = scored.completion_mask.sum(dim=(1, 2)).reshape(-1, 1, 1)
    expected = (-weight * grpo_advantages(scored, 0.1).unsqueeze(-1) / tokens).masked_fill(~scored.completion_mask, 0)
    gradient = policy_gradient(loss, scored)
    assert torch.allclose(gradient, expected, rtol=1e-12, atol=1e-15)
    mixed = scored.completion_mask & (scored.rewards != scored.rewards.mean(dim=1, keepdim=True)).unsqueeze(-1)
    assert (gradient[mixed] != 0).all(), "no token is dropped"


def test_dapo_gradient_at_ratio_one(scored):
    # d loss_i / d logp_ikt = -A_ik B / (tokens of the batch)
    on_policy = dataclasses.replace(scored, old_logps=scored.policy_logps)
    gradient = policy_gradient(Dapo(max_new_tokens=9, std_eps=0.1), on_policy)
    advantages = grpo_advantages(scored, 0.1).unsqueeze(-1)
    expected = -advantages * 3 / scored.completion_mask.sum() * scored.completion_mask
    assert torch.allclose(gradient, expected, rtol=1e-12, atol=1e-15)


def test_gspo_gradient_at_ratio_one_is_grpos(scored):
    on_policy = dataclasses.replace(scored, old_logps=scored.policy_logps)
    same = policy_gradient(Grpo(std_eps=0.1), on_policy)
    assert torch.allclose(policy_gradient(Gspo(std_eps=0.1), on_policy), same, rtol=1e-12, atol=1e-15)
    apart = policy_gradient(Grpo(std_eps=0.1, clip_low=0.9, clip_high=0.9), scored)
    assert not torch.allclose(policy_gradient(Gspo(std_eps=0.1, clip_low=0.9, clip_high=0.9), scored), apart)


def test_gspo_gives_every_token_of_a_rollout_the_same_gradient(scored):
    gradient = policy_gradient(Gspo(std_eps=0.1, clip_low=0.9, clip_high=0.9), scored)
    for study, rollout in ((0, 0), (0, 2), (2, 3)):
        of_tokens = gradient[study, rollout][scored.completion_mask[study, rollout]]
        assert of_tokens.tolist() == pytest.approx([of_tokens[0].item()] * len(of_tokens), rel=1e-12)
        assert of_tokens[0] != 0


def objective(policy_loss) -> OrapoObjective:
    return OrapoObjective(
        alpha=0.5,
        w_min=0.1,
        w_max=0.5,
        gamma=2.0,
        zero_reward=ZeroRewardFraction(),
        average=PerStudyAverage(),
        policy_loss=policy_loss,
        oracle_loss=Dpo(dpo_beta=0.7),
    )


SPLITS = st.permutations([0, 1, 2]).flatmap(lambda order: st.integers(1, 2).map(lambda cut: (order[:cut], order[cut:])))
DAPO_SETTINGS = st.builds(
    Dapo,
    max_new_tokens=st.just(9),
    overlong_filtering=st.booleans(),
    overlong_fraction=st.sampled_from([0.0, 0.5]),
    max_redraws=st.sampled_from([None, 0, 2]),
)


@settings(max_examples=60)
@given(dapo=DAPO_SETTINGS, split=SPLITS, seed=st.integers(0, 10_000))
def test_a_split_batch_has_the_same_token_mean(dapo, split, seed):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 10, (3, 4), generator=generator)
    logps = -3 * torch.rand((3, 4, 9), generator=generator, dtype=F64)
    whole = ScoredGroups(
        policy_logps=logps,
        old_logps=logps + 0.5 * torch.randn((3, 4, 9), generator=generator, dtype=F64),
        ref_logps=None,
        completion_mask=torch.arange(9) < lengths.unsqueeze(-1),
        rewards=torch.randint(0, 2, (3, 4), generator=generator).to(F64),
        finished=torch.rand((3, 4), generator=generator) < 0.7,
    )
    tokens = objective(dapo).loss_tokens(lengths, whole.rewards, whole.finished)
    mean = tokens.sum().item() / 3
    parts = [part(dataclasses.replace(whole, tokens_per_study=mean), indices) for indices in split]
    apart = sum(dapo(micro).loss.sum().item() for micro in parts) / 3
    assert apart == pytest.approx(dapo(whole).loss.mean().item(), rel=1e-12, abs=1e-14)


def test_a_split_batch_without_the_batchs_count_misses(scored):
    dapo = Dapo(max_new_tokens=9)
    apart = sum(dapo(part(scored, indices)).loss.sum().item() for indices in ([0], [1, 2])) / 3
    assert apart != pytest.approx(dapo(scored).loss.mean().item(), rel=1e-3)


def test_what_the_objective_asks_of_a_step(scored):
    lengths = scored.completion_mask.sum(dim=-1)
    count = objective(Dapo(max_new_tokens=9)).loss_tokens(lengths, scored.rewards, scored.finished)
    assert count.tolist() == lengths.sum(dim=1).tolist()
    sampled = objective(Dapo(max_new_tokens=9, max_redraws=2))
    assert sampled.loss_tokens(lengths, scored.rewards, scored.finished)[1] == 0, "an all-zero group is left out"
    assert sampled.max_redraws == 2
    for other in (DrGrpo(max_new_tokens=9), Gspo(), Cispo()):
        assert objective(other).loss_tokens(lengths, scored.rewards, scored.finished) is None
        assert objective(other).max_redraws is None
    alone = dataclasses.replace(sampled, w_min=1.0, w_max=1.0)
    assert alone.loss_tokens(lengths, scored.rewards, scored.finished) is None
    assert alone.max_redraws is None
    assert not any(loss.needs_reference for loss in (Dapo(max_new_tokens=9), Gspo(), Cispo()))


def test_is_flat():
    assert is_flat(tensor([[0.0, 0.0], [0.1, 0.1], [0.0, 0.1]])).tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        (Dapo, "max_new_tokens", 0),
        (Dapo, "clip_low", 1.0),
        (Dapo, "clip_high", -0.1),
        (Dapo, "std_eps", 0),
        (Dapo, "overlong_filtering", "yes"),
        (Dapo, "overlong_fraction", 1.0),
        (Dapo, "overlong_fraction", -0.1),
        (Dapo, "max_redraws", -1),
        (Dapo, "max_redraws", 1.5),
        (Gspo, "clip_low", 1.0),
        (Gspo, "clip_high", math.nan),
        (Gspo, "std_eps", 0.0),
        (Cispo, "clip_low", 1.1),
        (Cispo, "clip_high", -0.1),
        (Cispo, "std_eps", None),
    ],
)
def test_bad_settings_are_refused_by_name(kind, key, value):
    limit = {"max_new_tokens": 9} if kind is Dapo else {}
    with pytest.raises(SettingError, match=rf"^{key} is .*it must be ") as caught:
        kind(**{**limit, key: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("finished", torch.ones(2, 3, dtype=torch.bool), "^finished is torch.bool .* is needed"),
        ("finished", torch.ones(2, 2), "^finished is torch.float32; a bool tensor is needed"),
        ("tokens_per_study", -1.0, "^tokens_per_study is -1.0; .*at least 0"),
        ("tokens_per_study", math.nan, "^tokens_per_study is nan"),
    ],
)
def test_bad_facts_of_a_batch_are_refused(key, value, message):
    with pytest.raises(DataError, match=message):
        dataclasses.replace(two_studies(), **{key: value})
