"""The moving average as state: first visits, repeats, order, and the extremes of the weight."""

import random

import pytest
import torch

from orapo.objective.zero_reward import BatchAverage, PerStudyAverage, mixing_weight


def test_per_study_first_visit_sets_and_later_ones_smooth():
    average = PerStudyAverage()
    assert average.update(["a", "b"], [1.0, 0.5], alpha=0.75) == [1.0, 0.5]
    # a: 3/4 * 1 + 1/4 * 0 ; c is new ; b stays where it was
    assert average.update(["a", "c"], [0.0, 0.25], alpha=0.75) == [0.75, 0.25]
    assert average.state_dict() == {"per_study": {"a": 0.75, "b": 0.5, "c": 0.25}}


def test_batch_average_is_one_value():
    average = BatchAverage()
    assert average.state_dict() == {"batch": None}
    assert average.update(["a", "b"], [1.0, 0.5], alpha=0.5) == [0.75, 0.75]
    # 1/2 * 3/4 + 1/2 * 1/4
    assert average.update(["c"], [0.25], alpha=0.5) == [0.5]


def test_a_study_repeated_in_a_batch_is_visited_once_with_its_mean():
    average = PerStudyAverage()
    average.update(["a"], [1.0], alpha=0.5)
    # mean of 0 and 1/2 is 1/4 ; 1/2 * 1 + 1/2 * 1/4 = 5/8
    assert average.update(["a", "b", "a"], [0.0, 1.0, 0.5], alpha=0.5) == [0.625, 1.0, 0.625]


@pytest.mark.parametrize("kind", [PerStudyAverage, BatchAverage])
def test_order_of_a_batch_does_not_matter_to_the_last_bit(kind):
    rng = random.Random(0)
    rows = [(f"s{rng.randint(0, 4)}", rng.randint(0, 7) / 7) for _ in range(16)]
    states = []
    for _ in range(5):
        rng.shuffle(rows)
        average = kind()
        average.update(["s0"], [0.3], alpha=0.7)
        average.update([row[0] for row in rows], [row[1] for row in rows], alpha=0.7)
        states.append(average.state_dict())
    assert all(state == states[0] for state in states)


@pytest.mark.parametrize(("alpha", "expected"), [(0.0, [1.0, 0.0]), (1.0, [1.0, 1.0]), (1, [1.0, 1.0])])
def test_extremes_of_alpha(alpha, expected):
    average = PerStudyAverage()
    assert [average.update(["a"], [rate], alpha)[0] for rate in (1.0, 0.0)] == expected


def test_the_average_stays_a_rate():
    average = PerStudyAverage()
    for step in range(1000):
        (rate,) = average.update(["a"], [1.0], alpha=step / 1000)
        assert rate <= 1
    average.load_state_dict(average.state_dict())


def test_weight_of_the_papers_settings():
    # 0.05 + 0.1 * (0, 1/4, 1)
    got = mixing_weight(torch.tensor([0.0, 0.5, 1.0]), w_min=0.05, w_max=0.15, gamma=2.0)
    assert got.tolist() == pytest.approx([0.05, 0.075, 0.15])


def test_weight_grows_with_the_rate_and_stays_in_range():
    rates = torch.linspace(0, 1, 101)
    for gamma in (0.5, 1.0, 3.0):
        weight = mixing_weight(rates, w_min=0.05, w_max=0.15, gamma=gamma)
        assert (weight.diff() > 0).all()
        assert weight.min() >= torch.tensor(0.05)
        assert weight.max() <= torch.tensor(0.15)


def test_rounding_does_not_carry_the_weight_out_of_its_range():
    # 0.1 + (0.9 - 0.1) is one rounding step off for some pairs; the weight is refused outside [w_min, w_max]
    one = torch.ones(1, dtype=torch.float64)
    pairs = [(low / 100, high / 100) for low in range(0, 100, 3) for high in range(low, 101)]
    assert any(low + (high - low) > high for low, high in pairs)
    assert all(mixing_weight(one, low, high, 1.0).item() <= high for low, high in pairs)
