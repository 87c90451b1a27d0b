"""Names of job folders, and which earlier folder is a job's."""

import os
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig
from tests.configs import composed

from orapo.comparison.run_state import RunState, StateRecord
from orapo.errors import SettingError
from orapo.experiment.sweeps.folders import MAX_BYTES, folder_lock, is_run_by_another, job_folder, job_label


@pytest.fixture
def _job() -> None:
    HydraConfig.instance().set_config(composed("objective.alpha=0.3", "seed=1", with_hydra=True))


def left(folder: Path, state: RunState, *overrides: str) -> None:
    folder.mkdir(parents=True)
    StateRecord.of_this_process(state, overrides).write(folder)


@pytest.mark.usefixtures("_job")
def test_a_job_finds_its_earlier_folder_by_its_overrides(tmp_path: Path) -> None:
    name = "objective.alpha=0.3,seed=1"
    assert job_folder(str(tmp_path / "none"), 4, name) == f"4_{name}"
    assert job_folder(str(tmp_path), 4, "") == "4"
    left(tmp_path / f"1_{name}", RunState.FAILED, "objective.alpha=0.3", "seed=1", "data.csv=other.csv")
    assert job_folder(str(tmp_path), 4, name) == f"4_{name}", "an override that the name leaves out differs"
    left(tmp_path / f"2_{name}", RunState.FINISHED, "seed=1", "objective.alpha=0.3")
    assert job_folder(str(tmp_path), 4, name) == f"2_{name}"
    (tmp_path / f"4_{name}").mkdir()
    assert job_folder(str(tmp_path), 4, name) == f"4_{name}"


def test_long_names_end_with_a_digest_of_all_overrides(tmp_path: Path) -> None:
    short = job_label("objective/average=batch,seed=1")
    assert short == "objective.average=batch,seed=1"
    first = job_label("model.instruction=" + "ä" * 300 + "1")
    second = job_label("model.instruction=" + "ä" * 300 + "2")
    assert first != second
    for label in (first, second):
        assert MAX_BYTES - 3 <= len(label.encode()) <= MAX_BYTES
        (tmp_path / f"123456_{label}").mkdir()


def test_who_is_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_RESTART_COUNT", raising=False)
    own = StateRecord.of_this_process(RunState.RUNNING, ())
    assert not is_run_by_another(own)
    elsewhere = StateRecord(RunState.RUNNING, (), "", "another-machine", os.getpid() + 1, None, "")
    assert is_run_by_another(elsewhere)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert not is_run_by_another(elsewhere), "SLURM put the job back: its own earlier attempt"


def test_a_folder_is_held_by_one_command(tmp_path: Path) -> None:
    for _ in range(2):
        with folder_lock(tmp_path / "run") as is_held:
            assert is_held
            with pytest.raises(SettingError, match="run is at work in another command"), folder_lock(tmp_path / "run"):
                pytest.fail("it was held twice")
