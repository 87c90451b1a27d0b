"""The config as typed settings: every key is known, every value in range, before anything heavy is imported."""

from collections.abc import Mapping
from dataclasses import field, replace
from typing import Annotated, Any, Literal

from omegaconf import DictConfig
from pydantic import Field, PositiveInt

from orapo.data.study_reader import OnBadImage
from orapo.data.target import Target as ReportTarget
from orapo.errors import SettingError
from orapo.experiment.first_stage import first_config
from orapo.experiment.targets import build, check, plain
from orapo.experiment.trainer_settings import TrainerSettings, read_trainer
from orapo.measures.served import ServedSettings
from orapo.policy.embedded import EMBEDDED
from orapo.policy.settings import ModelSettings, PromptSettings, SamplingSettings
from orapo.policy.vllm.settings import ServerSettings
from orapo.settings import PlainName, Seed, Text, read, settings
from orapo.training.settings import TrainingSettings

FLOAT32 = ("32-true", "32", 32)
MIXED = ("bf16-mixed", "bf16")
HALF = ("bf16-true", "16-true")

OptimizedMetric = Literal["macro_f1", "macro_precision", "macro_recall", "micro_f1", "accuracy"]
"""Columns of validation.csv that a search may optimise; the test split is for the end."""

Target = Mapping[str, Any]
"""A section that names in ``_target_`` what it builds."""


@settings
class DataSettings:
    """The section ``data``: where studies come from and how many are used. conf/data/ says what each key means."""

    source: Target
    subset: Target
    max_report_tokens: Annotated[int, Field(ge=2)]
    uncertain_is_positive: bool
    max_validate_studies: PositiveInt | None
    max_test_studies: PositiveInt | None
    is_private: bool
    manifest: Text | None
    # The saved configs of older runs have none.
    on_bad_image: OnBadImage = "refuse"
    csv: Text | None = None
    root: Text | None = None
    reports: Text | None = None
    annotation: Text | None = None
    path: Text | Mapping[str, Text] | None = None
    json: Text | None = None
    target: ReportTarget | None = None


@settings
class CallbackSettings:
    """The section ``callbacks``: what is written while training. conf/callbacks/ says what each key means."""

    checkpoint_every_steps: PositiveInt
    rollouts_every_steps: PositiveInt
    rollouts_studies: PositiveInt
    # Saved configs of older runs have neither.
    keep_last: PositiveInt | None = None
    keep_optimizer: bool = True


@settings
class WandbSettings:
    """How a run appears in W&B; conf/logger/wandb.yaml says what each key means."""

    project: str
    group: str | None
    job_type: str
    num_table_studies: PositiveInt
    timeout_seconds: PositiveInt
    allow_external: bool = False


@settings
class LoggerSettings:
    """What a run is logged to besides its files; None for nothing else."""

    wandb: WandbSettings | None


@settings
class ExaminerSettings:
    """What the test is measured by, beside the labeler; None for nothing else."""

    served: ServedSettings | None = None


@settings
class PathSettings:
    """Folders and files that runs share, told in conf/paths/; None where the saved config of an older run has none."""

    logs: Text
    evaluations: Text | None = None
    sweeps: Text | None = None
    judge_cache: Text | None = None
    api_reports: Text | None = None


@settings
class RolloutSettings(SamplingSettings):
    """How training samples, and where; conf/rollout/ says what each key means."""

    server: ServerSettings | None = None
    ahead: Annotated[int, Field(ge=0, le=1)] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ahead and self.server is None:
            raise SettingError(f"ahead is {self.ahead}; it must be 0 without a server (rollout=vllm)")


@settings
class Experiment:
    """A whole config, checked; what sections with ``_target_`` build is checked, and not yet built."""

    config: DictConfig
    run_name: PlainName
    seed: Seed
    resume: Text | None
    model: ModelSettings
    data: DataSettings
    labeler: Target
    rollout: RolloutSettings
    reward: Target
    objective: Target
    training: TrainingSettings
    trainer: TrainerSettings
    logger: LoggerSettings
    callbacks: CallbackSettings
    paths: PathSettings
    # The saved configs of older runs have none.
    first: Mapping[str, Any] | None = None
    optimized_metric: OptimizedMetric | None = None
    examiner: ExaminerSettings = field(default_factory=ExaminerSettings)

    @property
    def server(self) -> ServerSettings | None:
        """The server that samples rollouts, if any."""
        return self.rollout.server

    @property
    def is_autocast(self) -> bool:
        """Whether products are rounded to bfloat16 over float32 weights."""
        return self.config.trainer.get("precision") in MIXED and self.model.dtype == "float32"


