"""The config as typed settings: every key is known, every value in range, before anything heavy is imported."""

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, TypeVar

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from orapo.bounds import require_boolean, require_whole
from orapo.errors import SettingError
from orapo.experiment.config_tree import read_target
from orapo.policy.settings import ModelSettings, SamplingSettings
from orapo.policy.vllm.settings import ServerSettings
from orapo.training.settings import TrainingSettings

SECTIONS = (
    "model",
    "data",
    "labeler",
    "rollout",
    "reward",
    "objective",
    "training",
    "trainer",
    "logger",
    "callbacks",
    "paths",
)
PLAIN_KEYS = ("run_name", "seed", "resume")

OPTIMIZED_METRICS = ("macro_f1", "macro_precision", "macro_recall", "micro_f1")
"""Columns of validation.csv that a search may optimise; the test split is for the end."""

Settings = TypeVar("Settings")


@dataclass(frozen=True)
class DataSettings:
    """Where studies come from and how many are used.

    Attributes:
        source: config of a ``StudySource``.
        subset: config of the ``BalancedSubset`` that picks the training studies.
        is_private: whether patients stand behind the studies.
        manifest: subset.json of an earlier run, to train on the same studies; None chooses by ``subset``.
        max_report_tokens: an oracle report is cut to so many tokens, EOS included; at least 2.
        uncertain_is_positive: whether an uncertain label counts as present, in subset, reward and evaluation.
        max_validate_studies: the first so many validation studies are used; None uses all.
        max_test_studies: likewise of the test split.
        csv: for the sources that read a table.
        root: for the sources that read files.
        reports: for the sources whose reports lie apart from their images.
        annotation: for the source that reads a published split.
    """

    source: Mapping[str, Any]
    subset: Mapping[str, Any]
    max_report_tokens: int
    uncertain_is_positive: bool
    max_validate_studies: int | None
    max_test_studies: int | None
    is_private: bool
    manifest: str | None
    csv: str | None = None
    root: str | None = None
    reports: str | None = None
    annotation: str | None = None

    def __post_init__(self) -> None:
        require_whole("data.max_report_tokens", self.max_report_tokens, 2)
        require_boolean("data.uncertain_is_positive", self.uncertain_is_positive)
        require_boolean("data.is_private", self.is_private)


@dataclass(frozen=True)
class CallbackSettings:
    """What is written while training.

    Attributes:
        checkpoint_every_steps: training steps between checkpoints, at least 1.
        rollouts_every_steps: training steps between samples of rollouts, at least 1.
        rollouts_studies: studies per sample, at least 1.
    """

    checkpoint_every_steps: int
    rollouts_every_steps: int
    rollouts_studies: int

    def __post_init__(self) -> None:
        for key in ("checkpoint_every_steps", "rollouts_every_steps", "rollouts_studies"):
            require_whole(f"callbacks.{key}", getattr(self, key), 1)


@dataclass(frozen=True)
class WandbSettings:
    """How a run appears in W&B.

    Attributes:
        project: shared by runs that are compared.
        group: shared by the runs of a sweep; None for a single run.
        job_type: "train" here.
        num_table_studies: test studies in the table of images and reports, at least 1.
        timeout_seconds: how long to wait for the server before the run goes offline, at least 1.
    """

    project: str
    group: str | None
    job_type: str
    num_table_studies: int
    timeout_seconds: int

    def __post_init__(self) -> None:
        require_whole("logger.wandb.num_table_studies", self.num_table_studies, 1)
        require_whole("logger.wandb.timeout_seconds", self.timeout_seconds, 1)


@dataclass(frozen=True)
class Experiment:
    """A whole config, checked; the heavy parts are still configs."""

    run_name: str
    seed: int
    model: ModelSettings
    data: DataSettings
    rollout: SamplingSettings
    server: ServerSettings | None
    training: TrainingSettings
    callbacks: CallbackSettings
    wandb: WandbSettings | None
    config: DictConfig
    optimized_metric: str = OPTIMIZED_METRICS[0]

    def __post_init__(self) -> None:
        if self.optimized_metric not in OPTIMIZED_METRICS:
            allowed = ", ".join(OPTIMIZED_METRICS)
            raise SettingError(f"optimized_metric is {self.optimized_metric!r}; allowed: {allowed}")


