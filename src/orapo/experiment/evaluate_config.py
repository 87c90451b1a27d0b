"""The config of an evaluation as typed settings, checked before anything heavy is imported."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from orapo.bounds import require_boolean, require_whole
from orapo.errors import SettingError
from orapo.experiment.config import DataSettings, build, check_keys, plain, settings_from
from orapo.experiment.finished_run import MODEL_FOLDER, model_of_folder, model_of_run, run_config, with_run
from orapo.policy.settings import ModelSettings, SamplingSettings

SECTIONS = ("model", "data", "labeler", "policy", "paths", "bootstrap")
PLAIN_KEYS = (
    "run",
    "checkpoint",
    "base",
    "reports",
    "missing_reports",
    "against",
    "export",
    "name",
    "seed",
    "shuffled_images",
    "max_new_tokens",
    "min_new_tokens",
    "eval_batch_size",
    "num_workers",
    "accelerator",
    "precision",
)
OF_THE_RUN = {
    "seed": "seed",
    "max_new_tokens": "rollout.max_new_tokens",
    "min_new_tokens": "rollout.min_new_tokens",
    "eval_batch_size": "training.eval_batch_size",
    "num_workers": "training.num_workers",
    "accelerator": "trainer.accelerator",
    "precision": "trainer.precision",
}
"""Keys of an evaluation that a run answers, by the run's own key."""
SECTIONS_OF_THE_RUN = ("model", "data", "labeler")
CHOICES = {
    "missing_reports": ("refuse", "empty"),
    "export": (None, "radeval"),
}
TINY = "tiny"


@dataclass(frozen=True)
class Evaluation:
    """A whole config, checked; the heavy parts are still configs.

    Attributes:
        kind: "run", "checkpoint", "reports" or "api": what is evaluated.
        name: of what is evaluated, for the folder and the table.
        model: of a local policy; its path is the run's model folder or the checkpoint.
        base: folder or hub name of a PEFT adapter's base, None where the adapter knows it.
        sampling: greedy, one report a study.
        data: of the test studies.
        training_config: the config, of the run or this one, whose data section names the training studies.
        manifest: subset.json of the training studies, None to choose them by the config.
        config: the whole config.
    """

    kind: str
    name: str
    model: ModelSettings
    base: str | None
    sampling: SamplingSettings
    data: DataSettings
    training_config: DictConfig
    manifest: str | None
    config: DictConfig


def read_evaluation(config: DictConfig, overrides: Sequence[str]) -> Evaluation:
    """Checks every key and every value that can be checked without building anything heavy.

    Args:
        config: as composed from evaluate.yaml and the command line.
        overrides: the command line, which stands above what a run says.

    Raises:
        SettingError: an unknown, missing or mistyped key, a value out of range, or two things to evaluate at once.
        CheckpointError: ``run`` is no folder of a finished run.
    """
    kind = _kind(config)
    training_config = config
    if kind == "run":
        training_config = run_config(Path(config.run), (MODEL_FOLDER, "subset.json"))
        config = with_run(config, training_config, overrides, SECTIONS_OF_THE_RUN, OF_THE_RUN)
    content = plain(config)
    check_keys(content, (*PLAIN_KEYS, *SECTIONS), (*PLAIN_KEYS, *SECTIONS), "")
    _check(content)
    model, base = _model(config, training_config, kind, overrides)
    data = settings_from(DataSettings, content["data"], "data")
    return Evaluation(
        kind=kind,
        name=_name(content, kind, model),
        model=model,
        base=base,
        sampling=SamplingSettings(
            max_new_tokens=content["max_new_tokens"], min_new_tokens=content["min_new_tokens"], greedy=True
        ),
        data=data,
        training_config=training_config,
        manifest=str(Path(config.run) / "subset.json") if kind == "run" else data.manifest,
        config=config,
    )


def _kind(config: DictConfig) -> str:
    """What is evaluated; without any word of it, the config's model as a checkpoint."""
    named = [key for key in ("run", "checkpoint", "reports") if config.get(key) is not None]
    if OmegaConf.select(config, "policy.kind") == "api":
        named.append("policy=api")
    if len(named) > 1:
        raise SettingError(f"{' and '.join(named)} are given: one is evaluated at a time; another is against=...")
    return (named or ["checkpoint"])[0].removeprefix("policy=")


def _check(content: Mapping[str, Any]) -> None:
    for key, allowed in CHOICES.items():
        if content[key] not in allowed:
            told = ", ".join("null" if word is None else word for word in allowed)
            raise SettingError(f"{key} is {content[key]!r}; allowed: {told}")
    require_boolean("shuffled_images", content["shuffled_images"])
    require_whole("seed", content["seed"], 0)
    require_whole("eval_batch_size", content["eval_batch_size"], 1)
    require_whole("num_workers", content["num_workers"], 0)
    name = content["name"]
    if name is not None and (not isinstance(name, str) or not name.strip() or "/" in name):
        raise SettingError(f"name is {name!r}; it must be a name without '/', or null")
    if content["policy"].get("kind") not in ("local", "api"):
        raise SettingError(f"policy.kind is {content['policy'].get('kind')!r}; choose policy=local or policy=api")


def _model(
    config: DictConfig, training_config: DictConfig, kind: str, overrides: Sequence[str]
) -> tuple[ModelSettings, str | None]:
    settings: ModelSettings = build(config.model, "model")
    base: str | None = config.base
    if kind == "run":
        settings, base = model_of_run(settings, Path(config.run), base)
    elif config.checkpoint is not None:
        path = _tiny_folder() if config.checkpoint == TINY else str(config.checkpoint)
        settings = replace(model_of_folder(settings, Path(path), overrides), path=path)
    return settings.for_sampling(), base


def _tiny_folder() -> str:
    from orapo.policy.tiny import base_folder

    return base_folder()


def _name(content: Mapping[str, Any], kind: str, model: ModelSettings) -> str:
    if content["name"] is not None:
        return str(content["name"])
    if kind == "api":
        return str(content["policy"]["model"]).replace("/", "_")
    if kind == "reports":
        return Path(content["reports"]).stem
    if kind == "run":
        return Path(content["run"]).resolve().name
    return Path(model.path).name or "checkpoint"
