"""Hydra's own sweeper, whose failed jobs are reported at the end and stop nobody else."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from orapo.experiment.sweeps.folders import folder_lock
from orapo.experiment.sweeps.jobs import SweepJobs


class GridSweeper(BasicSweeper):
    """All combinations of the values given."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Puts the launcher that is configured behind one that keeps account."""
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        assert self.launcher is not None
        self.launcher = SweepJobs(self.launcher, Path(config.hydra.sweep.dir))

    def sweep(self, arguments: list[str]) -> Any:
        """Runs all jobs.

        Raises:
            SweepFailed: jobs failed; all others have run.
            RunInterrupted: the user stopped the sweep.
            RunPaused: nothing failed, but jobs wait for their judge.
        """
        assert isinstance(self.launcher, SweepJobs)
        with folder_lock(self.launcher.folder):
            returned: Sequence[Any] = super().sweep(arguments)
        self.launcher.tell_failures()
        return returned
