"""The learning curve is written, at its size, from complete and from gappy metrics."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from orapo.evaluation.figures import ANSWERS, Curves, learning_curve, running_mean

STEPS = np.arange(1.0, 61.0)
METRICS: Curves = {
    "reward": (STEPS, STEPS / 100),
    "zero_reward_rate": (STEPS, 0.5 - STEPS / 200),
    "mixing_weight": (STEPS, np.full(60, 0.1)),
}
VALIDATED = np.array([0.0, 30.0, 60.0])
VALIDATION: Curves = {"macro_f1": (VALIDATED, VALIDATED / 80), "shuffled_macro_f1": (VALIDATED, np.full(3, 0.05))}


def first(num_steps: int) -> Curves:
    return {key: (steps[:num_steps], values[:num_steps]) for key, (steps, values) in METRICS.items()}


def ink(path: Path) -> float:
    """Share of pixels that aren't white."""
    return float(np.mean(np.asarray(Image.open(path).convert("L")) < 250))


def test_learning_curve_is_written_at_its_size(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "curve.png"
    learning_curve(METRICS, VALIDATION, path, floor=0.2)
    assert Image.open(path).size == (1350, 870)
    assert ink(path) > 0.02


@pytest.mark.slow
def test_the_same_data_give_the_same_bytes_and_other_data_others(tmp_path: Path) -> None:
    for name, curves in [("a", METRICS), ("b", METRICS), ("c", first(30))]:
        learning_curve(curves, VALIDATION, tmp_path / f"{name}.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "c.png").read_bytes()


@pytest.mark.slow
def test_accuracy_stands_in_the_place_of_f1(tmp_path: Path) -> None:
    answered = {"accuracy": VALIDATION["macro_f1"]}
    for name, curves in (("answered", answered), ("none", VALIDATION)):
        learning_curve(METRICS, curves, tmp_path / f"{name}.png", score=ANSWERS)
    assert ink(tmp_path / "answered.png") != ink(tmp_path / "none.png"), "the curve of accuracies is drawn"


@pytest.mark.parametrize("curves", [{}, first(1), {**first(0), "reward": (np.array([3.0]), np.array([0.5]))}])
@pytest.mark.slow
def test_short_gappy_and_empty_runs_are_drawn(curves: Curves, tmp_path: Path) -> None:
    learning_curve(curves, {}, tmp_path / "curve.png")
    assert ink(tmp_path / "curve.png") > 0.005


def test_running_mean_by_hand() -> None:
    values = np.array([1.0, 2.0, 6.0, 3.0])
    assert running_mean(values, 1).tolist() == [1, 2, 6, 3]
    assert running_mean(values, 3) == pytest.approx([1.5, 3.0, 11 / 3, 4.5])
    # An even window leans forward by one: [1 2], [2 6], [6 3], [3].
    assert running_mean(values, 2) == pytest.approx([1.5, 4.0, 4.5, 3.0])
    assert running_mean(np.full(9, 0.3), 4) == pytest.approx(np.full(9, 0.3))
