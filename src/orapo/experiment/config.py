"""The config as typed settings: every key is known, every value in range, before anything heavy is imported."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from omegaconf import DictConfig
from pydantic import Field, NonNegativeInt, PositiveInt

from orapo.errors import SettingError
from orapo.experiment.targets import build, check, plain
from orapo.experiment.trainer_settings import TrainerSettings, read_trainer
from orapo.policy.settings import ModelSettings, SamplingSettings
from orapo.policy.vllm.settings import ServerSettings
from orapo.settings import PlainName, Text, read, settings
from orapo.training.settings import TrainingSettings

OptimizedMetric = Literal["macro_f1", "macro_precision", "macro_recall", "micro_f1"]
"""Columns of validation.csv that a search may optimise; the test split is for the end."""

Target = Mapping[str, Any]
"""A section that names in ``_target_`` what it builds."""


@settings
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

    source: Target
    subset: Target
    max_report_tokens: Annotated[int, Field(ge=2)]
    uncertain_is_positive: bool
    max_validate_studies: PositiveInt | None
    max_test_studies: PositiveInt | None
    is_private: bool
    manifest: str | None
    csv: str | None = None
    root: str | None = None
    reports: str | None = None
    annotation: str | None = None


@settings
class CallbackSettings:
    """What is written while training.

    Attributes:
        checkpoint_every_steps: training steps between checkpoints, at least 1.
        rollouts_every_steps: training steps between samples of rollouts, at least 1.
        rollouts_studies: studies per sample, at least 1.
    """

    checkpoint_every_steps: PositiveInt
    rollouts_every_steps: PositiveInt
    rollouts_studies: PositiveInt


@settings
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
    num_table_studies: PositiveInt
    timeout_seconds: PositiveInt


@settings
class LoggerSettings:
    """What a run is logged to besides its files.

    Attributes:
        wandb: W&B; None for nothing else.
    """

    wandb: WandbSettings | None


@settings
class PathSettings:
    """Folders and files that runs share; None where the saved config of an older run has none.

    Attributes:
        logs: of single runs.
        evaluations: of evaluate.py.
        sweeps: of multiruns.
        judge_cache: answers of language-model judges.
        api_reports: reports that models behind an API wrote.
    """

    logs: Text
    evaluations: Text | None = None
    sweeps: Text | None = None
    judge_cache: Text | None = None
    api_reports: Text | None = None


@settings
class RolloutSettings(SamplingSettings):
    """How training samples, and where.

    Attributes:
        server: a vLLM server; None samples in the training process.
    """

    server: ServerSettings | None = None


@settings
class Experiment:
    """A whole config, checked; what sections with ``_target_`` build is checked, and not yet built."""

    config: DictConfig
    run_name: PlainName
    seed: NonNegativeInt
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
    optimized_metric: OptimizedMetric = "macro_f1"

    @property
    def server(self) -> ServerSettings | None:
        """Of the rollouts."""
        return self.rollout.server

    @property
    def wandb(self) -> WandbSettings | None:
        """Of the logger."""
        return self.logger.wandb


def read_experiment(config: DictConfig) -> Experiment:
    """Checks every key and every value that can be checked without reading data or weights.

    Raises:
        SettingError: an unknown, missing or mistyped key, or a value out of range.
    """
    content: dict[str, Any] = {"config": config, **plain(config)}
    if "model" in content:
        content["model"] = build(content["model"], "model")
    if "trainer" in content:
        content["trainer"] = read_trainer(content["trainer"])
    experiment = read(Experiment, content)
    if experiment.server is not None:
        experiment.server.check(experiment.model, experiment.rollout, experiment.data.is_private)
    check_data(experiment.data)
    for section, path in ((experiment.labeler, "labeler"), (experiment.reward, "reward")):
        check(section, path)
    check_reward(experiment.reward)
    # Last, as its losses import torch.
    least = build(experiment.objective, "objective").min_rollouts_per_study
    if experiment.rollout.per_study < least:
        raise SettingError(
            f"rollout.per_study is {experiment.rollout.per_study}; it must be at least {least}, "
            "since an advantage compares the rollouts of a group"
        )
    return experiment


def check_reward(reward: Target) -> None:
    """Checks the terms of a reward that has them.

    Raises:
        SettingError: an unknown term, or a setting of a term that is not allowed.
    """
    if "terms" not in reward:
        return
    from orapo.reward.terms.registry import check_terms

    check_terms(reward["terms"] or {}, reward.get("term_settings"), reward.get("modules") or ())


def check_data(data: DataSettings) -> None:
    """Checks what the source and the choice of studies are made of, and reads nothing.

    Raises:
        SettingError: an argument that they do not know, or that is not allowed.
    """
    check(data.subset, "data.subset")
    check(data.source, "data.source")