def read_experiment(config: DictConfig) -> Experiment:
    """Checks every key and every value that can be checked without reading data or weights.

    Raises:
        SettingError: an unknown, missing or mistyped key, or a value out of range.
    """
    content: dict[str, Any] = {"config": config, **plain(config)}
    read_model(content)
    if "trainer" in content:
        content["trainer"] = read_trainer(content["trainer"])
    experiment = read(Experiment, content)
    if experiment.server is not None:
        experiment.server.check(experiment.rollout, experiment.data.is_private)
    data = experiment.data
    sections = {"data.subset": data.subset, "data.source": data.source, "labeler": experiment.labeler}
    for path, section in {**sections, "reward": experiment.reward}.items():
        check(section, path)
    _check_terms(experiment.reward)
    # Last, as its losses import torch.
    objective = build(experiment.objective, "objective")
    server = experiment.server
    if objective.correction != "none":
        if server is None or server.logps == "server":
            raise SettingError(
                f"objective.correction is {objective.correction!r}; it is for rollout=vllm with "
                "rollout.server.logps=recomputed: elsewhere the ratio of the loss is to the sampler itself"
            )
        if experiment.rollout.temperature != 1:
            raise SettingError(
                f"rollout.temperature is {experiment.rollout.temperature:g} with objective.correction="
                f"{objective.correction}; it must be 1, as the server's log-probabilities are of temperature 1"
            )
    least = objective.min_rollouts_per_study
    if experiment.rollout.per_study < least:
        raise SettingError(
            f"rollout.per_study is {experiment.rollout.per_study}; it must be at least {least}, "
            "since an advantage compares the rollouts of a group"
        )
    if (first := first_config(config)) is not None:
        if experiment.server is not None and experiment.model.lora is not None:
            raise SettingError(
                "rollout=vllm can't follow a first stage with an adapter: the server would put the new adapter on the "
                "base without the first one; use rollout=local"
            )
        try:
            read_experiment(first)
        except SettingError as error:
            raise SettingError(f"first.{error}") from error
    return experiment


def read_model(content: dict[str, Any]) -> None:
    """Replaces the sections ``model`` and ``prompt``, if present, by checked settings.

    Raises:
        SettingError: a key or value of either that is not allowed.
    """
    prompt = content.pop("prompt", {})
    if not isinstance(prompt, Mapping):
        raise SettingError(f"prompt is {prompt!r}; it must be a section")
    context = read(PromptSettings, prompt, "prompt").context
    if "model" not in content:
        return
    model = build(content["model"], "model")
    if model.context:
        raise SettingError(f"model.context is {list(model.context)}; it is called prompt.context")
    content["model"] = replace(model, context=context)


def _check_terms(reward: Target) -> None:
    if "terms" not in reward:
        return
    from orapo.reward.terms.registry import check_terms

    modules = reward.get("modules") or ()
    check_terms(reward["terms"] or {}, reward.get("term_settings"), modules, has_model="model" in reward)


def check_precision(experiment: Experiment) -> None:
    """Refuses what would train all weights in vain or at many times the cost.

    Raises:
        SettingError: all weights train in bfloat16, where small updates are lost, or in float32 without mixed
            precision on what may be a GPU; the embedded policies may.
    """
    model, trainer = experiment.model, experiment.config.trainer
    if model.lora is not None or model.path in EMBEDDED:
        return
    precision = trainer.get("precision", FLOAT32[0])
    if model.dtype != "float32" or precision in HALF:
        raise SettingError(
            f"model.dtype is {model.dtype!r} and trainer.precision {precision!r}, and all weights train: small updates "
            "are lost in them; add model.dtype=float32 trainer.precision=bf16-mixed"
        )
    if precision in FLOAT32 and trainer.get("accelerator") != "cpu":
        raise SettingError(
            f"trainer.precision is {precision!r} and all weights of {model.path} train; "
            "add trainer.precision=bf16-mixed (bfloat16 products, float32 weights), or trainer.accelerator=cpu"
        )
