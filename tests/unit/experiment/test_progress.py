"""How far a run is: a bar that names its phase, and lines where there is no terminal."""

import logging
from itertools import count
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from torch.utils.data import DataLoader

from orapo.experiment.progress import PhaseBar, PhaseLines, progress

ROWS: Any = DataLoader(range(4), batch_size=1)


class Small(LightningModule):
    """Four steps, one validation on two loaders."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters())

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        self.log("reward", 0.25, prog_bar=True)
        return self.weight.sum()

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None: ...

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None: ...


def train(told: ProgressBar) -> None:
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
    trainer = Trainer(accelerator="cpu", max_epochs=1, num_sanity_val_steps=0, callbacks=[told], **quiet)
    trainer.fit(Small(), ROWS, [ROWS, ROWS])
    trainer.test(Small(), [ROWS, ROWS], verbose=False)


def own(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name.startswith("orapo")]


def test_lines_say_phase_place_and_time_left(caplog: pytest.LogCaptureFixture) -> None:
    clock = count(0.0, 40.0)
    with caplog.at_level(logging.INFO, "orapo"):
        train(PhaseLines("test", lambda: next(clock)))
    lines = own(caplog)
    assert lines[0] == "training: step 1 of 4 begins; a line a minute"
    # The clock is read when a phase begins and after each batch: 40 s apart, so every second batch has its line.
    assert "training: 3 of 4 steps, about 0:00:40 left, reward 0.25" in lines
    assert any(line.startswith("validation: ") for line in lines)
    assert any(line.startswith("validation, images shuffled: ") for line in lines)
    assert any(line.startswith("test, images shuffled: 3 of 4 batches, about 0:00:40 left") for line in lines)


def test_a_minute_has_one_line(caplog: pytest.LogCaptureFixture) -> None:
    clock = count(0.0, 1.0)
    with caplog.at_level(logging.INFO, "orapo"):
        train(PhaseLines("test", lambda: next(clock)))
    assert len(own(caplog)) == 1, "all of it took less"


def test_the_bar_names_its_phase(capsys: pytest.CaptureFixture[str]) -> None:
    train(PhaseBar("reports"))
    told = "".join(capsys.readouterr())
    for phase in ("training:", "validation:", "validation, images shuffled:", "reports:", "reports, images shuffled:"):
        assert phase in told
    assert "reward=0.250" in told
    assert "v_num" not in told


def test_without_a_terminal_there_are_lines() -> None:
    assert isinstance(progress(), PhaseLines)
