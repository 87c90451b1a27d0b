"""Callbacks that make a run resumable: checkpoints at whole steps, random states, a graceful stop."""

import logging
import os
import random
import signal
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from orapo.data.loader import ResumableLoader
from orapo.errors import RunInterrupted, RunPaused
from orapo.training.distributed import Ranks

log = logging.getLogger(__name__)

LAST = "last.ckpt"
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)


class RandomStates(Callback):
    """Keeps the random states of Python, NumPy and torch in the checkpoint.

    They are restored when the first batch starts, not earlier: making the loader's iterator draws random numbers too.
    Every process has its own; a run that continues with another number of processes starts them anew from its seed.
    """

    def __init__(self, ranks: Ranks | None = None) -> None:
        """Settings.

        Args:
            ranks: the processes of the run; None: there is only this one.
        """
        self._ranks = ranks or Ranks()
        self._restored: dict[str, Any] | None = None
        self._at_step_start: dict[str, Any] = {}
        self._steps_back = False

    def state_dict(self) -> dict[str, Any]:
        """The states of all processes now, or, after ``step_back``, those before the step that did not end."""
        return {"ranks": self._ranks.all_gather(lambda: self._at_step_start if self._steps_back else self._now())}

    def step_back(self) -> None:
        """From now on, ``state_dict`` tells of the start of the step under way, which a resumed run does again."""
        self._steps_back = True

    def _now(self) -> dict[str, Any]:
        # Plain numbers and tensors: checkpoints are loaded with ``weights_only``, which refuses NumPy's own types.
        version, words, gauss = random.getstate()
        kind, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002  the global state is what libraries draw from
        return {
            "python": [version, list(words), gauss],
            "numpy": [kind, [int(key) for key in keys], int(position), int(has_gauss), float(cached)],
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keeps this process's states until the first batch."""
        states = state_dict["ranks"]
        if len(states) == self._ranks.shard.size:
            self._restored = states[self._ranks.shard.rank]
        elif self._ranks.is_first:
            log.warning(
                "the checkpoint was saved by %d processes and this run has %d: random states start anew from the seed",
                len(states),
                self._ranks.shard.size,
            )

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Restores the states once, and remembers what each step starts with."""
        if self._restored is not None:
            self._restore(self._restored)
            self._restored = None
        self._at_step_start = self._now()

    def _restore(self, states: dict[str, Any]) -> None:
        version, words, gauss = states["python"]
        random.setstate((version, tuple(words), gauss))
        kind, keys, position, has_gauss, cached = states["numpy"]
        np.random.set_state((kind, np.array(keys, dtype=np.uint32), position, has_gauss, cached))  # noqa: NPY002
        torch.set_rng_state(states["torch"].cpu())
        if states["cuda"]:
            torch.cuda.set_rng_state_all([state.cpu() for state in states["cuda"]])


class LastCheckpoint(Callback):
    """Saves last.ckpt every so many steps, at the last step, and when asked to stop; then ends the run.

    Ctrl-C, SIGTERM and SIGUSR2, which SLURM can be asked to send before a job's time is up, let the current step finish
    first, so that a checkpoint never holds half a step. A step that can't finish because the run pauses is taken back:
    its weights have not moved, and a resumed run does it again.
    Stand it last among the callbacks: a checkpoint includes what the others have written.
    """

    def __init__(
        self,
        folder: Path,
        every_steps: int,
        num_steps: int,
        validate_every_steps: int | None,
        random_states: RandomStates,
        ranks: Ranks | None = None,
    ) -> None:
        """Settings.

        Args:
            folder: where last.ckpt goes; made when needed.
            every_steps: at least 1.
            num_steps: training steps of the whole run.
            validate_every_steps: a step that is followed by a validation is saved after it; None: there is none.
            random_states: of the same run; a step that pauses is taken back with them.
            ranks: the processes of the run, which stop together; None: there is only this one.
        """
        self._path = folder / LAST
        self._every_steps = every_steps
        self._num_steps = num_steps
        self._validate_every = validate_every_steps
        self._random_states = random_states
        self._ranks = ranks or Ranks()
        self._step = 0
        self._signal_name: str | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listens for the signals."""
        for number in STOP_SIGNALS:
            if number == signal.SIGUSR2 and signal.getsignal(number) != signal.SIG_DFL:
                continue  # a launcher such as submitit requeues the job by it
            self._previous[number] = signal.signal(number, self._ask_to_stop)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gives the signals back."""
        self._give_back()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Saves a run that pauses in the middle of a step, as it was before that step; gives the signals back."""
        self._give_back()
        # A validation that pauses follows a whole step: the run continues from its checkpoint and validates again.
        is_step = trainer.state.fn == TrainerFn.FITTING and not trainer.validating
        if isinstance(exception, RunPaused) and is_step:
            self._random_states.step_back()
            loader = trainer.train_dataloader
            if isinstance(loader, ResumableLoader):
                loader.take_back()
            self._save(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Saves when it is due, or leaves it to the validation that follows this step.

        Raises:
            RunInterrupted: a signal came during the step; the checkpoint is saved.
        """
        self._step = batch_idx + 1
        if not self._is_validated(self._step):
            self._save_if_due(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves when it is due: a checkpoint from before the validation would resume without it.

        Raises:
            RunInterrupted: a signal came during the step or the validation; the checkpoint is saved.
        """
        if trainer.state.fn == TrainerFn.FITTING and self._is_validated(self._step):
            self._save_if_due(trainer)

    def _is_validated(self, step: int) -> bool:
        return self._validate_every is not None and step % self._validate_every == 0

    def _save_if_due(self, trainer: Trainer) -> None:
        is_last = self._step == self._num_steps
        # A signal may reach only one of the processes.
        signal_name = next(filter(None, self._ranks.all_gather(lambda: self._signal_name)), None)
        if self._step % self._every_steps == 0 or is_last or signal_name is not None:
            self._save(trainer)
        if signal_name is not None:
            self._ranks.has_aborted = True
            raise RunInterrupted(f"stopped by {signal_name} after step {self._step} of {self._num_steps}")

    def _save(self, trainer: Trainer) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self._path.with_suffix(".unfinished")
        trainer.save_checkpoint(unfinished)
        if self._ranks.is_first:
            # A machine that dies while writing leaves the previous checkpoint whole.
            os.replace(unfinished, self._path)

    def _ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        if self._signal_name is not None:
            raise KeyboardInterrupt
        self._signal_name = signal.Signals(number).name
        if self._ranks.is_first:
            print(f"\n{self._signal_name}: finishing this step and saving a checkpoint; once more to stop at once")

    def _give_back(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
