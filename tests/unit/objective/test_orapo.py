"""The mixture: its gradient, its special cases, what it needs, and what it refuses."""

import dataclasses
import math

import pytest
import torch

from orapo.errors import CheckpointError, DataError, NonFiniteError, SettingError
from orapo.objective.dpo import Dpo
from orapo.objective.grpo import DrGrpo, Grpo
from orapo.objective.orapo import OrapoObjective
from orapo.objective.sft import Sft
from orapo.objective.tensors import ScoredGroups, StudyLoss
from orapo.objective.zero_reward import BatchAverage, PerStudyAverage, ZeroRewardFraction


def objective(**changes) -> OrapoObjective:
    settings = {
        "alpha": 0.5,
        "w_min": 0.25,
        "w_max": 0.75,
        "gamma": 2.0,
        "zero_reward": ZeroRewardFraction(),
        "average": PerStudyAverage(),
        "policy_loss": DrGrpo(max_new_tokens=9, kl_coef=0.1),
        "oracle_loss": Dpo(dpo_beta=0.7),
    }
    return OrapoObjective(**{**settings, **changes})


class Untouchable:
    """A part that must not be computed."""

    needs_reference = True
    needs_rollouts = True

    def __call__(self, scored: ScoredGroups) -> StudyLoss:
        raise AssertionError("this part has weight 0")


def gradient(scored, loss_of):
    names = ("policy_logps", "oracle_policy_logps")
    leaves = {name: getattr(scored, name).detach().clone().requires_grad_() for name in names}
    loss_of(dataclasses.replace(scored, **leaves)).backward()
    return [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves.values()]


def test_observe_worked_by_hand():
    # visit 1: z = 1/2, 1 ; zbar = z ; w = 1/4 + 1/2 * zbar^2 = 3/8, 3/4
    # visit 2: z = 0, 1/2 ; zbar = 1/4, 3/4 ; w = 1/4 + 1/32 = 9/32, 1/4 + 9/32 = 17/32
    mixture = objective()
    first = mixture.observe(["a", "b"], torch.tensor([[0.0, 1.0], [0.0, 0.0]]))
    assert first.zero_reward_rate.tolist() == first.smoothed.tolist() == [0.5, 1.0]
    assert first.weight.tolist() == [3 / 8, 3 / 4]
    assert first.all_zero_group.tolist() == [False, True]
    second = mixture.observe(["a", "b"], torch.tensor([[0.5, 1.0], [0.0, 0.2]]))
    assert second.smoothed.tolist() == [0.25, 0.75]
    assert second.weight.tolist() == [9 / 32, 17 / 32]


def test_the_loss_and_its_gradient_are_the_weighted_sum(scored):
    mixture = objective()
    weight = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
    output = mixture.loss(scored, weight)
    policy, oracle = mixture.policy_loss(scored).loss, mixture.oracle_loss(scored).loss
    assert output.loss.item() == pytest.approx(((1 - weight) * policy + weight * oracle).mean().item(), rel=1e-12)
    assert torch.equal(output.policy_loss, policy)
    assert torch.equal(output.oracle_loss, oracle)
    assert set(output.diagnostics) == {"kl", "clip_fraction", "dpo_margin", "dpo_accuracy", "dpo_num_pairs"}
    assert all(values.shape == (3,) and not values.requires_grad for values in output.diagnostics.values())

    mixed = gradient(scored, lambda s: mixture.loss(s, weight).loss)
    by_policy = gradient(scored, lambda s: mixture.policy_loss(s).loss.sum())
    by_oracle = gradient(scored, lambda s: mixture.oracle_loss(s).loss.sum())
    for got, one, other in zip(mixed, by_policy, by_oracle, strict=True):
        share = weight.reshape(-1, *[1] * (got.ndim - 1))
        assert torch.allclose(got, ((1 - share) * one + share * other) / 3, rtol=1e-12, atol=1e-15)


def test_only_the_scalar_carries_a_gradient(scored):
    leaf = scored.policy_logps.clone().requires_grad_()
    output = objective().loss(dataclasses.replace(scored, policy_logps=leaf), torch.full((3,), 0.5))
    assert output.loss.requires_grad
    assert not output.policy_loss.requires_grad
    assert not output.oracle_loss.requires_grad


def study_part(scored: ScoredGroups, indices: list[int]) -> ScoredGroups:
    fields = {f.name: getattr(scored, f.name) for f in dataclasses.fields(scored)}
    return ScoredGroups(**{n: v[indices] if isinstance(v, torch.Tensor) else v for n, v in fields.items()})


