"""``orapo train``: a new run, or a resumed one."""

import logging
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from orapo.errors import CheckpointError, RunInterrupted, RunPaused, SettingError
from orapo.experiment.command_line import run_command
from orapo.experiment.config import Experiment, check_precision, read_experiment
from orapo.experiment.config_keys import refuse_keys_within
from orapo.experiment.finished_run import CONFIG_FILE, parse_saved, read_saved
from orapo.experiment.processes import own_rank, started_processes
from orapo.experiment.sweeps.earlier_jobs import (
    MAX_TOLD,
    compared_settings,
    is_finished,
    make_ready,
    setting_differences,
    validation_metric,
)
from orapo.experiment.sweeps.resume import resumed_sweep
from orapo.experiment.targets import plain
from orapo.experiment.train_settings import CHANGEABLE, LAST_CHECKPOINT, SUMMARY
from orapo.stopping import Stopped

log = logging.getLogger(__name__)

FREE = ("path", "root", "csv", "reports", "annotation")
"""Last words of keys that say where data and models lie: they may have moved."""
FREE_KEYS = (
    "resume",
    "run_name",
    "optimized_metric",
    "trainer.accelerator",
    "trainer.devices",
    "trainer.num_nodes",
    "training.num_workers",
    "training.eval_batch_size",
    "training.studies_per_micro_batch",
    "model.gradient_checkpointing",
)
"""Keys that fit a run to a machine; what is learned is the same but for rounding."""


def main() -> None:
    """Composes the config, trains, and exits."""
    run_command(train_command, rewrite=resumed_sweep)


def train_command(config: DictConfig) -> float | None:
    """Checks the config, then imports what is heavy and trains; a sweep's finished job is not run again.

    Returns:
        ``optimized_metric`` of the last validation, for a sweep that searches; None for a run without validation.
    """
    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    is_resumed = config.resume is not None
    if hydra.mode == RunMode.MULTIRUN:
        _refuse_as_job(config)
        if is_finished(folder, config):
            log.info("job %s is finished and not run again: %s", hydra.job.num, folder)
            return validation_metric(folder, config.optimized_metric)
        check_precision(read_experiment(config))
        make_ready(folder, config)
    elif is_resumed:
        config = saved_config(Path(config.resume), list(hydra.overrides.task))
    elif (folder / CONFIG_FILE).exists():
        raise SettingError(
            f"{folder} holds a run already; go on with it by resume={folder}, or choose another run_name"
        )
    experiment = read_experiment(config)
    if not is_resumed:
        check_precision(experiment)
    try:
        # Lightning and torchmetrics take seconds to import: a misspelt key has been refused by now.
        from orapo.experiment.run import train

        with started_processes(config, folder):
            train(config, folder)
    except Stopped as stop:
        # Before the first step, in a validation, after the last step, or for the second time.
        raise stop.error(f"; {_how_to_go_on(folder, experiment)}") from stop
    except (RunInterrupted, RunPaused) as stop:
        raise type(stop)(f"{stop}; {_how_to_go_on(folder, experiment)}") from stop
    return validation_metric(folder, experiment.optimized_metric)


def _how_to_go_on(folder: Path, experiment: Experiment) -> str:
    if not experiment.callbacks.keep_optimizer and (folder / LAST_CHECKPOINT).is_file():
        return "it can't be resumed, callbacks.keep_optimizer=false"
    has_begun = (folder / CONFIG_FILE).is_file()
    return f"go on with: orapo train resume={folder}" if has_begun else "nothing had begun"


def _refuse_as_job(config: DictConfig) -> None:
    if own_rank():
        raise SettingError("--multirun under torchrun or srun is not supported; start one run for each of its jobs")
    if config.resume is not None:
        raise SettingError("resume goes on with one run or with a whole sweep; leave out --multirun and what is swept")


def saved_config(folder: Path, overrides: list[str]) -> DictConfig:
    """The config of the run in ``folder``.

    Raises:
        SettingError: there are overrides beside ``resume``, or config.yaml was edited: a run continues as it began.
        CheckpointError: the folder holds no run, or a finished one without checkpoints.
    """
    others = [override for override in overrides if not override.startswith("resume=")]
    kept = [override for override in others if override.partition("=")[0] in CHANGEABLE]
    if refused := [override for override in others if override not in kept]:
        raise SettingError(
            f"resume={folder} goes on with the run's own config; leave out {' '.join(refused)} (what may change is how "
            f"the judge is reached, or the rollout server: {', '.join(CHANGEABLE)})"
        )
    if not (folder / CONFIG_FILE).is_file():
        raise CheckpointError(f"resume={folder} can't go on: {folder / CONFIG_FILE} does not exist")
    if (folder / SUMMARY).is_file() and not list(folder.glob(f"{LAST_CHECKPOINT.parent}/*.ckpt")):
        raise CheckpointError(f"resume={folder} can't go on: the run is finished, and its checkpoints are gone")
    config = read_saved(folder / CONFIG_FILE)
    refuse_keys_within(config)
    _refuse_edited(folder, config)
    for override in kept:
        if override.startswith("reward.") and "model" not in config.reward:
            raise SettingError(f"{override} is for reward=fact_score_llm; the run in {folder} has another reward")
        if override.startswith("rollout.") and config.rollout.get("server") is None:
            raise SettingError(f"{override} is for rollout=vllm; the run in {folder} samples by itself")
    return OmegaConf.merge(config, OmegaConf.from_dotlist(kept)) if kept else config  # type: ignore[return-value]


def _refuse_edited(folder: Path, config: DictConfig) -> None:
    """Compares config.yaml with the one that the run's last checkpoint carries, and says what differs.

    Raises:
        SettingError: another setting than where things lie, or what the machine takes at a time, was edited.
    """
    path = folder / LAST_CHECKPOINT
    if not path.is_file():
        return
    # Importing torch takes seconds, and a folder without a checkpoint needs none.
    from orapo.training.checkpoint_files import run_of

    text = run_of(path).get("config")
    if not text:
        return
    saved = plain(parse_saved(text))
    told = setting_differences(compared_settings(saved), compared_settings(plain(config)))
    refused = [line for line in told if not _is_free(line.partition(" is ")[0])]
    if refused:
        more = f" and {len(refused) - MAX_TOLD} more" if len(refused) > MAX_TOLD else ""
        raise SettingError(
            f"{folder / CONFIG_FILE} was edited since the run's checkpoint: {', '.join(refused[:MAX_TOLD])}{more}; put "
            "it back, or begin a new run"
        )
    for line in told:
        log.warning("%s was edited: %s", CONFIG_FILE, line)


def _is_free(key: str) -> bool:
    return key in FREE_KEYS or key.rpartition(".")[2] in FREE
