"""Runs the jobs of a sweep by any launcher: what each returned, which failed, and when to stop."""

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from orapo.comparison.run_state import RunState, read_state
from orapo.errors import DataError, OrapoError, RunInterrupted, RunPaused, SweepFailed, first_line
from orapo.experiment.config_keys import in_order
from orapo.experiment.run_state import ended
from orapo.experiment.sweeps.slots import UntilStopped, are_sent_on, mark_of_stop
from orapo.stopping import STOP_SIGNALS, Stopped


@dataclass(frozen=True)
class JobOutcome:
    """The outcome of one job.

    Attributes:
        overrides: of the job.
        folder: of the job.
        state: FINISHED, FAILED, PAUSED or INTERRUPTED.
        value: that the job returned; None for one that did not finish.
        reason: one line, why it did not finish.
    """

    overrides: tuple[str, ...]
    folder: Path
    state: RunState
    value: Any
    reason: str

    @classmethod
    def of(cls, returned: JobReturn) -> "JobOutcome":
        """Reads what a launcher returned; the job's own record tells more than an error that crossed processes."""
        assert returned.hydra_cfg is not None
        folder = Path(returned.hydra_cfg.hydra.runtime.output_dir)
        overrides = tuple(returned.overrides or ())
        # The public attribute prints the error and raises it.
        value = returned._return_value
        if returned.status is JobStatus.COMPLETED:
            return cls(overrides, folder, RunState.FINISHED, value, "")
        state, reason = ended(value)
        if isinstance(value, OrapoError):
            return cls(overrides, folder, state, None, reason)
        return cls(overrides, folder, state, None, _recorded_reason(folder) or reason)


def _recorded_reason(folder: Path) -> str:
    try:
        record = read_state(folder)
    except DataError:
        return ""
    return "" if record is None else record.reason


class SweepJobs(Launcher):
    """A launcher that passes jobs to another one, and never lets one job's failure end the others."""

    def __init__(self, launcher: Launcher, folder: Path) -> None:
        """Starts no job yet; ``launcher`` is set up already."""
        self.folder = folder
        self._launcher = launcher
        self._unfinished: list[JobOutcome] = []
        self._num_jobs = 0

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Does nothing: the other launcher is set up already."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Called by Hydra's sweeper: runs the jobs and returns no error."""
        self.run(job_overrides, initial_job_idx)
        return []

    def run(self, job_overrides: Sequence[Sequence[str]], first_number: int) -> list[JobOutcome]:
        """Runs jobs, side by side where the launcher can.

        Args:
            job_overrides: the overrides of each job.
            first_number: of the first job; the others count on.

        Returns:
            The outcome of each job.

        Raises:
            RunInterrupted: the user stopped a job, and with it the sweep.
            SweepFailed: the launcher itself gave up, as when a worker process was killed.
        """
        # Hydra's own launcher would continue with the next job after Ctrl-C.
        size = 1 if isinstance(self._launcher, BasicLauncher) else max(1, len(job_overrides))
        outcomes: list[JobOutcome] = []
        mark_of_stop(self.folder).unlink(missing_ok=True)  # of an earlier command
        for start in range(0, len(job_overrides), size):
            ordered = (in_order(overrides) for overrides in job_overrides[start : start + size])
            batch = UntilStopped(ordered, self.folder)
            new = self._launched(batch, first_number + start)
            outcomes += new
            self._num_jobs += len(new)
            self._unfinished += [outcome for outcome in new if outcome.state is not RunState.FINISHED]
            stopped = next((outcome.reason for outcome in new if outcome.state is RunState.INTERRUPTED), None)
            if STOP_SIGNALS.first is not None:
                raise Stopped(STOP_SIGNALS.first).error(f"; the sweep ends here, {self.how_to_go_on}")
            if stopped:
                raise RunInterrupted(f"{stopped}; the sweep ends here, {self.how_to_go_on}")
        return outcomes

    def _launched(self, batch: UntilStopped, first_number: int) -> list[JobOutcome]:
        # One process hears signals in its job; slots are sent what comes, finish their step, and the launcher returns.
        # Jobs on another machine go on without this command.
        is_elsewhere = not isinstance(self._launcher, BasicLauncher) and not are_sent_on()
        heard = STOP_SIGNALS.heard() if is_elsewhere else nullcontext()
        try:
            with heard:
                returned = self._launcher.launch(batch, initial_job_idx=first_number)
        except Stopped as stop:
            raise stop.error(f"; {self.how_to_go_on}") from None
        except (OrapoError, HydraException):
            raise
        except Exception as error:
            raise SweepFailed(
                f"the launcher gave up ({type(error).__name__}: {first_line(error)}); {self.how_to_go_on}"
            ) from error
        return [JobOutcome.of(job) for job in returned]

    @property
    def how_to_go_on(self) -> str:
        """The command that continues this sweep."""
        return f"go on with: orapo train resume={self.folder}"

    def add_failure(self, outcome: JobOutcome, reason: str) -> None:
        """Counts a finished job as failed, such as one without the metric that a search needs."""
        self._unfinished.append(replace(outcome, state=RunState.FAILED, reason=reason))

    def tell_failures(self) -> None:
        """Prints the jobs that did not finish, a line each, on standard error.

        Raises:
            SweepFailed: jobs failed.
            RunPaused: none failed, and jobs wait for their judge or their budget.
        """
        for outcome in self._unfinished:
            print(f"{outcome.state}: {outcome.folder.name}: {outcome.reason}", file=sys.stderr)
        failed = sum(outcome.state is RunState.FAILED for outcome in self._unfinished)
        paused = len(self._unfinished) - failed
        if failed:
            raise SweepFailed(f"{failed} of {self._num_jobs} jobs failed; mend them and {self.how_to_go_on}")
        if paused:
            raise RunPaused(f"{paused} of {self._num_jobs} jobs wait; {self.how_to_go_on}")
