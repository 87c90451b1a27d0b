"""The learning curve is written, at its size, from complete and from gappy metrics."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from orapo.errors import DataError
from orapo.evaluation.figures import ANSWERS, learning_curve, running_mean, series

METRICS = [
    {"step": step, "reward": step / 100, "zero_reward_rate": 0.5 - step / 200, "mixing_weight": 0.1, "kl": 0.0}
    for step in range(1, 61)
]
VALIDATION = [{"step": step, "macro_f1": step / 80, "shuffled_macro_f1": 0.05} for step in (0, 30, 60)]


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
    for name, rows in [("a", METRICS), ("b", METRICS), ("c", METRICS[:30])]:
        learning_curve(rows, VALIDATION, tmp_path / f"{name}.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "c.png").read_bytes()


@pytest.mark.slow
def test_accuracy_stands_in_the_place_of_f1(tmp_path: Path) -> None:
    answered = [{"step": row["step"], "accuracy": row["macro_f1"]} for row in VALIDATION]
    for name, rows in (("answered", answered), ("none", VALIDATION)):
        learning_curve(METRICS, rows, tmp_path / f"{name}.png", score=ANSWERS)
    assert ink(tmp_path / "answered.png") != ink(tmp_path / "none.png"), "the curve of accuracies is drawn"


@pytest.mark.parametrize("rows", [[], METRICS[:1], [{"step": "3", "reward": "0.5", "mixing_weight": ""}]])
@pytest.mark.slow
def test_short_gappy_and_empty_runs_are_drawn(rows: list[dict[str, float | str | None]], tmp_path: Path) -> None:
    learning_curve(rows, [], tmp_path / "curve.png")
    assert ink(tmp_path / "curve.png") > 0.005


def test_series_reads_csv_strings_and_leaves_gaps_out() -> None:
    rows: list[dict[str, float | str | None]] = [
        {"step": "1", "reward": "0.25"},
        {"step": "2", "reward": ""},
        {"step": "3"},
        {"step": 4, "reward": float("nan")},
        {"step": 5, "reward": 0.5},
    ]
    steps, values = series(rows, "reward")
    assert steps.tolist() == [1, 5]
    assert values.tolist() == [0.25, 0.5]


def test_bad_values_are_named() -> None:
    with pytest.raises(DataError, match="reward is 'high' at step 7"):
        series([{"step": 7, "reward": "high"}], "reward")
    with pytest.raises(DataError, match="no step"):
        series([{"reward": 1.0}], "reward")


def test_running_mean_by_hand() -> None:
    values = np.array([1.0, 2.0, 6.0, 3.0])
    assert running_mean(values, 1).tolist() == [1, 2, 6, 3]
    assert running_mean(values, 3) == pytest.approx([1.5, 3.0, 11 / 3, 4.5])
    # An even window leans forward by one: [1 2], [2 6], [6 3], [3].
    assert running_mean(values, 2) == pytest.approx([1.5, 4.0, 4.5, 3.0])
    assert running_mean(np.full(9, 0.3), 4) == pytest.approx(np.full(9, 0.3))
