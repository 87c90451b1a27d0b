"""Progress of a run or an evaluation: a bar with its phase at a terminal, a line a minute elsewhere."""

import logging
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar, TQDMProgressBar

log = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 60.0


def progress(test: str = "test") -> ProgressBar:
    """A bar if standard error is a terminal, else lines; ``test`` names the phase of Lightning's test."""
    return PhaseBar(test) if sys.stderr.isatty() else PhaseLines(test)


def _loader(name: str, index: int) -> str:
    """The second loader of a test or validation shows shuffled images."""
    return f"{name}{', images shuffled' if index else ''}"


class PhaseBar(TQDMProgressBar):
    """Lightning's bar, named by phase, with what the module shows of each step: ``SHOWN`` of ``training.metrics``."""

    def __init__(self, test: str) -> None:
        super().__init__()
        self._test = test

    def on_train_epoch_start(self, trainer: Trainer, *arguments: Any) -> None:
        """Replaces Lightning's "Epoch 0": the whole run is one epoch of steps."""
        super().on_train_epoch_start(trainer, *arguments)
        self.train_progress_bar.set_description("training")

    def on_test_batch_start(self, trainer: Trainer, *arguments: Any, **named: Any) -> None:
        """Replaces Lightning's "Testing DataLoader 0"."""
        super().on_test_batch_start(trainer, *arguments, **named)
        self.test_progress_bar.set_description(_loader(self._test, self._current_eval_dataloader_idx or 0))

    def on_validation_batch_start(self, trainer: Trainer, *arguments: Any, **named: Any) -> None:
        super().on_validation_batch_start(trainer, *arguments, **named)
        self.val_progress_bar.set_description(_loader("validation", self._current_eval_dataloader_idx or 0))

    def get_metrics(self, trainer: Trainer, pl_module: Any) -> dict[str, Any]:
        """Lightning's metrics without the logger's version number."""
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return dict(metrics)


class PhaseLines(ProgressBar):
    """Logs a line a minute, and one when a longer phase ends: progress and remaining time."""

    def __init__(self, test: str, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._test, self._clock = test, clock
        self._is_enabled = True
        self._began: dict[str, float] = {}
        self._told = clock()
        self._first_step = 0

    def disable(self) -> None:
        """Only the first of several processes prints."""
        self._is_enabled = False

    def enable(self) -> None:
        self._is_enabled = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the phase; the steps that a resumed run had done before took no time now."""
        self._began["training"] = self._clock()
        self._first_step = int(trainer.fit_loop.epoch_loop.batch_progress.current.ready)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx == self._first_step and self._is_enabled:
            log.info("training: step %d of %d begins; a line a minute", batch_idx + 1, self.total_train_batches)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        metrics = self.get_metrics(trainer, pl_module).items()
        shown = "".join(f", {name} {value:.3g}" for name, value in metrics if isinstance(value, float))
        self._tell("training", batch_idx + 1, self.total_train_batches, "steps", shown, self._first_step)

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """A loader's first batch begins its phase, in a test too."""
        if batch_idx == 0:
            self._began[self._phase(trainer, dataloader_idx)] = self._clock()

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        totals = trainer.num_test_batches if trainer.testing else trainer.num_val_batches
        self._tell(self._phase(trainer, dataloader_idx), batch_idx + 1, totals[dataloader_idx], "batches")

    on_test_batch_start = on_validation_batch_start
    on_test_batch_end = on_validation_batch_end

    def _phase(self, trainer: Trainer, dataloader_idx: int) -> str:
        return _loader(self._test if trainer.testing else "validation", dataloader_idx)

    def _tell(self, phase: str, done: int, total: float, unit: str, tail: str = "", first: int = 0) -> None:
        now = self._clock()
        if not self._is_enabled or now - self._told < SECONDS_BETWEEN_LINES:
            return
        self._told = now
        left = (now - self._began[phase]) / (done - first) * (total - done)
        log.info("%s: %d of %d %s, about %s left%s", phase, done, total, unit, timedelta(seconds=round(left)), tail)
