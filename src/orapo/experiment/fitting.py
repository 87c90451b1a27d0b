"""Resolves ``auto`` settings: the fastest that fit the counted memory, kept when a run is resumed.

What trains is the same to rounding whatever is chosen; to the bit only with the same choice, which is why a resumed run
takes the first one.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from orapo.errors import CheckpointError, DataError
from orapo.experiment.config import Experiment
from orapo.foreign import read_json
from orapo.policy.memory import Load, ModelSize, count_memory
from orapo.whole_file import write_whole

CHOSEN = "chosen.json"
"""In a run's folder: the values of the settings that were ``auto``."""

USED_SHARE = 0.75
"""Of the free memory. The rest is for what is not counted: CUDA itself, a vision tower at work, fragments."""

CHECKPOINTING, MICRO_BATCH = "model.gradient_checkpointing", "training.studies_per_micro_batch"


def automatic(experiment: Experiment) -> tuple[str, ...]:
    """Keys that are ``auto``."""
    return tuple(key for key, value in _values(experiment).items() if value == "auto")


def fitted(
    experiment: Experiment, size: ModelSize, load: Callable[[Experiment], Load], most: int, free_bytes: int
) -> Experiment:
    """The experiment with numbers where it says ``auto``.

    Args:
        experiment: checked settings.
        size: of the policy.
        load: what a process does at a time with such settings.
        most: studies of a process in a step.
        free_bytes: of the fullest device, before the weights are loaded.

    Returns:
        The first that fits: without gradient checkpointing before with it, more studies at a time before fewer. The
        most careful where none fits, and where more than the language model trains: what a vision tower keeps for its
        gradients is not counted.
    """
    candidates = list(_candidates(experiment, most))
    if experiment.model.trainable != "language":
        return candidates[-1]
    room = USED_SHARE * free_bytes
    return next((one for one in candidates if count_memory(size, load(one)).total <= room), candidates[-1])


def _candidates(experiment: Experiment, most: int) -> Iterator[Experiment]:
    keys = automatic(experiment)
    for checkpointing in (False, True) if CHECKPOINTING in keys else (experiment.model.gradient_checkpointing,):
        sizes = _halves(most) if MICRO_BATCH in keys else (experiment.training.studies_per_micro_batch,)
        for studies in sizes:
            yield _with(experiment, {CHECKPOINTING: checkpointing, MICRO_BATCH: studies})


def _halves(most: int) -> Iterator[int]:
    while most > 1:
        yield most
        most = -(-most // 2)
    yield 1


def _with(experiment: Experiment, chosen: Mapping[str, Any]) -> Experiment:
    return replace(
        experiment,
        model=replace(experiment.model, gradient_checkpointing=chosen[CHECKPOINTING]),
        training=replace(experiment.training, studies_per_micro_batch=chosen[MICRO_BATCH]),
    )


def write_chosen(experiment: Experiment, fitted: Experiment, folder: Path) -> None:
    """Writes the values chosen for the keys that were ``auto``, if any."""
    if keys := automatic(experiment):
        chosen = {key: value for key, value in _values(fitted).items() if key in keys}
        write_whole(folder / CHOSEN, json.dumps(chosen, indent=2) + "\n")


def read_chosen(experiment: Experiment, folder: Path) -> Experiment:
    """The experiment with the values that the run in ``folder`` began with.

    Raises:
        CheckpointError: it chose, and what it chose can't be read.
    """
    keys = automatic(experiment)
    if not keys:
        return experiment
    path = folder / CHOSEN
    try:
        chosen = read_json(path)
        return _with(experiment, {**_values(experiment), **{key: chosen[key] for key in keys}})
    except (DataError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path} does not say what this run chose for {' and '.join(keys)} ({type(error).__name__}); write it "
            f'there, as {{"{keys[0]}": ...}}: a run goes on as it began'
        ) from error


def _values(experiment: Experiment) -> dict[str, Any]:
    return {
        CHECKPOINTING: experiment.model.gradient_checkpointing,
        MICRO_BATCH: experiment.training.studies_per_micro_batch,
    }
