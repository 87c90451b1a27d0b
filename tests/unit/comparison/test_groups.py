"""Grouping by what differs except the seed, names of groups, order and baseline."""

from pathlib import Path
from typing import Any

import pytest
from tests.unit.comparison.run_folders import FakeRun, config, marks, write_run

from orapo.comparison.evaluation_folder import Evaluation
from orapo.comparison.groups import choose_baseline, group_runs, score, sorted_groups
from orapo.comparison.run_folder import Run, flat_settings, read_run
from orapo.comparison.run_state import RunState
from orapo.errors import SettingError


def run(name: str = "r", overrides: tuple[str, ...] | None = None, f1: float = 0.5, **settings: Any) -> Run:
    flat = flat_settings(config(**settings))
    scores = {"macro_f1": f1, "seconds_per_study": 1 - f1}
    return Run(Path(name), RunState.FINISHED, settings=flat, overrides=overrides, scores=scores)


def labels(*runs: Run) -> list[str]:
    return [group.label for group in group_runs(runs)[0]]


def test_seeds_of_one_config_are_one_group() -> None:
    # data.subset.seed follows the run's seed; where logs go and how often is no difference.
    runs = [run(f"r{seed}", seed=seed, objective__alpha=alpha) for alpha in (0.3, 0.5) for seed in (0, 1, 2)]
    runs.append(run("r6", seed=3, objective__alpha=0.5, run_name="again", paths__logs="elsewhere"))
    groups, swept = group_runs(runs)
    assert [(group.label, [r.seed for r in group.runs]) for group in groups] == [
        ("alpha=0.3", [0, 1, 2]),
        ("alpha=0.5", [0, 1, 2, 3]),
    ]
    assert swept == ("alpha",)
    assert groups[0].values == {"alpha": 0.3}


def test_a_seed_of_its_own_is_a_difference() -> None:
    assert len(labels(run(seed=1), run(seed=2), run(seed=1, data__subset__seed=7))) == 2
    # The phantoms' seed is another test set, whatever the run's seed.
    assert len(labels(run(seed=0), run(seed=1), run(seed=1, data__source__seed=5))) == 2


def test_one_group_is_called_by_its_run_name() -> None:
    assert labels(run(seed=0), run(seed=1)) == ["orapo"]


def test_settings_that_change_together_are_one() -> None:
    runs = [run(objective__gamma=gamma, objective__w_max=w) for gamma, w in ((1.0, 0.1), (2.0, 0.2), (3.0, 0.3))]
    groups, swept = group_runs(runs)
    assert swept == ("w_max, gamma",)
    assert groups[0].label == "w_max, gamma=0.1, 1"


def test_a_class_stands_for_the_settings_that_come_with_it() -> None:
    other = "orapo.objective.sft.Sft"
    assert labels(run(), run(objective___target_=other, objective__alpha=0.9)) == [
        "objective=OrapoObjective",
        "objective=Sft",
    ]


def test_paths_and_functions_are_named_by_the_parts_that_tell_them_apart() -> None:
    shipped = [{"model": {"path": {"_target_": f"orapo.policy.{name}.base_folder"}}} for name in ("narrow", "wide")]
    assert labels(*(run(**settings) for settings in shipped)) == ["path=narrow.base_folder", "path=wide.base_folder"]
    folders = ("/home/a/narrow", "/home/b/wide")
    assert labels(*(run(model={"path": path}) for path in folders)) == ["path=narrow", "path=wide"]
    told = [run(overrides=(f"model.path={path}",), model={"path": path}) for path in folders]
    assert labels(*told) == ["path=narrow", "path=wide"]
    namesakes = [run(model={"path": path}) for path in ("/home/a/base", "/home/b/base", "owner/base")]
    assert labels(*namesakes) == ["path=a/base", "path=b/base", "path=owner/base"]


