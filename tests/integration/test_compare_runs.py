"""A real sweep of three tiny runs in two slots, logged to W&B offline, and what compare.py makes of it."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests import forks

from orapo.comparison.run_state import RunState, read_state
from orapo.experiment.compare_command import main

ROOT = Path(__file__).parents[2]

TINY = [
    "data.source.num_train=40",
    "data.source.num_validate=4",
    "data.source.num_test=6",
    "data.subset.num_studies=8",
    "training.num_steps=2",
    "training.batch_size=4",
    "training.validate_every_steps=2",
    "trainer.accelerator=cpu",
]


def train_py(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "WANDB_MODE": "offline"}
    command = [sys.executable, str(ROOT / "train.py"), *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=400)


@pytest.mark.slow
def test_a_sweep_is_compared_without_editing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Three jobs in two slots: one process trains twice and must not log into its first run again.
    slots = ["hydra/launcher=slots", "hydra.launcher.inner_max_num_threads=1"]
    done = train_py("-m", "objective.alpha=0.3,0.5,0.7", "logger=wandb", *slots, *TINY, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (sweep,) = (tmp_path / "sweeps" / "orapo").iterdir()
    jobs = sorted(folder for folder in sweep.iterdir() if folder.name[0].isdecimal())
    first, *_ = jobs
    assert len(jobs) == 3
    assert len({record.process_id for folder in jobs if (record := read_state(folder))}) == 2

    for folder, alpha in zip(jobs, (0.3, 0.5, 0.7), strict=True):
        record = read_state(folder)
        assert record is not None
        assert record.state is RunState.FINISHED
        assert f"objective.alpha={alpha}" in record.overrides
        saved = yaml.safe_load((folder / "config.yaml").read_text())
        assert saved["logger"]["wandb"]["group"] == f"orapo/{sweep.name}"
        assert saved["logger"]["wandb"]["job_type"] == "train"
        assert saved["objective"]["alpha"] == alpha
        (written,) = (folder / "wandb").glob("offline-run-*/run-*.wandb")
        content = written.read_bytes()
        for told in (f"orapo/{sweep.name}", f"orapo objective.alpha={alpha}", "test/macro_f1", "train/reward"):
            assert told.encode() in content, told
        others = {0.3, 0.5, 0.7} - {alpha}
        assert not any(f"orapo objective.alpha={other}".encode() in content for other in others)
    names = [next(folder.glob("wandb/offline-run-*/run-*.wandb")).stem for folder in jobs]
    assert len(set(names)) == 3, "three folders, three runs in W&B"

    resume = ["train", f"resume={sweep.relative_to(tmp_path)}", "hydra/launcher=basic"]
    again = forks.run(resume, tmp_path / "again.log", tmp_path)
    assert again.wait() == 0, again.text()
    assert again.text().count("is finished and not run again") == 3

    assert forks.run(["train", f"resume={first}", "seed=3"], tmp_path / "refused.log", tmp_path).wait() == 1
    record = read_state(first)
    assert record is not None
    assert record.state is RunState.FINISHED, "a refused command is not the run's end"

    assert main([str(sweep), "--csv", str(tmp_path / "out.csv"), "--page", str(tmp_path / "page.html")]) == 0
    printed = capsys.readouterr().out
    assert "3 runs in 3 groups" in printed
    assert "alpha=0.3" in printed
    with (tmp_path / "out.csv").open() as file:
        rows = {row["group"]: row for row in csv.DictReader(file) if row["kind"] == "group"}
    assert set(rows) == {"alpha=0.3", "alpha=0.5", "alpha=0.7"}
    for folder, label in zip(jobs, ("alpha=0.3", "alpha=0.5", "alpha=0.7"), strict=True):
        clinical = json.loads((folder / "summary.json").read_text())["trained"]["clinical"]
        assert float(rows[label]["macro_f1"]) == pytest.approx(clinical["macro"]["f1"], abs=1e-7)
        assert rows[label]["last_step"] == "2"
    difference = float(rows["alpha=0.7"]["macro_f1"]) - float(rows["alpha=0.3"]["macro_f1"])
    assert float(rows["alpha=0.7"]["macro_f1_difference"]) == pytest.approx(difference, abs=1e-7)
    assert "<svg" not in (tmp_path / "page.html").read_text(), "pictures are data, isolated from the page"
