"""A search over settings with Optuna's TPE: trials are jobs, the study survives the death of the process."""

from pathlib import Path
from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from orapo.experiment.sweeps.folders import folder_lock
from orapo.experiment.sweeps.jobs import SweepJobs
from orapo.experiment.sweeps.resume import MULTIRUN
from orapo.experiment.sweeps.search import described_config, fixed_and_swept, overrides_of_a_point, run_search
from orapo.search.study import SearchSettings, open_search
from orapo.settings import read
from orapo.whole_file import write_whole


class TpeSweeper(Sweeper):
    """Asks Optuna for settings, runs them as jobs, tells it their metric."""

    def __init__(
        self,
        n_trials: int,
        direction: str,
        seed: int,
        n_startup_trials: int,
        parallel_trials: int,
        storage: str | None,
        study_name: str | None,
        space: DictConfig | None,
    ) -> None:
        """Settings, as conf/hydra/sweeper/tpe.yaml describes them."""
        self._settings: dict[str, Any] = {
            "n_trials": n_trials,
            "direction": direction,
            "seed": seed,
            "n_startup_trials": n_startup_trials,
            "parallel_trials": parallel_trials,
            "storage": storage,
        }
        self._study_name = study_name
        self._space: dict[str, Any] = {} if space is None else OmegaConf.to_container(space, resolve=True)  # type: ignore[assignment]
        self.config: DictConfig | None = None
        self.hydra_context: HydraContext | None = None
        self._jobs: SweepJobs | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Takes the launcher that is configured."""
        self.config = config
        self.hydra_context = hydra_context
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        self._jobs = SweepJobs(launcher, Path(config.hydra.sweep.dir))

    def sweep(self, arguments: list[str]) -> Any:
        """Runs trials until ``n_trials`` have finished or failed.

        Raises:
            SettingError: a setting of the search is wrong.
            SweepFailed: trials failed; all others have run.
            RunInterrupted: the user stopped the search.
            RunPaused: nothing failed, but trials wait for their judge.
        """
        assert self.config is not None
        assert self.hydra_context is not None
        assert self._jobs is not None
        folder = self._jobs.folder
        loader = self.hydra_context.config_loader
        fixed, space = fixed_and_swept(arguments, self._space, loader)
        name = self._study_name or "/".join(folder.resolve().parts[-2:])
        settings = read(SearchSettings, {**self._settings, "study_name": name}, "hydra.sweeper")
        # A misspelt key in the space is told before anything is made.
        loader.load_sweep_config(self.config, [*fixed, *overrides_of_a_point(space)])
        with folder_lock(folder):
            write_whole(folder / MULTIRUN, OmegaConf.to_yaml(self.config))
            described = described_config(loader.load_sweep_config(self.config, fixed))
            content = run_search(open_search(folder, space, settings, described), self._jobs, fixed, self.config)
        self._jobs.tell_failures()
        return content
