"""Callbacks that make a run resumable: checkpoints at whole steps, random states, a graceful stop."""

import logging
import random
import signal
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from orapo.data.loader import ResumableLoader
from orapo.errors import CheckpointError, OrapoError, RunInterrupted, RunPaused
from orapo.stopping import STOP_SIGNALS, Stopped
from orapo.training.checkpoint_files import RUN, UNFINISHED, CheckpointWriter, put_in_place
from orapo.training.distributed import Ranks

log = logging.getLogger(__name__)


class RandomStates(Callback):
    """Saves the random states of Python, NumPy and torch in the checkpoint.

    They are restored when the first batch, or validation, starts, not earlier: making a loader's iterator draws random
    numbers too.
    Every process has its own; a run that continues with another number of processes seeds them again.
    """

    def __init__(self, ranks: Ranks | None = None) -> None:
        """Stores the settings.

        Args:
            ranks: the processes of the run; None for a single process.
        """
        self._ranks = ranks or Ranks()
        self._restored: dict[str, Any] | None = None
        self._at_start: dict[str, Any] = {}
        self._goes_back = False
        self._is_resumed_here = False

    def state_dict(self) -> dict[str, Any]:
        """The present states of all processes or, after ``go_back``, the states before the unfinished step."""
        return {"ranks": self._ranks.all_gather(lambda: self._at_start if self._goes_back else self._now())}

    def go_back(self) -> None:
        """Makes ``state_dict`` return the states from the start of the step, or validation, to be repeated."""
        self._goes_back = True

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
        """Keeps this process's states, to restore them at the first batch."""
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
        """Restores the states at the first step, and notes those that each step starts with."""
        self._start()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """As a step, where a run continues with a validation; the one before the first step is no part of this."""
        if trainer.state.fn == TrainerFn.FITTING:
            self._is_resumed_here = self._restored is not None
            self._start()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Where a run continues with a validation, its first step makes the loader's iterator, which draws."""
        if self._is_resumed_here:
            self._restored, self._is_resumed_here = self._now(), False

    def _start(self) -> None:
        if self._restored is not None:
            self._restore(self._restored)
            self._restored = None
        self._at_start = self._now()

    def _restore(self, states: dict[str, Any]) -> None:
        version, words, gauss = states["python"]
        random.setstate((version, tuple(words), gauss))
        kind, keys, position, has_gauss, cached = states["numpy"]
        np.random.set_state((kind, np.array(keys, dtype=np.uint32), position, has_gauss, cached))  # noqa: NPY002
        torch.set_rng_state(states["torch"].cpu())
        if states["cuda"]:
            torch.cuda.set_rng_state_all([state.cpu() for state in states["cuda"]])


