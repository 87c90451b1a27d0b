"""Settings that are ``auto``: the first choice that fits, told and kept for a run that is resumed."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.configs import composed

from orapo.errors import CheckpointError
from orapo.experiment.config import Experiment, read_experiment
from orapo.experiment.fitting import CHOSEN, USED_SHARE, automatic, fitted, read_chosen, write_chosen
from orapo.policy.memory import Load, ModelSize, count_memory

SIZE = ModelSize(
    num_weights=1_000_000,
    num_trained=1_000_000,
    num_in_products=900_000,
    has_adapter=False,
    bytes_each=4,
    num_layers=10,
    hidden=64,
    intermediate=256,
    key_width=32,
    vocabulary=1_000,
)


def experiment(*overrides: str) -> Experiment:
    return read_experiment(composed("model=checkpoint", "model.path=folder", *overrides))


LANGUAGE = "model.trainable=language"


def load(one: Experiment) -> Load:
    return Load(
        rows=6,
        studies=3,
        update_studies=one.training.micro_batch,
        completions=9,
        prompt_tokens=100,
        new_tokens=50,
        checkpointing=bool(one.model.gradient_checkpointing),
        autocast=False,
        has_reference=True,
    )


def choice(one: Experiment) -> tuple[bool | str, int | str]:
    return one.model.gradient_checkpointing, one.training.studies_per_micro_batch


def needed(given: Experiment, checkpointing: bool, studies: int) -> int:
    """Free bytes that just hold this choice."""
    model = replace(given.model, gradient_checkpointing=checkpointing)
    training = replace(given.training, studies_per_micro_batch=studies)
    total = count_memory(SIZE, load(replace(given, model=model, training=training))).total
    return int(total / USED_SHARE) + 1


FASTEST_FIRST = [(False, 6), (False, 3), (False, 2), (False, 1), (True, 6), (True, 3), (True, 2), (True, 1)]


@pytest.mark.parametrize("place", range(len(FASTEST_FIRST)))
def test_the_fastest_that_fits(place: int) -> None:
    given = experiment(LANGUAGE)
    free = needed(given, *FASTEST_FIRST[place])
    fitting = [one for one in FASTEST_FIRST if needed(given, *one) <= free]
    assert choice(fitted(given, SIZE, load, 6, free)) == fitting[0]
    less = [one for one in FASTEST_FIRST if needed(given, *one) < free]
    assert choice(fitted(given, SIZE, load, 6, free - 1)) == (less or [(True, 1)])[0]


def test_only_what_is_auto_is_chosen() -> None:
    plenty = 10**15
    assert choice(fitted(experiment(LANGUAGE), SIZE, load, 16, plenty)) == (False, 16)
    assert choice(fitted(experiment(LANGUAGE), SIZE, load, 16, 0)) == (True, 1)
    one = experiment(LANGUAGE, "training.studies_per_micro_batch=5")
    assert choice(fitted(one, SIZE, load, 16, plenty)) == (False, 5)
    other = experiment(LANGUAGE, "model.gradient_checkpointing=true")
    assert choice(fitted(other, SIZE, load, 16, plenty)) == (True, 16)
    assert automatic(other) == ("training.studies_per_micro_batch",)


@pytest.mark.parametrize("trainable", ["all", "projector", "projector_and_vision"])
def test_where_image_weights_train_the_choice_is_the_most_careful(trainable: str) -> None:
    assert choice(fitted(experiment(f"model.trainable={trainable}"), SIZE, load, 16, 10**15)) == (True, 1)


def test_a_resumed_run_takes_its_first_choice(tmp_path: Path) -> None:
    given = experiment(LANGUAGE)
    write_chosen(given, fitted(given, SIZE, load, 16, 10**15), tmp_path)
    assert choice(read_chosen(given, tmp_path)) == (False, 16)
    explicit = experiment("model.gradient_checkpointing=true", "training.studies_per_micro_batch=2")
    assert choice(read_chosen(explicit, tmp_path)) == (True, 2)


@pytest.mark.parametrize(
    "content",
    [
        None,
        "",
        "[]",
        '{"model.gradient_checkpointing": true}',
        '{"model.gradient_checkpointing": true, "training.studies_per_micro_batch": 0}',
    ],
)
def test_a_choice_that_can_not_be_read_stops_the_run(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / CHOSEN).write_text(content)
    with pytest.raises(CheckpointError, match=rf"^.*{CHOSEN} does not say what this run chose for model.gradient.*$"):
        read_chosen(experiment(), tmp_path)


def test_without_auto_no_file_is_written(tmp_path: Path) -> None:
    given = experiment("model.gradient_checkpointing=true", "training.studies_per_micro_batch=2")
    write_chosen(given, given, tmp_path)
    assert not list(tmp_path.iterdir())
