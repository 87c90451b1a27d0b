"""What a job of a sweep finds in its folder: nothing, a finished run, or one to continue."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from orapo.comparison.groups import IGNORED_SECTIONS
from orapo.comparison.run_folder import flat_settings, read_columns
from orapo.comparison.run_state import RunState, read_state
from orapo.errors import DataError, SettingError
from orapo.experiment.finished_run import parse_mapping
from orapo.experiment.sweeps.folders import is_run_by_another
from orapo.experiment.targets import plain
from orapo.experiment.train_settings import CHANGEABLE, LAST_CHECKPOINT
from orapo.foreign import read_text

LEFT_BEHIND = ("metrics.csv", "validation.csv", "rollouts.jsonl", "base_test_reports.jsonl")
"""A run appends to these, or trusts them; one that starts again in the same folder must not find them."""

MAX_TOLD = 3
"""Differences that an error names one by one."""


def is_finished(folder: Path, config: DictConfig) -> bool:
    """Whether the folder holds a finished run of exactly this config.

    Args:
        folder: of the job.
        config: of the job, without Hydra's own section.
    """
    record = read_state(folder)
    if record is None or record.state is not RunState.FINISHED or not (folder / "summary.json").is_file():
        return False
    return not differences(folder, config)


def make_ready(folder: Path, config: DictConfig) -> None:
    """Prepares the folder so that a job can train from its checkpoint, or from the beginning.

    Raises:
        SettingError: another process is at work there, or the folder holds a run of another config.
    """
    refuse_another(folder)
    has_checkpoint = (folder / LAST_CHECKPOINT).is_file()
    if not has_checkpoint and not (folder / "summary.json").is_file():
        # Nothing was learned here: whatever stopped it may have been mended in the config.
        start_over(folder)
        return
    if told := differences(folder, config):
        more = f" and {len(told) - MAX_TOLD} more" if len(told) > MAX_TOLD else ""
        raise SettingError(
            f"{folder} holds a run of another config: {', '.join(told[:MAX_TOLD])}{more}; "
            "start a new sweep, or delete that folder"
        )


def refuse_another(folder: Path) -> None:
    """Refuses a folder in use, by the run's record, which names process and machine.

    Raises:
        SettingError: another process is at work in the folder.
    """
    record = read_state(folder)
    if record is not None and is_run_by_another(record):
        raise SettingError(
            f"{folder} is being trained by process {record.process_id} on {record.host}; "
            f"if that is gone, delete {folder / 'run_state.json'}"
        )


def start_over(folder: Path) -> None:
    """Removes the files of a run that saved no checkpoint, so that it can begin again in its folder."""
    for name in LEFT_BEHIND:
        (folder / name).unlink(missing_ok=True)


def differences(folder: Path, config: DictConfig) -> list[str]:
    """Settings in which the run in ``folder`` differs from ``config``, each as "key is new, was old".

    Where a run writes and how its judge is reached is no difference.

    Raises:
        DataError: the saved config can't be read.
    """
    path = folder / "config.yaml"
    try:
        saved = parse_mapping(read_text(path))
    except (ValueError, YAMLError, OmegaConfBaseException) as error:
        raise DataError(f"{path} is no config ({type(error).__name__}); delete the folder to run it again") from error
    return setting_differences(compared_settings(plain(saved)), compared_settings(plain(config)))


def compared_settings(content: Mapping[str, Any]) -> dict[str, Any]:
    """A flat config without the keys that don't affect a run's result."""
    ignored = ("resume", *CHANGEABLE)
    flat = flat_settings(content)
    return {key: value for key, value in flat.items() if key not in ignored and not key.startswith(IGNORED_SECTIONS)}


def setting_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Each key whose value changed, as "key is new, was old"."""
    keys = dict.fromkeys((*new, *old))
    told = {key: (new.get(key, "absent"), old.get(key, "absent")) for key in keys}
    return [f"{key} is {now!r}, was {before!r}" for key, (now, before) in told.items() if now != before]


def validation_metric(folder: Path, name: str | None) -> float | None:
    """The value that a search optimises: a column of the last validation, never a score of the test split.

    Args:
        folder: of the run.
        name: of the column; None for macro F1, or the accuracy of questions.

    Returns:
        None for a run that was not validated after its first step.
    """
    needed, optional = ((), ("macro_f1", "accuracy")) if name is None else ((name,), ())
    steps, curves = read_columns(folder / "validation.csv", needed, optional)
    values = [values for _, values in curves.values()]
    is_trained = len(steps) > 0 and steps[-1] > 0
    return float(values[0][-1]) if is_trained and values and len(values[0]) else None