def test_the_command_lines_words_come_first() -> None:
    sft = {"objective___target_": "orapo.objective.sft.Sft", "objective__gamma": 9.0}
    runs = [
        run(overrides=("objective=sft", "seed=0"), **sft),
        run(overrides=("seed=0", "rollout.per_study=8"), rollout__per_study=8),
        run(overrides=("seed=1", "rollout.per_study=8"), rollout__per_study=8, seed=1),
    ]
    # What was not chosen is named by the config where it is a setting, and as the default where it is a file.
    # Both change together here, so that they are one; a fourth run takes them apart.
    assert labels(*runs) == ["objective, per_study=sft, 4", "objective, per_study=default, 8"]
    fourth = run(overrides=("objective=sft", "rollout.per_study=8"), rollout__per_study=8, **sft)
    assert labels(*runs, fourth) == [
        "objective=sft, per_study=4",
        "objective=default, per_study=8",
        "objective=sft, per_study=8",
    ]


def test_words_that_do_not_tell_the_groups_apart_are_not_used() -> None:
    # The same overrides, but another default in the code: the configs tell.
    assert labels(run(overrides=("seed=0",)), run(overrides=("seed=0",), objective__gamma=3.0)) == [
        "gamma=2",
        "gamma=3",
    ]


def test_settings_that_may_change_on_resume_are_ignored_when_asked() -> None:
    runs = [run(rollout__per_study=4), run(rollout__per_study=8)]
    assert len(group_runs(runs, ignored=("rollout.per_study",))[0]) == 1


def test_whole_numbers_and_fractions_of_the_same_size_are_the_same() -> None:
    assert len(labels(run(objective__gamma=2), run(objective__gamma=2.0))) == 1
    assert len(labels(run(objective__gamma=1), run(objective__gamma=True))) == 2


def test_runs_without_config_stand_alone() -> None:
    refused = Run(Path("logs/orapo/x"), RunState.FAILED, reason="seed is -1")
    groups, _ = group_runs([run(), refused])
    assert [group.label for group in groups] == ["orapo", "(no config) orapo/x"]
    # The tests against the baseline are by label.
    elsewhere = Run(Path("elsewhere/orapo/x"), RunState.FAILED, reason="seed is -2")
    assert labels(run(), refused, elsewhere) == ["orapo", "(no config) orapo/x", "(no config) orapo/x (2)"]


def test_no_two_groups_share_a_label_whatever_evaluations_are_called() -> None:
    named = [Evaluation(Path(str(n)), RunState.FINISHED, title=title) for n, title in enumerate(("m", "m", "m (2)"))]
    assert labels(*named) == ["m", "m (2)", "m (2) (2)"]


def test_order_and_baseline() -> None:
    runs = [run(objective__alpha=a, f1=f1) for a, f1 in ((0.1, 0.2), (0.2, 0.9), (0.3, 0.5))]
    unfinished = Run(Path("u"), RunState.RUNNING, settings=flat_settings(config(objective__alpha=0.4)))
    groups, _ = group_runs([unfinished, *runs])
    assert [g.label[-3:] for g in sorted_groups(groups, "macro_f1")] == ["0.2", "0.3", "0.1", "0.4"]
    assert [g.label[-3:] for g in sorted_groups(groups, "seconds_per_study")] == ["0.2", "0.3", "0.1", "0.4"]
    assert [g.label[-3:] for g in sorted_groups(groups, "name")] == ["0.1", "0.2", "0.3", "0.4"]
    assert choose_baseline(groups, None).label == "alpha=0.1", "the first that is finished"
    assert choose_baseline(groups, "0.3").label == "alpha=0.3"
    assert choose_baseline(groups, "u").label == "alpha=0.4", "by folder"
    with pytest.raises(SettingError, match=r"names 4 groups; the groups are: alpha=0\.4; alpha=0\.1"):
        choose_baseline(groups, "alpha")
    with pytest.raises(SettingError, match="names no group"):
        choose_baseline(groups, "beta")
    with pytest.raises(SettingError, match="--sort is 'f1'; allowed: macro_precision"):
        sorted_groups(groups, "f1")


def test_numbers_of_an_unfinished_run(tmp_path: Path) -> None:
    called, true = marks(0, 4, 0.5)
    rewards = [0.0] * 18 + [0.3, 0.5]
    read = read_run(write_run(tmp_path / "r", FakeRun({}, called, true, 20, rewards, RunState.PAUSED)))
    # The last tenth of 20 steps: two of them.
    assert score(read, "reward") == pytest.approx(0.4)
    assert score(read, "zero_reward_rate") == pytest.approx(0.6)
    assert score(read, "validation_macro_f1") == 0.05
    assert score(read, "last_step") == 20