def test_micro_batches_add_up(scored):
    mixture = objective()
    weight = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
    total = 0.0
    for part in ([0, 1], [2]):
        micro = study_part(scored, part)
        total += mixture.loss(micro, weight[part]).loss.item() * len(part) / 3
    assert total == pytest.approx(mixture.loss(scored, weight).loss.item(), rel=1e-12)


def test_grpo_alone_needs_no_oracle(scored):
    mixture = objective(w_min=0.0, w_max=0, oracle_loss=Untouchable(), policy_loss=Grpo())
    bare = dataclasses.replace(
        scored, ref_logps=None, oracle_policy_logps=None, oracle_ref_logps=None, oracle_mask=None
    )
    mixing = mixture.observe(["a", "b", "c"], scored.rewards)
    output = mixture.loss(bare, mixing.weight)
    assert output.loss.item() == pytest.approx(Grpo()(scored).loss.mean().item(), rel=1e-12)
    assert output.oracle_loss is None
    assert "kl" not in output.diagnostics


def test_sft_alone_needs_no_rollouts(scored):
    mixture = objective(w_min=1, w_max=1.0, oracle_loss=Sft(), policy_loss=Untouchable())
    reports = ScoredGroups.without_rollouts(scored.oracle_policy_logps, scored.oracle_mask)
    output = mixture.loss(reports, mixture.fixed_weight(3))
    assert output.loss.item() == pytest.approx(Sft()(scored).loss.mean().item(), rel=1e-12)
    assert output.policy_loss is None
    assert output.weight.tolist() == [1, 1, 1]


def test_dpo_alone(scored):
    mixture = objective(w_min=1, w_max=1, policy_loss=Untouchable())
    mixing = mixture.observe(["a", "b", "c"], scored.rewards)
    assert mixing.weight.tolist() == [1, 1, 1]
    output = mixture.loss(scored, mixing.weight)
    assert output.loss.item() == pytest.approx(Dpo(dpo_beta=0.7)(scored).loss.mean().item(), rel=1e-12)


def test_constant_mixture(scored):
    mixture = objective(w_min=0.3, w_max=0.3)
    mixing = mixture.observe(["a", "b", "c"], scored.rewards)
    assert mixing.weight.tolist() == pytest.approx([0.3] * 3)
    assert mixture.fixed_weight(3).tolist() == pytest.approx([0.3] * 3)


@pytest.mark.parametrize(
    ("changes", "rollouts", "reference", "oracle", "min_group"),
    [
        ({}, True, True, True, 2),
        ({"policy_loss": Grpo(), "oracle_loss": Sft()}, True, False, True, 2),
        ({"policy_loss": Grpo(kl_coef=0.1), "oracle_loss": Sft()}, True, True, True, 2),
        ({"w_min": 0, "w_max": 0}, True, True, False, 2),
        ({"w_min": 0, "w_max": 0, "policy_loss": Grpo()}, True, False, False, 2),
        ({"w_min": 0, "w_max": 1, "policy_loss": Grpo()}, True, True, True, 2),
        ({"w_min": 1, "w_max": 1}, True, True, True, 1),
        ({"w_min": 1, "w_max": 1, "oracle_loss": Sft()}, False, False, True, 0),
    ],
)
def test_needs(changes, rollouts, reference, oracle, min_group):
    mixture = objective(**changes)
    assert mixture.needs_rollouts is rollouts
    assert mixture.needs_reference is reference
    assert mixture.needs_oracle is oracle
    assert mixture.min_rollouts_per_study == min_group


def test_state_survives_a_weights_only_checkpoint(tmp_path):
    rewards = torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    for average in (PerStudyAverage, BatchAverage):
        mixture = objective(average=average())
        mixture.observe(["a", "b"], rewards)
        torch.save(mixture.state_dict(), tmp_path / "state.pt")
        resumed = objective(average=average())
        resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
        later = torch.tensor([[0.2, 1.0], [0.3, 0.0]])
        assert resumed.observe(["b", "a"], later).weight.tolist() == mixture.observe(["b", "a"], later).weight.tolist()
        # and a fresh one would have said something else
        assert (
            objective(average=average()).observe(["b", "a"], later).weight.tolist()
            != resumed.observe(["b", "a"], later).weight.tolist()
        )


