"""Columns of a run's CSV: gaps are left out, and a cell that is no number is named."""

from pathlib import Path

import pytest

from orapo.comparison.run_folder import read_columns
from orapo.errors import DataError


def written(folder: Path, text: str) -> Path:
    path = folder / "metrics.csv"
    path.write_text(text)
    return path


def test_gaps_and_absent_columns_are_left_out(tmp_path: Path) -> None:
    path = written(tmp_path, "step,reward,kl\n1,0.25,\n2,,\n4,nan,\n5,0.5,\n")
    all_steps, curves = read_columns(path, (), ("reward", "mixing_weight"))
    steps, values = curves.pop("reward")
    assert (steps.tolist(), values.tolist()) == ([1, 5], [0.25, 0.5])
    assert all_steps.tolist() == [1, 2, 4, 5]
    assert not curves


def test_bad_values_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"metrics\.csv, line 2: 2 cells, not all of them numbers"):
        read_columns(written(tmp_path, "step,reward\n7,high\n"), (), ("reward",))
    with pytest.raises(DataError, match="a step is no number"):
        read_columns(written(tmp_path, "step,reward\n,1.0\n"), (), ("reward",))
    for odd in ("inf", "-inf", "1e308"):
        with pytest.raises(DataError, match="infinite or too large"):
            read_columns(written(tmp_path, f"step,reward\n1,{odd}\n"), (), ("reward",))
