"""A config.yaml that was edited between a run's checkpoint and its resume."""

import logging
from pathlib import Path

from omegaconf import DictConfig

from orapo.errors import SettingError
from orapo.experiment.finished_run import CONFIG_FILE, parse_saved
from orapo.experiment.sweeps.earlier_jobs import MAX_TOLD, compared_settings, setting_differences
from orapo.experiment.targets import plain
from orapo.experiment.train_settings import LAST_CHECKPOINT

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


def refuse_edited(folder: Path, config: DictConfig) -> None:
    """Compares config.yaml with the one that the last checkpoint carries, and says what differs.

    Args:
        folder: of the run.
        config: of its config.yaml.

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
