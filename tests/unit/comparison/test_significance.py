"""A group against the baseline: hand-worked differences, an independent resampling, and twins that must differ."""

from pathlib import Path

import numpy as np
import pytest
from tests.unit.comparison.run_folders import FakeRun, marks, write_run

from orapo.comparison.groups import Group, group_runs
from orapo.comparison.run_folder import read_run
from orapo.comparison.run_state import RunState
from orapo.comparison.significance import BOOTSTRAP, OTHER_STUDIES, Significance, against_baseline


def groups_of(tmp_path: Path, quality: dict[float, float], seeds: int = 3, studies: int = 60) -> tuple[Group, ...]:
    runs = []
    for alpha, called_rate in quality.items():
        for seed in range(seeds):
            called, true = marks(int(alpha * 1000) + seed, studies, called_rate)
            fake = FakeRun({"objective__alpha": alpha, "seed": seed}, called, true)
            runs.append(read_run(write_run(tmp_path / f"{alpha}_{seed}", fake)))
    return group_runs(runs)[0]


def compared(groups: tuple[Group, ...]) -> dict[str, Significance]:
    found, problems = against_baseline(groups, groups[0])
    assert not problems
    return found


def f1_of(called: np.ndarray, true: np.ndarray) -> float:
    scores = []
    for column in range(true.shape[1]):
        hits = sum(bool(c and t) for c, t in zip(called[:, column], true[:, column], strict=True))
        both = int(called[:, column].sum()) + int(true[:, column].sum())
        scores.append(2 * hits / both if both else 0.0)
    return sum(scores) / len(scores)


def test_difference_and_interval_against_plain_resampling(tmp_path: Path) -> None:
    found = compared(groups_of(tmp_path, {0.3: 0.4, 0.7: 0.55}))["alpha=0.7"].studies["macro_f1"]
    sides = [[marks(first + seed, 60, rate) for seed in range(3)] for first, rate in ((700, 0.55), (300, 0.4))]

    def difference(drawn: np.ndarray) -> float:
        ours, theirs = (np.mean([f1_of(c[drawn], t[drawn]) for c, t in side]) for side in sides)
        return float(ours - theirs)

    assert found.value == pytest.approx(difference(np.arange(60)), abs=1e-12)
    generator = np.random.default_rng(123)
    draws = [difference(generator.integers(0, 60, 60)) for _ in range(300)]
    low, high = np.percentile(draws, [2.5, 97.5])
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.02)
    assert found.p_value < 0.01
    # The twin that forgets that both sides see the same studies has a wider interval.
    unpaired = [
        np.mean([f1_of(c[d], t[d]) for c, t in sides[0]]) - np.mean([f1_of(c[e], t[e]) for c, t in sides[1]])
        for d, e in (generator.integers(0, 60, (2, 60)) for _ in range(300))
    ]
    paired_width = found.high - found.low
    assert np.subtract(*np.percentile(unpaired, [97.5, 2.5])) > 1.15 * paired_width


def test_the_same_runs_differ_by_nothing(tmp_path: Path) -> None:
    called, true = marks(0, 30, 0.5)
    runs = [
        read_run(
            write_run(tmp_path / f"{alpha}_{seed}", FakeRun({"objective__alpha": alpha, "seed": seed}, called, true))
        )
        for alpha in (0.3, 0.5)
        for seed in (0, 1)
    ]
    found = compared(group_runs(runs)[0])["alpha=0.5"]
    assert (found.studies["macro_f1"].value, found.studies["macro_f1"].p_value) == (0.0, 1.0)
    assert np.isnan(found.seeds["macro_f1"].p), "no spread over seeds to test against"


def test_seeds_are_paired_where_both_sides_have_them(tmp_path: Path) -> None:
    groups = groups_of(tmp_path, {0.3: 0.4, 0.7: 0.5})
    test = compared(groups)["alpha=0.7"].seeds["macro_f1"]
    by_seed = [[run.scores["macro_f1"] for run in group.runs] for group in groups]
    differences = np.subtract(by_seed[1], by_seed[0])
    t = differences.mean() / (differences.std(ddof=1) / np.sqrt(3))
    assert test.is_paired
    # Two degrees of freedom: P = 1 - |t| / sqrt(2 + t^2).
    assert test.p == pytest.approx(1 - abs(t) / np.sqrt(2 + t * t), abs=1e-9)


def test_other_seeds_are_not_paired(tmp_path: Path) -> None:
    runs = []
    for alpha, seeds in ((0.3, (0, 1)), (0.7, (2, 3))):
        for seed in seeds:
            called, true = marks(seed, 20, alpha)
            fake = FakeRun({"objective__alpha": alpha, "seed": seed}, called, true)
            runs.append(read_run(write_run(tmp_path / f"{seed}", fake)))
    assert not compared(group_runs(runs)[0])["alpha=0.7"].seeds["macro_f1"].is_paired


def test_one_run_a_side_has_no_test_over_seeds(tmp_path: Path) -> None:
    found = compared(groups_of(tmp_path, {0.3: 0.4, 0.7: 0.5}, seeds=1))["alpha=0.7"]
    assert dict(found.seeds) == {}
    assert set(found.studies) == {"macro_f1", "micro_f1"}


def test_what_can_not_be_paired_says_why(tmp_path: Path) -> None:
    runs = []
    fakes = {
        0.1: FakeRun({}, *marks(0, 20, 0.5)),
        0.2: FakeRun({}, *marks(0, 19, 0.5)),
        0.3: FakeRun({}, *marks(0, 20, 0.5, truth_seed=98)),
        0.4: FakeRun({}, state=RunState.FAILED),
        0.5: FakeRun({}, *marks(0, 20, 0.5)),
        0.6: FakeRun({}, *marks(0, 20, 0.5)),
    }
    for alpha, fake in fakes.items():
        fake.settings = {"objective__alpha": alpha}
        runs.append(read_run(write_run(tmp_path / str(alpha), fake)))
    (tmp_path / "0.5" / "test_reports.jsonl").unlink()
    (tmp_path / "0.6" / "test_reports.jsonl").write_text("{}\n")
    groups, _ = group_runs(runs)
    found, problems = against_baseline(groups, groups[0])
    notes = {label[-3:]: one.note for label, one in found.items()}
    assert notes["0.2"] == notes["0.3"] == OTHER_STUDIES
    assert notes["0.4"] == "no finished run"
    assert notes["0.5"].endswith("0.5 has no test_reports.jsonl")
    assert notes["0.6"] == "test_reports.jsonl can't be read"
    assert len(problems) == 1
    assert "0.6/test_reports.jsonl, line 1" in problems[0]
    assert all(not one.studies for one in found.values())


def test_p_values_are_adjusted_over_the_groups(tmp_path: Path) -> None:
    whole = compared(groups_of(tmp_path, {0.1: 0.3, 0.2: 0.4, 0.3: 0.5, 0.4: 0.6}, seeds=2, studies=20))
    # Holm over three groups: never below the plain p, the smallest times three.
    plain = sorted(one.studies["macro_f1"].p_value for one in whole.values())
    adjusted = sorted(one.adjusted_p["macro_f1"] for one in whole.values())
    assert adjusted[0] == pytest.approx(3 * plain[0])
    assert plain[0] >= 1 / (BOOTSTRAP.num_resamples + 1)
