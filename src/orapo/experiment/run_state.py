"""Records the state of a run in its folder, by callbacks of Hydra."""

import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from orapo.comparison.run_state import RUN_STATE, RunState, StateRecord, read_state
from orapo.errors import CheckpointError, OrapoError, RunInterrupted, RunPaused, SettingError
from orapo.experiment.command_line import PastHydra, is_one_line, own_error
from orapo.experiment.finished_run import CONFIG_FILE
from orapo.experiment.machine import machine_error, refuse_unwritable
from orapo.experiment.processes import own_rank
from orapo.experiment.sweeps.earlier_jobs import is_finished, refuse_another
from orapo.experiment.sweeps.folders import LOCK, folder_lock, is_run_by_another

WORKERS_LAST_SECONDS = 15.0
"""How long what a killed run had started, such as processes that open images, may outlive it and hold its lock."""


@contextmanager
def _past_hydra() -> Iterator[None]:
    """Lets an error through: Hydra turns what a callback raises into a warning."""
    try:
        yield
    except (OrapoError, OSError) as error:
        raise PastHydra(error) from None


class RunStateFile(Callback):
    """Writes run_state.json when a job begins and when it ends, in a single run and in each job of a sweep."""

    def __init__(self) -> None:
        self._earlier: StateRecord | None = None
        self._now: StateRecord | None = None
        self._made: list[Path] = []
        self._held = ExitStack()

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Notes which folders Hydra is about to make for a single run, and whether it can.

        Raises:
            PastHydra: carries the error.
        """
        folder = Path(config.hydra.run.dir)
        with _past_hydra():
            if (resume := config.get("resume")) is not None and not folder.is_dir():
                raise CheckpointError(f"resume={resume} can't go on: there is no such folder")
            refuse_unwritable(folder, "the run's folder")
        self._made = [path for path in (folder, *folder.parents) if not path.exists()]

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Records that the run is at work. A resumed run keeps the overrides that it began with.

        A sweep's job that is finished, or at work in another process, stays as it is recorded.
        """
        # One object serves all jobs of a sweep.
        self._earlier = self._now = None
        if own_rank():
            return
        folder = Path(config.hydra.runtime.output_dir)
        if config.hydra.mode is RunMode.MULTIRUN:
            self._earlier = read_state(folder)
            if self._is_to_be_left(config, folder):
                return
        else:
            with _past_hydra():
                self._earlier = read_state(folder)
                self._hold(folder)
        overrides = tuple(str(override) for override in config.hydra.overrides.task)
        if self._earlier is not None:
            overrides = self._earlier.overrides
        self._now = StateRecord.of_this_process(RunState.RUNNING, overrides)
        self._now.write(folder)

    def _hold(self, folder: Path) -> None:
        """Keeps other commands out of the folder until this one ends, whatever ends it."""
        deadline = time.monotonic() + WORKERS_LAST_SECONDS
        while True:
            try:
                is_held = self._held.enter_context(folder_lock(folder))
                break
            except SettingError:
                is_killed = self._earlier is not None and self._earlier.seen_from_here().state is RunState.KILLED
                if not is_killed or time.monotonic() > deadline:
                    raise
                time.sleep(0.5)
        if not is_held:
            refuse_another(folder)

    def _is_to_be_left(self, config: DictConfig, folder: Path) -> bool:
        if self._earlier is None:
            return False
        own = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
        return is_run_by_another(self._earlier) or is_finished(folder, own)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Records how the run ended; a refusal to resume leaves the record as it was."""
        # The public attribute prints the error and raises it once more.
        error = job_return._return_value if job_return.status is JobStatus.FAILED else None
        if config.hydra.mode is RunMode.MULTIRUN and error is not None and own_error(error) is None:
            # The sweep continues, and its summary has room for one line only.
            traceback.print_exception(error, file=sys.stderr)
        if self._now is None:
            return
        folder = Path(config.hydra.runtime.output_dir)
        with self._held:
            self._tell(config, folder, error)

    def on_run_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Carries an error that is one line past Hydra, which would print the command line above it.

        Raises:
            PastHydra: carries the error.
        """
        job_return: JobReturn = kwargs["job_return"]
        if job_return.status is JobStatus.FAILED and is_one_line(job_return._return_value):
            raise PastHydra(job_return._return_value)

    def _tell(self, config: DictConfig, folder: Path, error: BaseException | None) -> None:
        assert self._now is not None
        if self._made and error is not None and not (folder / CONFIG_FILE).exists():
            self._unmake(folder, config.hydra.job.name)
            return
        if self._earlier is not None and isinstance(error, SettingError | CheckpointError):
            self._earlier.write(folder)
            return
        state, reason = ended(error)
        StateRecord.of_this_process(state, self._now.overrides, reason).write(folder)

    def _unmake(self, folder: Path, log_name: str) -> None:
        """Removes the folder of a command that was refused before it began."""
        for name in (RUN_STATE, LOCK, f"{log_name}.log"):
            (folder / name).unlink(missing_ok=True)
        for made in self._made:
            with suppress(OSError):  # another run has begun beside it
                made.rmdir()


def ended(error: BaseException | None) -> tuple[RunState, str]:
    """The final state of a run that ended with ``error``, and the reason in one line."""
    if error is None:
        return RunState.FINISHED, ""
    inner = own_error(error)
    if inner is None and (told := machine_error(error)):
        return RunState.FAILED, told
    if inner is None:
        # A foreign error's own words may quote what it was reading.
        return RunState.FAILED, f"{type(error).__name__}, told on the terminal"
    if isinstance(inner, RunPaused):
        return RunState.PAUSED, str(inner)
    return (RunState.INTERRUPTED if isinstance(inner, RunInterrupted) else RunState.FAILED), str(inner)
