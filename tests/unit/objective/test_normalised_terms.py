"""Advantages from terms that are normalised one by one, and what counts as a reward of zero where a term says so."""

import math
from dataclasses import replace

import pytest
import torch

from orapo.errors import DataError, NonFiniteError
from orapo.objective.advantages import normalised_sum
from orapo.objective.dapo import Dapo
from orapo.objective.dpo import Dpo
from orapo.objective.grpo import DrGrpo, Grpo
from orapo.objective.orapo import OrapoObjective
from orapo.objective.preference import ZeroRewardRollouts
from orapo.objective.tensors import ScoredGroups
from orapo.objective.zero_reward import PerStudyAverage, ZeroRewardFraction

# ---- terms normalised within their groups


def normalised(values: list[float]) -> list[float]:
    mean = sum(values) / len(values)
    sigma = math.sqrt(sum((value - mean) ** 2 for value in values) / len(values))
    return [(value - mean) / (sigma + 1e-4) for value in values]


def test_the_sum_of_normalised_terms_by_hand() -> None:
    first, second = [0.0, 0.2, 0.1, 0.1], [1.0, 0.0, 0.0, 1.0]
    found = normalised_sum(torch.tensor([[first], [second]]), torch.tensor([0.25, 0.75]))
    expected = [0.25 * a + 0.75 * b for a, b in zip(normalised(first), normalised(second), strict=True)]
    torch.testing.assert_close(found, torch.tensor([expected]))
    # The plain sum would hear little of the first, whose spread is small.
    again = normalised_sum(torch.tensor([[[value / 2 for value in first]], [second]]), torch.tensor([0.25, 0.75]))
    torch.testing.assert_close(again, found, atol=2e-3, rtol=0)


def test_an_undefined_term_drops_out_of_its_study_alone() -> None:
    nan, values = float("nan"), [0.0, 1.0]
    found = normalised_sum(torch.tensor([[values, values], [[nan, nan], [1.0, 0.0]]]), torch.tensor([0.25, 0.75]))
    torch.testing.assert_close(found[0], torch.tensor(normalised(values)))
    torch.testing.assert_close(found[1], torch.tensor([-0.5 * n for n in normalised(values)]))


def test_terms_without_variance_have_no_advantage() -> None:
    flat = torch.full((3, 2, 4), 0.1)
    assert not normalised_sum(flat, torch.tensor([0.2, 0.3, 0.5])).any()


def scored(rewards: list[list[float]], **changes: torch.Tensor) -> ScoredGroups:
    torch.manual_seed(0)
    shape = (len(rewards), len(rewards[0]), 3)
    logps = -torch.rand(shape)
    mask = torch.ones(shape, dtype=torch.bool)
    old, ref = -torch.rand(shape), -torch.rand(shape)
    oracle, oracle_mask = -torch.rand(len(rewards), 4), torch.ones(len(rewards), 4, dtype=torch.bool)
    return ScoredGroups(
        logps,
        old,
        ref,
        mask,
        torch.tensor(rewards),
        oracle,
        oracle - 0.2,
        oracle_mask,
        **changes,
    )


@pytest.mark.parametrize("loss", [DrGrpo(max_new_tokens=8), Grpo(), Dapo(max_new_tokens=8, max_redraws=1)])
def test_advantages_are_those_of_what_is_compared_and_of_nothing_else(loss: DrGrpo | Grpo | Dapo) -> None:
    rewards, compared = [[0.1, 0.5], [0.2, 0.2]], torch.tensor([[2.0, -2.0], [-1.0, 1.0]])
    found = loss(scored(rewards, compared=compared)).loss
    other = loss(scored([[0.9, 0.9], [0.0, 0.3]], compared=compared)).loss
    torch.testing.assert_close(found, other)
    assert not torch.allclose(found, loss(scored(rewards)).loss)
    torch.testing.assert_close(loss(scored(rewards)).loss, loss(scored(rewards, compared=torch.tensor(rewards))).loss)


def test_pairs_and_rate_follow_the_zero_term_and_not_the_reward() -> None:
    rewards, is_zero = [[0.0, 0.4, 0.5]], torch.tensor([[False, True, True]])
    dpo = Dpo(dpo_beta=0.1, negatives=ZeroRewardRollouts())
    assert dpo(scored(rewards)).diagnostics["dpo_num_pairs"].tolist() == [1]
    assert dpo(scored(rewards, is_zero=is_zero)).diagnostics["dpo_num_pairs"].tolist() == [2]
    objective = OrapoObjective(
        0.5, 0.05, 0.15, 2.0, ZeroRewardFraction(), PerStudyAverage(), DrGrpo(max_new_tokens=8), dpo
    )
    mixing = objective.observe(["a"], torch.tensor(rewards), is_zero)
    assert mixing.zero_reward_rate.tolist() == pytest.approx([2 / 3])
    assert not mixing.all_zero_group.any()
    assert objective.observe(["b"], torch.tensor(rewards)).zero_reward_rate.tolist() == pytest.approx([1 / 3])
    assert objective.observe(["c"], torch.tensor(rewards), torch.ones(1, 3, dtype=torch.bool)).all_zero_group.all()


@pytest.mark.parametrize(
    ("weights", "negatives", "needs"),
    [((0.05, 0.15), None, True), ((0.1, 0.1), None, False), ((0.0, 0.0), ZeroRewardRollouts(), False)],
)
def test_who_needs_to_know_what_is_zero(
    weights: tuple[float, float], negatives: ZeroRewardRollouts | None, needs: bool
) -> None:
    dpo = Dpo(dpo_beta=0.1) if negatives is None else Dpo(dpo_beta=0.1, negatives=negatives)
    rules = ZeroRewardFraction(), PerStudyAverage()
    objective = OrapoObjective(0.5, *weights, 2.0, *rules, DrGrpo(max_new_tokens=8), dpo)
    assert objective.needs_zero_reward == needs
    by_pairs = replace(objective, w_min=0.1, w_max=0.1, oracle_loss=Dpo(dpo_beta=0.1, negatives=ZeroRewardRollouts()))
    assert by_pairs.needs_zero_reward


def test_shapes_and_values_are_checked() -> None:
    with pytest.raises(DataError, match="compared is"):
        scored([[0.1, 0.5]], compared=torch.zeros(2, 2))
    with pytest.raises(DataError, match="is_zero is"):
        scored([[0.1, 0.5]], is_zero=torch.zeros(2, 2, dtype=torch.bool))
    with pytest.raises(NonFiniteError, match="compared holds"):
        scored([[0.1, 0.5]], compared=torch.tensor([[math.inf, 0.0]]))