def test_state_is_a_copy():
    mixture = objective()
    mixture.observe(["a"], torch.tensor([[0.0, 1.0]]))
    state = mixture.state_dict()
    mixture.observe(["a"], torch.tensor([[1.0, 1.0]]))
    assert state == {"zero_reward_average": {"per_study": {"a": 0.5}}}


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"per_study": {}},
        {"zero_reward_average": None},
        {"zero_reward_average": {"batch": 0.5}},
        {"zero_reward_average": {"per_study": [0.5]}},
        {"zero_reward_average": {"per_study": {"a": 1.5}}},
        {"zero_reward_average": {"per_study": {"a": math.nan}}},
        {"zero_reward_average": {"per_study": {"a": "0.5"}}},
    ],
)
def test_another_state_is_refused_and_the_present_one_kept(state):
    mixture = objective()
    mixture.observe(["a"], torch.tensor([[0.0, 1.0]]))
    with pytest.raises(CheckpointError):
        mixture.load_state_dict(state)
    assert mixture.state_dict() == {"zero_reward_average": {"per_study": {"a": 0.5}}}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("alpha", -0.1),
        ("alpha", 1.1),
        ("alpha", "0.5"),
        ("alpha", True),
        ("alpha", math.nan),
        ("alpha", None),
        ("w_min", -0.1),
        ("w_min", 0.8),
        ("w_min", math.nan),
        ("w_min", False),
        ("w_max", 1.1),
        ("w_max", "1"),
        ("gamma", 0),
        ("gamma", -1.0),
        ("gamma", math.inf),
        ("gamma", "2"),
        ("zero_reward", "fraction"),
        ("zero_reward", ZeroRewardFraction),
        ("average", "per_study"),
        ("policy_loss", None),
        ("oracle_loss", {"dpo_beta": 0.1}),
    ],
)
def test_bad_settings_are_refused_by_name(key, value):
    with pytest.raises(SettingError, match=rf"^{key} is .*it must be .") as caught:
        objective(**{key: value})
    assert "\n" not in str(caught.value)


def test_a_group_of_one_is_refused(scored):
    alone = {name: getattr(scored, name)[:, :1] for name in ("policy_logps", "old_logps", "ref_logps")}
    alone |= {name: getattr(scored, name)[:, :1] for name in ("completion_mask", "rewards", "finished")}
    single = dataclasses.replace(scored, **alone)
    with pytest.raises(SettingError, match=r"\(K\) is 1; .*at least 2"):
        objective().loss(single, torch.full((3,), 0.5))
    objective(w_min=1, w_max=1).loss(single, torch.ones(3))


def test_fixed_weight_of_a_moving_mixture_is_refused():
    with pytest.raises(SettingError, match="w_min"):
        objective().fixed_weight(2)


@pytest.mark.parametrize(
    "weight",
    [
        [0.5] * 3,
        torch.tensor([0.5, 0.5]),
        torch.tensor([[0.5, 0.5, 0.5]]),
        torch.tensor([0.5, 0.5, 0.8]),
        torch.tensor([0.2, 0.5, 0.5]),
        torch.tensor([0.5, math.nan, 0.5]),
    ],
)
def test_a_weight_that_is_none_of_the_mixtures_is_refused(weight, scored):
    with pytest.raises(DataError, match="weight is"):
        objective().loss(scored, weight)


@pytest.mark.parametrize(
    ("ids", "rewards", "error"),
    [
        (["a"], torch.tensor([[0.0, 1.0], [0.0, 0.0]]), DataError),
        ("ab", torch.tensor([[0.0, 1.0], [0.0, 0.0]]), DataError),
        ([1, 2], torch.tensor([[0.0, 1.0], [0.0, 0.0]]), DataError),
        (["a", "b"], torch.tensor([0.0, 1.0]), DataError),
        (["a"], torch.tensor([[0, 1]]), DataError),
        (["a"], torch.tensor([[0.0, 1.01]]), DataError),
        (["a"], torch.tensor([[-0.01, 1.0]]), DataError),
        (["a"], torch.tensor([[math.nan, 1.0]]), NonFiniteError),
        (["a"], torch.zeros(1, 0), DataError),
        ([], torch.zeros(0, 2), DataError),
    ],
)
def test_observe_refuses_bad_data_and_keeps_its_state(ids, rewards, error):
    mixture = objective()
    with pytest.raises(error):
        mixture.observe(ids, rewards)
    assert mixture.state_dict() == {"zero_reward_average": {"per_study": {}}}


@pytest.mark.parametrize("name", ["ref_logps", "oracle_ref_logps"])
def test_a_missing_tensor_is_named(name, scored):
    with pytest.raises(DataError, match=rf"^{name} is None"):
        objective().loss(dataclasses.replace(scored, **{name: None}), torch.full((3,), 0.5))


def test_a_missing_oracle_is_named(scored):
    bare = dataclasses.replace(scored, oracle_policy_logps=None, oracle_ref_logps=None, oracle_mask=None)
    with pytest.raises(DataError, match=r"^oracle_policy_logps is None"):
        objective().loss(bare, torch.full((3,), 0.5))
