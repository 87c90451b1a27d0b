"""The command of a sweep, once more."""

from pathlib import Path

import pytest
import yaml

from orapo.errors import CheckpointError, SettingError
from orapo.experiment.sweeps.resume import resumed_sweep


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    overrides = {
        "task": ["+sweep=search", "objective.gamma=2", "model.instruction='a b'"],
        "hydra": ["hydra.mode=MULTIRUN", "hydra/launcher=slots", "hydra.launcher.n_jobs=4", "hydra.sweep.dir=old"],
    }
    (tmp_path / "multirun.yaml").write_text(yaml.safe_dump({"hydra": {"overrides": overrides}}))
    return tmp_path


def test_the_same_command_in_the_same_folder(folder: Path) -> None:
    assert resumed_sweep([f"resume={folder}"]) == [
        "--multirun",
        "+sweep=search",
        "objective.gamma=2",
        "model.instruction='a b'",
        "hydra/launcher=slots",
        "hydra.launcher.n_jobs=4",
        f"hydra.sweep.dir='{folder}'",
    ]


def test_how_jobs_are_launched_may_change(folder: Path) -> None:
    told = resumed_sweep(["-m", f"resume={folder}", "hydra.launcher.n_jobs=2", "hydra.sweeper.n_trials=60"])
    assert "hydra.launcher.n_jobs=2" in told
    assert "hydra.sweeper.n_trials=60" in told
    assert "hydra.launcher.n_jobs=4" not in told
    assert "hydra/launcher=slots" in told
    other = resumed_sweep([f"resume={folder}", "hydra/launcher=basic"])
    assert "hydra/launcher=basic" in other
    assert not any("slots" in override or "n_jobs" in override for override in other)


def test_nothing_else_may(folder: Path) -> None:
    with pytest.raises(SettingError, match=r"leave out objective\.gamma=4"):
        resumed_sweep([f"resume={folder}", "objective.gamma=4"])


def test_other_commands_stay_as_they_are(tmp_path: Path) -> None:
    for arguments in (["seed=1"], [f"resume={tmp_path}"], ["-m", "seed=1,2"]):
        assert resumed_sweep(arguments) == arguments


def test_a_damaged_record_is_one_line(folder: Path) -> None:
    for text in ("- a\n", "hydra: {}\n", "{"):
        (folder / "multirun.yaml").write_text(text)
        with pytest.raises(CheckpointError, match="is no record of a sweep"):
            resumed_sweep([f"resume={folder}"])
