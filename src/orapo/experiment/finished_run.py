"""What a finished run answers for a command that uses its model; the command line stands above it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict

from orapo.errors import CheckpointError
from orapo.policy.settings import SAVED_KEYS, SAVED_SETTINGS, ModelSettings

CONFIG_FILE = "config.yaml"
MODEL_FOLDER = "model"

_BEFORE_TERMS = {
    "orapo.reward.fact_score.FactScoreReward": "facts",
    "orapo.reward.accuracy.AccuracyReward": "accuracy",
}
"""What rewards were before they had terms, and the term that each is."""


def run_config(folder: Path, needed: Sequence[str]) -> DictConfig:
    """The config of a finished run.

    Args:
        folder: of the run.
        needed: files and folders that a finished run has and the command reads, beside the config.

    Raises:
        CheckpointError: the folder lacks one of them.
    """
    for name in (CONFIG_FILE, *needed):
        if not (folder / name).exists():
            raise CheckpointError(f"the run in {folder} can't be used: {folder / name} does not exist")
    return read_saved(folder / CONFIG_FILE)


def read_saved(path: Path) -> DictConfig:
    """The saved config of a run; keys that have moved since stand where they are today."""
    config = OmegaConf.load(path)
    assert isinstance(config, DictConfig)
    with open_dict(config):
        if "train_vision" in config.get("model", {}):
            # The key of runs before there was more to choose from.
            config.model.trainable = "all" if config.model.pop("train_vision") else "language"
        reward = config.get("reward", {})
        if reward.get("_target_") in _BEFORE_TERMS:
            terms = {_BEFORE_TERMS[reward["_target_"]]: 1.0}
            config.reward = {**reward, "_target_": "orapo.reward.weighted.WeightedReward", "terms": terms}
    return config


def with_run(
    config: DictConfig, run: DictConfig, overrides: Sequence[str], sections: Sequence[str], keys: Mapping[str, str]
) -> DictConfig:
    """The composed config with the run's settings, and the command line above them.

    Args:
        config: as composed from the command's own YAML and the command line.
        run: of ``run_config``.
        overrides: the command line.
        sections: that are the run's as a whole.
        keys: of the command that a run answers, by the run's own key.
    """
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    chosen = {override.key_or_group for override in parsed}
    merged = config.copy()
    with open_dict(merged):
        for section in sections:
            if section not in chosen:
                merged[section] = run[section]
        for key, run_key in keys.items():
            if key not in chosen and (value := OmegaConf.select(run, run_key)) is not None:
                merged[key] = value
        for override in parsed:
            section, dot, _ = override.key_or_group.partition(".")
            if dot and section in sections:
                OmegaConf.update(merged, override.key_or_group, override.value(), force_add=override.is_add())
    return merged


def model_of_run(settings: ModelSettings, folder: Path, base: str | None) -> tuple[ModelSettings, str | None]:
    """The run's model folder in place of what it started from, and the base where that is an adapter."""
    # An adapter's own note of its base is a path on the machine that trained it; the config is the user's.
    base = base or (settings.path if settings.lora is not None else None)
    return replace(settings, path=str(folder / MODEL_FOLDER)), base


def model_of_folder(settings: ModelSettings, folder: Path, overrides: Sequence[str]) -> ModelSettings:
    """Settings with what a saved model or adapter says of itself; what the command line says stands above it.

    Args:
        settings: as composed from the command's own YAML and the command line.
        folder: of the model or adapter; nothing changes where it says nothing of itself, as a hub name.
        overrides: the command line.

    Raises:
        CheckpointError: the file can't be read.
    """
    file = folder / SAVED_SETTINGS
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    chosen = {override.key_or_group for override in parsed}
    # A model that is chosen by name brings its own instruction and limits.
    if "model" in chosen or not file.is_file():
        return settings
    try:
        saved = json.loads(file.read_text(encoding="utf-8"))
        told = {key: saved[key] for key in SAVED_KEYS if f"model.{key}" not in chosen}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{file} must hold {', '.join(SAVED_KEYS)} as JSON: {error!r}") from error
    return replace(settings, **told)
