"""Whole runs of a few steps, each a process of its own, and what is compared between two of them."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests import forks

SMALL = [
    "data.source.num_train=40",
    "data.source.num_validate=2",
    "data.source.num_test=2",
    "data.subset.num_studies=8",
    "data.max_report_tokens=8",
    "rollout.max_new_tokens=8",
    "training.num_steps=4",
    "training.batch_size=4",
    "training.eval_batch_size=1",
    "training.validate_every_steps=2",
    "callbacks.checkpoint_every_steps=1",
    "trainer.accelerator=cpu",
]


def num_steps(folder: Path) -> int:
    return max(0, len(read_rows(folder / "metrics.csv")))


def read_rows(path: Path) -> list[dict[str, str]]:
    """Of a CSV file, without what depends on the clock."""
    if not path.exists():
        return []
    with path.open() as file:
        return [{k: v for k, v in row.items() if "seconds" not in str(k)} for row in csv.DictReader(file)]


def weights(folder: Path) -> dict[str, Any]:
    return dict(torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"])


def state(folder: Path) -> str:
    return str(json.loads((folder / "run_state.json").read_text())["state"])


def assert_same_run(folder: Path, whole: Path) -> None:
    """To the last bit, and to the last line."""
    one, other = weights(folder), weights(whole)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    for name in ("metrics.csv", "validation.csv"):
        assert read_rows(folder / name) == read_rows(whole / name), name
    assert (folder / "rollouts.jsonl").read_text() == (whole / "rollouts.jsonl").read_text()
    assert not list((folder / "checkpoints").glob("*.unfinished"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing stopped."""
    place = tmp_path_factory.mktemp("whole")
    run = forks.run(["train", *SMALL, f"hydra.run.dir={place}/run"], place / "log", place)
    assert run.wait() == 0, run.text()
    return place / "run"
