"""The config of an evaluation as typed settings, checked before anything heavy is imported."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from omegaconf import DictConfig, OmegaConf
from pydantic import NonNegativeInt, PositiveInt

from orapo.errors import SettingError
from orapo.evaluation.resampling import Bootstrap
from orapo.experiment.config import DataSettings, ExaminerSettings, PathSettings, Target, read_model
from orapo.experiment.config_tree import without_training
from orapo.experiment.finished_run import MODEL_FOLDER, model_of_folder, model_of_run, run_config, with_run
from orapo.experiment.targets import check, plain
from orapo.experiment.trainer_settings import Accelerator, Precision
from orapo.policy.settings import ModelSettings, SamplingSettings
from orapo.policy.tiny import base_folder
from orapo.reward.llm.reward import ClientSettings
from orapo.settings import Count, NumWorkers, PlainName, Seed, Text, read, settings

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
SECTIONS_OF_THE_RUN = ("model", "prompt", "data", "labeler")
TINY = "tiny"


@settings
class LocalSettings:
    """The section ``system`` where the model runs in this process."""

    kind: Literal["local"]


@settings
class ApiSettings(ClientSettings):
    """The keys of conf/system/api.yaml, which says what they mean."""

    kind: Literal["api"] = "api"
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None
    max_pixels: PositiveInt | None = 262_144


@settings
class Evaluated:
    """The system to evaluate: at most one of the three, besides ``system=api``."""

    run: Text | None
    checkpoint: Text | None
    reports: Text | None


@settings
class EvaluationSettings(Evaluated):
    """The keys of evaluate.yaml, whose comments say what each means."""

    base: Text | None
    missing_reports: Literal["refuse", "empty"]
    scores: Text | None
    against: Text | None
    export: Literal["radeval", "rexrank", "cxr_report_metric", "crimson"] | None
    page: bool
    show_private: bool
    name: PlainName | None
    seed: Seed
    shuffled_images: bool
    shuffled_priors: bool
    max_new_tokens: PositiveInt
    min_new_tokens: NonNegativeInt
    eval_batch_size: Count
    num_workers: NumWorkers
    accelerator: Accelerator
    precision: Precision
    model: ModelSettings
    data: DataSettings
    labeler: Target
    examiner: ExaminerSettings
    system: LocalSettings | ApiSettings
    paths: PathSettings
    bootstrap: Bootstrap

    @property
    def sampling(self) -> SamplingSettings:
        """Greedy, one report a study."""
        return SamplingSettings(max_new_tokens=self.max_new_tokens, min_new_tokens=self.min_new_tokens, greedy=True)


@dataclass(frozen=True)
class Evaluation:
    """A whole config, checked; the heavy parts are still configs.

    Attributes:
        settings: the plain keys, those of the run among them.
        kind: "run", "checkpoint", "reports" or "api": what is evaluated.
        name: of what is evaluated, for the folder and the table.
        model: of a local policy; its path is the run's model folder or the checkpoint.
        base: folder or hub name of a PEFT adapter's base, None where the adapter knows it.
        training_config: the config, of the run or this one, whose data section names the training studies.
        manifest: subset.json of the training studies, None to choose them by the config.
        config: the whole config.
    """

    settings: EvaluationSettings
    kind: str
    name: str
    model: ModelSettings
    base: str | None
    training_config: DictConfig
    manifest: str | None
    config: DictConfig


def read_evaluation(config: DictConfig, overrides: Sequence[str]) -> Evaluation:
    """Checks every key and every value that can be checked without building anything heavy.

    Raises:
        SettingError: an unknown, missing or mistyped key, a value out of range, or two things to evaluate at once.
        CheckpointError: ``run`` is no folder of a finished run.
    """
    evaluated = read(Evaluated, {field.name: config.get(field.name) for field in fields(Evaluated)})
    kind = _kind(config, evaluated)
    training_config = config
    if evaluated.run is not None:
        training_config = run_config(Path(evaluated.run), (MODEL_FOLDER, "subset.json"))
        config = with_run(config, training_config, overrides, SECTIONS_OF_THE_RUN, OF_THE_RUN)
    config = without_training(config, overrides)
    settings = _settings(config)
    if settings.show_private and not settings.page:
        raise SettingError("show_private=true is of page=true, which is not given")
    model, base = _model(settings, kind, training_config, overrides)
    return Evaluation(
        settings=settings,
        kind=kind,
        name=_name(settings, kind, model),
        model=model,
        base=base,
        training_config=training_config,
        manifest=str(Path(config.run) / "subset.json") if kind == "run" else settings.data.manifest,
        config=config,
    )


def _settings(config: DictConfig) -> EvaluationSettings:
    content = plain(config)
    read_model(content)
    if "system" in content:
        content["system"] = _read_system(content["system"])
    made = read(EvaluationSettings, content)
    sections = {"data.subset": made.data.subset, "data.source": made.data.source, "labeler": made.labeler}
    for path, section in sections.items():
        check(section, path)
    return made


def _read_system(content: Any) -> LocalSettings | ApiSettings:
    kinds = {"local": LocalSettings, "api": ApiSettings}
    kind = content.get("kind") if isinstance(content, Mapping) else content
    if kind not in kinds:
        raise SettingError(f"system.kind is {kind!r}; choose system=local or system=api")
    made: LocalSettings | ApiSettings = read(kinds[kind], content, "system")
    return made


def _kind(config: DictConfig, evaluated: Evaluated) -> str:
    """The kind of system to evaluate; by default the config's model as a checkpoint."""
    named = [field.name for field in fields(evaluated) if getattr(evaluated, field.name) is not None]
    if OmegaConf.select(config, "system.kind") == "api":
        named.append("system=api")
    if len(named) > 1:
        raise SettingError(f"{' and '.join(named)} are given: one is evaluated at a time; another is against=...")
    return (named or ["checkpoint"])[0].removeprefix("system=")


def _model(
    settings: EvaluationSettings, kind: str, run: DictConfig, overrides: Sequence[str]
) -> tuple[ModelSettings, str | None]:
    model, base = settings.model, settings.base
    if kind == "run":
        model, base = model_of_run(model, Path(str(settings.run)), run, base)
    elif settings.checkpoint is not None:
        path = base_folder() if settings.checkpoint == TINY else settings.checkpoint
        model = replace(model_of_folder(model, Path(path), overrides), path=path)
    return model.for_sampling(), base


def _name(settings: EvaluationSettings, kind: str, model: ModelSettings) -> str:
    if settings.name is not None:
        return settings.name
    if isinstance(settings.system, ApiSettings):
        return settings.system.model.replace("/", "_")
    if kind == "reports":
        return Path(str(settings.reports)).stem
    if kind == "run":
        return Path(str(settings.run)).resolve().name
    return Path(model.path).name or "checkpoint"