def read_experiment(config: DictConfig) -> Experiment:
    """Checks every key and every value that can be checked without building anything heavy.

    Raises:
        SettingError: an unknown, missing or mistyped key, or a value out of range.
    """
    content = plain(config)
    # The saved configs of older runs have no optimized_metric.
    check_keys(content, (*PLAIN_KEYS, "optimized_metric", *SECTIONS), (*PLAIN_KEYS, *SECTIONS), "")
    if not isinstance(content["run_name"], str) or not content["run_name"].strip() or "/" in content["run_name"]:
        raise SettingError(f"run_name is {content['run_name']!r}; it must be a name without '/'")
    require_whole("seed", content["seed"], 0)
    logger = content["logger"]
    check_keys(logger, ("wandb",), ("wandb",), "logger")
    model: ModelSettings = build(config.model, "model")
    data = settings_from(DataSettings, content["data"], "data")
    sampling = dict(content["rollout"])
    server = sampling.pop("server", None)
    rollout = settings_from(SamplingSettings, sampling, "rollout")
    if server is not None:
        server = settings_from(ServerSettings, server, "rollout.server")
        server.check(model, rollout, data.is_private)
    return Experiment(
        run_name=content["run_name"],
        seed=content["seed"],
        model=model,
        data=data,
        rollout=rollout,
        server=server,
        training=settings_from(TrainingSettings, content["training"], "training"),
        callbacks=settings_from(CallbackSettings, content["callbacks"], "callbacks"),
        wandb=None if logger["wandb"] is None else settings_from(WandbSettings, logger["wandb"], "logger.wandb"),
        config=config,
        optimized_metric=content.get("optimized_metric", OPTIMIZED_METRICS[0]),
    )


def plain(config: DictConfig) -> dict[str, Any]:
    """The section as plain Python values, interpolations resolved.

    Raises:
        SettingError: a value is still ???.
    """
    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        raise SettingError(f"{' and '.join(missing)} must be given, as {missing[0]}=VALUE on the command line")
    content = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    if not isinstance(content, dict):
        raise SettingError(f"the config is {content!r}; it must be a mapping")
    return {str(key): value for key, value in content.items()}


def settings_from(kind: Callable[..., Settings], content: Mapping[str, Any], prefix: str) -> Settings:
    """A settings dataclass from one section.

    Raises:
        SettingError: an unknown or missing key, or a value out of range.
    """
    described = fields(kind)  # type: ignore[arg-type]
    required = [f.name for f in described if f.default is MISSING and f.default_factory is MISSING]
    check_keys(content, [f.name for f in described], required, prefix)
    return kind(**content)


def build(config: DictConfig, prefix: str) -> Any:
    """Builds what a section's ``_target_`` names, once its keys fit that constructor.

    Raises:
        SettingError: a key that the constructor does not know, or one that it needs and does not get.
    """
    check_constructor_keys(plain(config), prefix)
    return instantiate(config, _convert_="all")


def check_constructor_keys(content: Any, prefix: str) -> None:
    """Checks the keys beside every ``_target_`` in ``content`` against the target's signature.

    Raises:
        SettingError: see ``build``.
    """
    if isinstance(content, list):
        content = dict(enumerate(content))
    if not isinstance(content, dict):
        return
    for key, value in content.items():
        check_constructor_keys(value, f"{prefix}.{key}")
    if "_target_" not in content:
        return
    parameters = inspect.signature(read_target(content["_target_"], f"{prefix}._target_")).parameters
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    required = [name for name, parameter in parameters.items() if parameter.default is inspect.Parameter.empty]
    given = {key: value for key, value in content.items() if not key.startswith("_")}
    check_keys(given, parameters, required, prefix)


def check_keys(content: Mapping[str, Any], known: Iterable[str], required: Iterable[str], prefix: str) -> None:
    """Refuses unknown and missing keys.

    Raises:
        SettingError: names the key, the nearest known one, and all that are allowed.
    """
    known = list(known)
    dot = f"{prefix}." if prefix else ""
    for key in content:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f" (did you mean {dot}{near[0]}?)" if near else ""
            raise SettingError(f"{dot}{key} is not a setting{hint}; allowed: {', '.join(known)}")
    for key in required:
        if key not in content:
            raise SettingError(f"{dot}{key} is missing; {prefix or 'the config'} needs {', '.join(required)}")
