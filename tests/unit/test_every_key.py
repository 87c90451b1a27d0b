"""Every key of every composed config: what it can't be is refused in one line that starts with the key's whole path."""

import inspect
import math
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf
from tests.configs import CONF, composed

from orapo.errors import SettingError
from orapo.experiment.config import read_experiment
from orapo.experiment.config_tree import without_training
from orapo.experiment.evaluate_config import read_evaluation
from orapo.experiment.generate_config import read_generation
from orapo.experiment.targets import TARGET, plain
from orapo.experiment.trainer_settings import ELSEWHERE, OWN, TrainerSettings

FREE_TEXT = {
    "a name or a sentence of the user's": (
        "run_name",
        "name",
        "instruction",
        "question",
        "project",
        "group",
        "job_type",
        "identity",
    ),
    "a path, of which one that does not exist is found when it is opened": (
        "path",
        "logs",
        "evaluations",
        "image_root",
        "sweeps",
        "judge_cache",
        "api_reports",
        "cache_path",
        "csv",
        "root",
        "annotation",
        "image",
    ),
    "a model's name, which its provider or its server knows": ("model",),
    "a regular expression": ("target_modules",),
    "a number, a list of devices or their names": ("devices",),
}
ANY_TEXT = {key for keys in FREE_TEXT.values() for key in keys}

OWN_MAPPINGS = {"columns", "path"}
"""Of names that the data set or the user chose, to names of files and columns; tests of their source read them."""

OWN_NAMES = {"term_settings", "metrics"}
"""Sections whose keys are names of somebody's own; what stands below them is told instead."""

WRITTEN_WHOLE = {"alpha", "num_passes", "timeout_seconds", "pause_limit_seconds"}
"""Numbers that may have a fraction, although a config here writes them without one."""

OPTIONAL_SWITCHES = {"image_tiles"}
"""Of true, false and null."""

SWITCHES_OR_AUTO = {"gradient_checkpointing"}
"""Of true, false and auto."""


def options(group: str, *needed: str) -> list[list[str]]:
    return [[f"{group}={file.stem}", *needed] for file in sorted((CONF / group).glob("*.yaml"))]


SERVER = ["model=qwen2_5_vl_3b", "rollout=vllm", "rollout.server.api_base=http://127.0.0.1:8000/v1"]
NEED_A_PATH = ("annotation", "hf_dataset", "questions", "study_table")
TRAIN = [
    [],
    *[base if base != ["model=checkpoint"] else [*base, "model.path=folder"] for base in options("model")],
    *(base for base in options("data") if base[0].partition("=")[2] not in NEED_A_PATH),
    ["data=annotation", "data.root=folder", "data.annotation=annotation.json"],
    ["data=study_table", "data.root=folder", "data.csv=table.csv"],
    ["data=hf_dataset", "data.path=folder"],
    ["data=questions", "data.path=questions.csv"],
    *options("objective"),
    *(
        base
        for part in ("policy_loss", "oracle_loss", "zero_reward", "average")
        for base in options(f"objective/{part}")
    ),
    *options("reward"),
    *options("trainer"),
    *options("logger"),
    SERVER,
]
EVALUATE = [[], ["system=api", "system.model=openai/drawer"], ["data=chexpert_gold"]]


def whole(command: str, overrides: list[str]) -> DictConfig:
    config = composed(*overrides, name=command)
    return config if command == "config" else without_training(config, overrides)


def leaves(content: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in content.items():
        if isinstance(value, dict) and value:
            yield from () if key in OWN_MAPPINGS else leaves(value, (*path, key))
        elif key != TARGET:
            yield (*path, key), value


def sections(content: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    yield path, content
    for key, value in content.items():
        if isinstance(value, dict) and value and key not in OWN_MAPPINGS:
            yield from sections(value, (*path, key))


def wrong(key: str, value: Any) -> list[Any]:
    """What the key can't be, by what it is."""
    if key in OPTIONAL_SWITCHES or key in SWITCHES_OR_AUTO:
        return [1, "true", math.nan, -(10**9)]
    if isinstance(value, bool):
        return [1, "true", math.nan, None]
    if isinstance(value, int):
        fractions = [] if key in WRITTEN_WHOLE else [value + 0.5]
        return [True, math.nan, math.inf, -(10**9), *fractions, *([] if key in ANY_TEXT else ["word"])]
    if isinstance(value, float):
        return ["word", True, math.nan, math.inf, -1e9]
    texts = [] if key in ANY_TEXT or value is None else ["no such word"]
    return [True, math.nan, -(10**9), *texts]


def edits(content: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], Any, str]]:
    """A key's path, what to put there, and what the error has to hold."""
    for path, value in leaves(content):
        yield from ((path, bad, f" is {bad!r}; ") for bad in wrong(path[-1], value))
    for path, section in sections(content):
        if path and path[-1] in OWN_NAMES:
            continue
        near = next((key for key in section if key != TARGET), "key")
        yield (*path, f"{near}x"), 1, " is not a setting"


