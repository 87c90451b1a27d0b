"""Says in every run's folder what became of it, and what a sweep is called: by Hydra's own words."""

import os
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from orapo.comparison.run_state import RunState, StateRecord, read_state
from orapo.errors import CheckpointError, OrapoError, RunInterrupted, RunPaused, SettingError


class RunStateFile(Callback):
    """Writes run_state.json when a job begins and when it ends, in a single run and in each job of a sweep."""

    def __init__(self) -> None:
        """Nothing is written yet."""
        self._earlier: StateRecord | None = None
        self._now: StateRecord | None = None

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """The run is at work. A resumed run keeps the overrides that it began with."""
        # One object serves all jobs of a sweep.
        self._earlier = self._now = None
        if not _is_first_process():
            return
        folder = Path(config.hydra.runtime.output_dir)
        self._earlier = read_state(folder)
        overrides = tuple(str(override) for override in config.hydra.overrides.task)
        if self._earlier is not None:
            overrides = self._earlier.overrides
        self._now = StateRecord.of_this_process(RunState.RUNNING, overrides)
        self._now.write(folder)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """The run is over, or stopped, or was refused; a refusal to resume leaves the run as it was."""
        if self._now is None:
            return
        folder = Path(config.hydra.runtime.output_dir)
        # The public attribute prints the error and raises it once more.
        error = job_return._return_value if job_return.status is JobStatus.FAILED else None
        if self._earlier is not None and isinstance(error, SettingError | CheckpointError):
            self._earlier.write(folder)
            return
        state, reason = ended(error)
        StateRecord.of_this_process(state, self._now.overrides, reason).write(folder)


def ended(error: BaseException | None) -> tuple[RunState, str]:
    """What an error, or none, makes of a run, and why in one line."""
    if error is None:
        return RunState.FINISHED, ""
    inner: BaseException | None = error
    while inner is not None and not isinstance(inner, OrapoError):
        inner = inner.__cause__
    if inner is None:
        # A foreign error's own words may quote what it was reading.
        return RunState.FAILED, f"{type(error).__name__}, told on the terminal"
    if isinstance(inner, RunPaused):
        return RunState.PAUSED, str(inner)
    return (RunState.INTERRUPTED if isinstance(inner, RunInterrupted) else RunState.FAILED), str(inner)


def _is_first_process() -> bool:
    if "RANK" in os.environ:
        return os.environ["RANK"] == "0"
    return int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) == 1 or os.environ.get("SLURM_PROCID") == "0"


def sweep_name() -> str | None:
    """Name and time of the sweep that this job belongs to, as its folder is called; None for a single run."""
    if not HydraConfig.initialized() or HydraConfig.get().mode is not RunMode.MULTIRUN:
        return None
    hydra = HydraConfig.get()
    # A job's folder may be several deep: an override may name a config group with a slash.
    depth = len(Path(hydra.sweep.subdir).parts)
    sweep = Path(hydra.runtime.output_dir).parents[depth - 1]
    return "/".join(sweep.parts[-2:])


# A config with `logger=wandb` can be resolved wherever this package is used, with Hydra's command line or without.
OmegaConf.register_new_resolver("sweep_name", sweep_name, replace=True)