class LastCheckpoint(Callback):
    """Saves last.ckpt at intervals, at the last step, and when the run is asked to stop; then ends the run.

    After a signal (``orapo.stopping``) the step under way finishes first, so that a checkpoint never holds half a step;
    a validation ends at once where the run has one process. A step that can't finish because the run pauses is taken
    back: its weights have not moved. A resumed run repeats the step, or the validation.
    It must be the last callback: a checkpoint includes what the others have written.
    """

    def __init__(
        self,
        folder: Path,
        every_steps: int,
        num_steps: int,
        validate_every_steps: int | None,
        random_states: RandomStates,
        ranks: Ranks | None = None,
        *,
        writer: CheckpointWriter | None = None,
        keep: int = 1,
        keep_optimizer: bool = True,
        config: str = "",
    ) -> None:
        """Stores the settings.

        Args:
            folder: where last.ckpt goes; made when needed.
            every_steps: at least 1.
            num_steps: training steps of the whole run.
            validate_every_steps: a step followed by a validation is saved after it; None without validation.
            random_states: of the same run; a step that is taken back restores them too.
            ranks: the processes of the run, which stop together; None for a single process.
            writer: the trainer's.
            keep: checkpoints that stay, at least 1.
            keep_optimizer: whether a run can continue from them; False saves only the weights that train.
            config: the text of config.yaml, to detect an edited one.
        """
        self._folder = folder
        self._every_steps = every_steps
        self._num_steps = num_steps
        self._validate_every = validate_every_steps
        self._random_states = random_states
        self._ranks = ranks or Ranks()
        self._writer = writer
        self._keep = keep
        self._keeps_optimizer = keep_optimizer
        self._config = config
        self._step = 0
        self._saved_step: int | None = None
        self._is_in_step = False
        self._is_in_validation = False
        self._validates_again = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Makes signals wait for the end of a step."""
        STOP_SIGNALS.listen_again()  # Lightning has put a handler of its own before ours
        STOP_SIGNALS.defer()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lets a signal end a test at once."""
        STOP_SIGNALS.listen_again()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Makes signals act at once again: no step is left to wait for."""
        STOP_SIGNALS.defer_no_more()
        STOP_SIGNALS.check()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._is_in_step = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Saves when due, or leaves that to the validation that follows this step.

        Raises:
            OrapoError: a signal came during the step; the checkpoint is saved.
        """
        self._is_in_step = False
        self._step = batch_idx + 1
        if not self._is_validated(self._step):
            self._save_if_due(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lets a signal end the validation; several processes end it together, when it is complete.

        Raises:
            OrapoError: a signal came during the step before it; the checkpoint is saved as the error passes by.
        """
        STOP_SIGNALS.listen_again()
        if trainer.state.fn == TrainerFn.FITTING and self._ranks.shard.size == 1:
            self._is_in_validation = True
            STOP_SIGNALS.defer_no_more()
            if STOP_SIGNALS.first is not None:
                raise self._stop(STOP_SIGNALS.first)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Makes signals wait while the files and the checkpoint are written."""
        if trainer.state.fn == TrainerFn.FITTING:
            self._is_in_validation = False
            STOP_SIGNALS.defer()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves when due: a checkpoint from before the validation would resume without it.

        Raises:
            OrapoError: a signal came during the step or the validation; the checkpoint is saved.
        """
        if trainer.state.fn == TrainerFn.FITTING and self._is_validated(self._step):
            self._save_if_due(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Saves a run that stops within a validation, or whose step waits in vain for an answer, as it was before."""
        STOP_SIGNALS.defer_no_more()
        if trainer.state.fn != TrainerFn.FITTING:
            return
        is_stop = isinstance(exception, Stopped | RunInterrupted | RunPaused)
        self._validates_again = self._is_in_validation and is_stop
        is_taken_back = self._is_in_step and isinstance(exception, RunInterrupted | RunPaused)
        if self._validates_again or is_taken_back:
            self._random_states.go_back()
            loader = trainer.train_dataloader
            if is_taken_back and isinstance(loader, ResumableLoader):
                loader.take_back()
            self._save(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Adds the step, and the config that a resumed run is compared with."""
        checkpoint[RUN] = {"step": self._step, "config": self._config}
        if self._validates_again:
            # In Lightning's words: a validation has begun, and none of its batches has ended.
            none = dict.fromkeys(("ready", "started", "processed", "completed"), 0)
            progress = checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]
            progress.update(total={**none, "ready": 1, "started": 1}, current=none, is_last_batch=False)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Reads the step of the loaded checkpoint, which stays beside the next one."""
        # Checkpoints of older runs lack it: theirs is replaced.
        self._saved_step = checkpoint.get(RUN, {}).get("step")
        self._step = self._saved_step or 0

    def _is_validated(self, step: int) -> bool:
        return self._validate_every is not None and step % self._validate_every == 0

    def _save_if_due(self, trainer: Trainer) -> None:
        is_last = self._step == self._num_steps
        # A signal may reach only one of the processes.
        signalled = next(filter(None, self._ranks.all_gather(lambda: STOP_SIGNALS.first)), None)
        if self._step % self._every_steps == 0 or is_last or signalled is not None:
            self._save(trainer)
        if signalled is not None:
            self._ranks.has_aborted = True
            raise self._stop(signalled)

    def _stop(self, number: signal.Signals) -> OrapoError:
        return Stopped(number).error(f" after step {self._step} of {self._num_steps}")

    def _save(self, trainer: Trainer) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        unfinished = self._folder / f"step_{self._step}{UNFINISHED}"
        trainer.save_checkpoint(unfinished, weights_only=not self._keeps_optimizer)
        self._ranks.all_or_raise(self._refuse_unwritten)
        if self._ranks.is_first:
            put_in_place(unfinished, self._folder, self._saved_step, self._keep)
        self._saved_step = self._step

    def _refuse_unwritten(self) -> None:
        if self._writer is not None and self._writer.error is not None:
            kept = "none is saved yet" if self._saved_step is None else f"that of step {self._saved_step} is whole"
            raise CheckpointError(
                f"the checkpoint of step {self._step} can't be written in {self._folder}: {self._writer.error}; {kept}"
            )