def refusal(config: DictConfig, path: tuple[str, ...], bad: Any, read: Callable[[DictConfig], Any]) -> str:
    """What is said of a config with one key made wrong; "" where it is accepted. The config stays as it was."""
    section = OmegaConf.select(config, ".".join(path[:-1])) if path[:-1] else config
    before = dict(section)
    section[path[-1]] = bad
    try:
        read(config)
    except SettingError as error:
        return str(error)
    finally:
        if path[-1] in before:
            section[path[-1]] = before[path[-1]]
        else:
            del section[path[-1]]
    return ""


def refuse_all(composed: DictConfig, read: Callable[[DictConfig], Any], seen: set[str]) -> list[str]:
    """What was accepted, or refused in other words, among what no earlier config of this command had."""
    config = OmegaConf.create(plain(composed))
    read(config)
    problems = []
    for path, bad, told in edits(plain(config)):
        key = ".".join(path)
        case = f"{key}{told}{OmegaConf.select(config, '.'.join((*path[:-1], TARGET)))}"
        if case in seen:
            continue
        seen.add(case)
        message = refusal(config, path, bad, read)
        is_told = told in message or key.endswith("api_key_variable")  # what may be a key is not repeated
        if "\n" in message or not message.startswith(key) or not is_told:
            problems.append(f"{case}: {message or 'accepted'}")
    return problems


@pytest.mark.slow
def test_of_a_training() -> None:
    seen: set[str] = set()
    problems = [problem for base in TRAIN for problem in refuse_all(whole("config", base), read_experiment, seen)]
    assert not problems, "\n".join(problems)
    assert len(seen) > 1000


@pytest.mark.slow
def test_of_an_evaluation() -> None:
    seen: set[str] = set()
    read: Callable[[DictConfig], Any] = lambda config: read_evaluation(config, [])  # noqa: E731
    problems = [problem for base in EVALUATE for problem in refuse_all(whole("evaluate", base), read, seen)]
    assert not problems, "\n".join(problems)
    assert len(seen) > 300


def test_of_generated_reports(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("L", (64, 64)).save(tmp_path / "scan.png")
    config = whole("generate", [f"image={tmp_path / 'scan.png'}"])
    problems = refuse_all(config, lambda config: read_generation(config, []), set())
    assert not problems, "\n".join(problems)


def test_the_trainers_arguments_are_lightnings() -> None:
    from lightning.pytorch import Trainer

    known = {field.name for field in fields(TrainerSettings)}
    assert known | set(OWN) | set(ELSEWHERE) == set(inspect.signature(Trainer).parameters)
    assert not known & ({*OWN} | {*ELSEWHERE})


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        *((f"{key}=0", f"trainer.{key} can't be set: set {ELSEWHERE[key]} instead") for key in ELSEWHERE),
        ("limit_val_batches=0", "can't be set: the experiment sets it itself"),
        ("fast_dev_run=true", "set training.num_steps instead"),
        ("overfit_batches=0.1", "set data.subset.num_studies instead"),
        ("max_time=00:00:00:01", "set training.num_steps instead"),
        ("barebones=true", "can't be set"),
    ],
)
def test_what_would_end_a_run_as_if_it_had_finished_is_refused(argument: str, told: str) -> None:
    with pytest.raises(SettingError, match=re.escape(told)):
        read_experiment(whole("config", [f"+trainer.{argument}"]))


LIGHT = """
import sys
sys.path.insert(0, {root!r})
from tests.unit.test_every_key import whole
from orapo.errors import SettingError
from orapo.experiment.config import read_experiment
for override in {overrides!r}:
    try:
        read_experiment(whole("config", [override]))
    except SettingError as error:
        print(error)
print("heavy", sorted({heavy!r} & set(sys.modules)))
"""
HEAVY = {"torch", "transformers", "peft", "lightning", "torchmetrics", "datasets", "wandb", "litellm"}


@pytest.mark.parametrize(
    ("overrides", "imported"),
    [
        (
            ["+typo=1", "training.learning_rate=-1", "reward.f_beta=0", "data.source.num_test=-1", "trainer.devices=0"],
            [],
        ),
        (["objective.alpha=2"], ["torch"]),
    ],
    ids=["all sections but one", "the objective, whose losses are torch"],
)
@pytest.mark.slow
def test_what_is_wrong_is_told_before_anything_heavy_is_imported(overrides: list[str], imported: list[str]) -> None:
    script = LIGHT.format(root=str(CONF.parent), overrides=overrides, heavy=HEAVY)
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    *told, heavy = result.stdout.splitlines()
    keys = [override.partition("=")[0].removeprefix("+") for override in overrides]
    assert [line.partition(" ")[0] for line in told] == keys
    assert heavy == f"heavy {imported}"
