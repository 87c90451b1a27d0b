"""The settings that a finished run gives to a command that uses its model; the command line overrides them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from orapo.comparison.run_folder import FIRST_STAGE
from orapo.errors import CheckpointError, DataError, SettingError
from orapo.experiment.config_keys import MOVED
from orapo.experiment.first_stage import MERGED
from orapo.foreign import check_yaml, read_json, read_text
from orapo.policy.settings import SAVED_KEYS, SAVED_SETTINGS, ModelSettings

CONFIG_FILE = "config.yaml"
MODEL_FOLDER = "model"

_ITS_KEY = {"context": "prompt.context"}
"""What a config calls a saved setting that isn't of its section ``model``."""
_BEFORE_TERMS = {
    "orapo.reward.fact_score.FactScoreReward": "facts",
    "orapo.reward.accuracy.AccuracyReward": "accuracy",
}
"""What rewards were before they had terms, and the term that each is."""
_MOVED = {"orapo.reward.llm.reward.fact_score_llm": "orapo.reward.llm.reward.FactScoreLlm"}
"""What is built by another name today."""

_BEFORE_READERS = {
    "orapo.data.mimic_cxr.source.MimicCxrSource": "orapo.data.mimic_cxr.MimicCxr",
    "orapo.data.chexpert_plus.source.ChexpertPlusSource": "orapo.data.chexpert_plus.ChexpertPlus",
    "orapo.data.gold_labels.source.GoldSource": "orapo.data.chexpert_gold.ChexpertGold",
    "orapo.data.annotations.source.AnnotationSource": "orapo.data.annotation.Annotation",
}
"""What data sets were called while each had a source of its own, and what they are called today."""


def run_config(folder: Path, needed: Sequence[str]) -> DictConfig:
    """The config of a finished run, which has the ``needed`` files and folders.

    Raises:
        CheckpointError: the folder lacks one of them.
    """
    for name in (CONFIG_FILE, *needed):
        if not (folder / name).exists():
            raise CheckpointError(f"the run in {folder} can't be used: {folder / name} does not exist")
    return read_saved(folder / CONFIG_FILE)


def read_saved(path: Path) -> DictConfig:
    """The saved config of a run, with renamed keys under their present names.

    Raises:
        CheckpointError: the file is none.
    """
    try:
        return parse_saved(read_text(path))
    except DataError as error:
        raise CheckpointError(f"{path} is not the config of a run: {error}") from None
    except (ValueError, AttributeError, TypeError, YAMLError, OmegaConfBaseException) as error:
        raise CheckpointError(f"{path} is not the config of a run ({type(error).__name__})") from error


def parse_saved(text: str) -> DictConfig:
    """As ``read_saved``, from the content of the file.

    Raises:
        ValueError, AttributeError, TypeError, YAMLError, OmegaConfBaseException: it is none.
    """
    config = parse_mapping(text)
    with open_dict(config):
        if "train_vision" in config.get("model", {}):
            # The key of runs before there was more to choose from.
            config.model.trainable = "all" if config.model.pop("train_vision") else "language"
        source = config.get("data", {}).get("source", {})
        if source.get("_target_") in _BEFORE_READERS:
            source._target_ = _BEFORE_READERS[source._target_]
        if "sections" in source:
            _, words = MOVED["data.source.sections"]
            sections = source.pop("sections")
            source.target = config.data.target = words.get(sections, sections)
        reward = config.get("reward", {})
        if reward.get("_target_") in _BEFORE_TERMS:
            terms = {_BEFORE_TERMS[reward["_target_"]]: 1.0}
            config.reward = {**reward, "_target_": "orapo.reward.weighted.WeightedReward", "terms": terms}
        elif reward.get("_target_") in _MOVED:
            config.reward._target_ = _MOVED[reward["_target_"]]
    return config


def parse_mapping(text: str) -> DictConfig:
    """A YAML mapping as a config.

    Raises:
        ValueError, YAMLError, OmegaConfBaseException: it is none, or one that ``foreign.check_yaml`` refuses.
    """
    check_yaml(text)
    try:
        config = OmegaConf.create(text)
    except AssertionError:  # a number or a date alone
        raise ValueError("no mapping") from None
    if not isinstance(config, DictConfig):
        raise ValueError("no mapping")
    return config


def with_run(
    config: DictConfig, run: DictConfig, overrides: Sequence[str], sections: Sequence[str], keys: Mapping[str, str]
) -> DictConfig:
    """The composed config with the run's settings, overridden by the command line.

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
            # Runs before there was a context have no section of the prompt, and were trained without one.
            if section not in chosen:
                merged[section] = run.get(section, {})
        for key, run_key in keys.items():
            if key not in chosen and (value := OmegaConf.select(run, run_key)) is not None:
                merged[key] = value
        for override in parsed:
            section, dot, _ = override.key_or_group.partition(".")
            if dot and section in sections:
                OmegaConf.update(merged, override.key_or_group, override.value(), force_add=override.is_add())
    return merged


def model_of_run(
    settings: ModelSettings, folder: Path, run: DictConfig, base: str | None
) -> tuple[ModelSettings, str | None]:
    """The run's model folder in place of what it started from, and the base where that is an adapter.

    Args:
        settings: of the run's model, and the command line above them.
        folder: of the run.
        run: its config.
        base: that the user names; None for the run's own.

    Raises:
        CheckpointError: the base is what a first stage left, and is not there any more.
    """
    if base is None and settings.lora is not None:
        # An adapter's own note of its base is a path on the machine that trained it; the config is the user's.
        base = settings.path
        if run.get("first") is not None:
            base = str(folder / FIRST_STAGE / MERGED)
            if not Path(base).is_dir():
                raise CheckpointError(f"the adapter's base {base} is not there: what the run's first stage left")
    return replace(settings, path=str(folder / MODEL_FOLDER)), base


def model_of_folder(settings: ModelSettings, folder: Path, overrides: Sequence[str]) -> ModelSettings:
    """Settings with what a saved model or adapter says of itself, overridden by the command line.

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
        saved = {"context": (), **read_json(file)}  # as models were before there was one
        told = {key: saved[key] for key in SAVED_KEYS if _ITS_KEY.get(key, f"model.{key}") not in chosen}
        return replace(settings, **told)
    except (DataError, SettingError, KeyError, TypeError) as error:
        raise CheckpointError(f"{file} must hold {', '.join(SAVED_KEYS)} as JSON: {error}") from error
