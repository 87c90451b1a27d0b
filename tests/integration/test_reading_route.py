"""From the command to the loss a reader opens few files, and those that CONTRIBUTING.md names."""

import inspect
import re
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

from orapo.objective.tensors import ObjectiveOutput
from orapo.stopping import STOP_SIGNALS

ROOT = Path(__file__).parents[2]
MOST_FILES = 8
SMALL = [
    "+experiment=smoke",
    "data.subset.num_studies=4",
    "training.batch_size=4",
    "training.num_steps=1",
    "training.validate_every_steps=null",
    "data.source.num_test=2",
    "trainer.accelerator=cpu",
]


@pytest.mark.slow
def test_the_way_from_the_command_to_the_loss_is_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stacks: list[list[str]] = []

    def computed(**parts: Any) -> ObjectiveOutput:
        files = [Path(frame.filename) for frame in reversed(inspect.stack()[1:])]
        own = [file.relative_to(ROOT).as_posix() for file in files if file.is_relative_to(ROOT)]
        stacks.append(list(dict.fromkeys(file for file in own if file.startswith(("src/", "train.py")))))
        return ObjectiveOutput(**parts)

    monkeypatch.setattr("orapo.objective.orapo.ObjectiveOutput", computed)
    monkeypatch.setattr(sys, "argv", ["train.py", *SMALL, f"hydra.run.dir={tmp_path}"])
    with STOP_SIGNALS.heard():
        runpy.run_path(str(ROOT / "train.py"), run_name="__main__")
    assert stacks
    for stack in stacks:
        assert stack[0] == "train.py"
        assert stack[-1] == "src/orapo/objective/orapo.py"
        assert len(stack) - 1 <= MOST_FILES, stack
    section = (ROOT / "CONTRIBUTING.md").read_text().split("## Reading route\n")[1].split("\n## ")[0]
    linked = re.findall(r"\]\(([^)]*)\)", section)
    route = linked[: linked.index("src/orapo/objective/orapo.py") + 1]
    assert len(route) > 3
    assert route == [file for file in stacks[0] if file in route], "the route is not the way that a step takes"
    assert route[0] == "train.py"
