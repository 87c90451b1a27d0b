"""Says in every run's folder what became of it, by Hydra's own words."""

import os
import sys
import traceback
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from orapo.comparison.run_state import RunState, StateRecord, read_state
from orapo.errors import CheckpointError, OrapoError, RunInterrupted, RunPaused, SettingError
from orapo.experiment.sweeps.earlier_jobs import is_finished
from orapo.experiment.sweeps.folders import is_run_by_another


class RunStateFile(Callback):
    """Writes run_state.json when a job begins and when it ends, in a single run and in each job of a sweep."""

    def __init__(self) -> None:
        """Nothing is written yet."""
        self._earlier: StateRecord | None = None
        self._now: StateRecord | None = None

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """The run is at work. A resumed run keeps the overrides that it began with.

        A sweep's job that is finished, or at work in another process, stays as it is recorded.
        """
        # One object serves all jobs of a sweep.
        self._earlier = self._now = None
        if not _is_first_process():
            return
        folder = Path(config.hydra.runtime.output_dir)
        self._earlier = read_state(folder)
        if config.hydra.mode is RunMode.MULTIRUN and self._is_to_be_left(config, folder):
            return
        overrides = tuple(str(override) for override in config.hydra.overrides.task)
        if self._earlier is not None:
            overrides = self._earlier.overrides
        self._now = StateRecord.of_this_process(RunState.RUNNING, overrides)
        self._now.write(folder)

    def _is_to_be_left(self, config: DictConfig, folder: Path) -> bool:
        if self._earlier is None:
            return False
        own = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
        return is_run_by_another(self._earlier) or is_finished(folder, own)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """The run is over, or stopped, or was refused; a refusal to resume leaves the run as it was."""
        # The public attribute prints the error and raises it once more.
        error = job_return._return_value if job_return.status is JobStatus.FAILED else None
        if config.hydra.mode is RunMode.MULTIRUN and error is not None and _own_error(error) is None:
            # The sweep goes on, and its last words have room for a line only.
            traceback.print_exception(error, file=sys.stderr)
        if self._now is None:
            return
        folder = Path(config.hydra.runtime.output_dir)
        if self._earlier is not None and isinstance(error, SettingError | CheckpointError):
            self._earlier.write(folder)
            return
        state, reason = ended(error)
        StateRecord.of_this_process(state, self._now.overrides, reason).write(folder)


def ended(error: BaseException | None) -> tuple[RunState, str]:
    """What an error, or none, makes of a run, and why in one line."""
    if error is None:
        return RunState.FINISHED, ""
    inner = _own_error(error)
    if inner is None:
        # A foreign error's own words may quote what it was reading.
        return RunState.FAILED, f"{type(error).__name__}, told on the terminal"
    if isinstance(inner, RunPaused):
        return RunState.PAUSED, str(inner)
    return (RunState.INTERRUPTED if isinstance(inner, RunInterrupted) else RunState.FAILED), str(inner)


def _own_error(error: BaseException) -> OrapoError | None:
    """The first error of this project behind ``error``; None behind a foreign one."""
    inner: BaseException | None = error
    while inner is not None and not isinstance(inner, OrapoError):
        inner = inner.__cause__
    return inner


def _is_first_process() -> bool:
    if "RANK" in os.environ:
        return os.environ["RANK"] == "0"
    return int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) == 1 or os.environ.get("SLURM_PROCID") == "0"
