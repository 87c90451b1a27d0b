"""Builds the objects of a run from checked settings, cheap ones first."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import WandbLogger
from omegaconf import OmegaConf

from orapo.data.collate import Collate
from orapo.data.datamodule import BatchSettings, ReportDataModule
from orapo.data.source import StudySource
from orapo.data.subset_manifest import SubsetManifest
from orapo.errors import SettingError
from orapo.evaluation.examiner import Examiner
from orapo.evaluation.resampling import Bootstrap
from orapo.experiment.config import Experiment
from orapo.experiment.devices import Device
from orapo.experiment.evaluation_controls import make_examiner
from orapo.experiment.fitting import write_chosen
from orapo.experiment.processes import judge_share
from orapo.experiment.progress import progress
from orapo.experiment.rollouts import build_ahead, build_rollouts, reach_server
from orapo.experiment.run_plan import (
    TimeLeft,
    plan_run,
    warn_of_cut_reports,
    warn_of_little_memory,
)
from orapo.experiment.targets import build, plain
from orapo.labeler import Labeler
from orapo.objective.orapo import OrapoObjective
from orapo.policy.loading import load_policy, load_processor
from orapo.policy.model import Policy
from orapo.policy.reference import make_reference
from orapo.policy.rollout_source import RolloutSource
from orapo.reward.protocol import Reward
from orapo.reward.weighted import WeightedReward
from orapo.training.checkpoint_files import CheckpointWriter
from orapo.training.checkpoints import LastCheckpoint, RandomStates
from orapo.training.distributed import Ranks
from orapo.training.module import OrapoModule
from orapo.training.run_files import MetricsFile, RolloutFile, ValidationFile
from orapo.training.settings import TrainingSettings
from orapo.training.strategies import Sharded

log = logging.getLogger(__name__)

CHECKPOINTS = "checkpoints"
SUBSET = "subset.json"


@dataclass(frozen=True)
class Parts:
    """The objects of a run."""

    policy: Policy
    rollouts: RolloutSource
    reward: Reward
    data: ReportDataModule
    module: OrapoModule
    trainer: Trainer
    ranks: Ranks
    examiner: Examiner


def build_data(
    experiment: Experiment,
    source: StudySource | None = None,
    chosen: Path | None = None,
    *,
    looks_at_images: bool = True,
) -> ReportDataModule:
    """The data module, its subset chosen; a data error is raised here, before a model is loaded.

    Args:
        experiment: checked settings.
        source: an open source; None opens that of the settings.
        chosen: subset.json of this run; if it exists, the run is resumed and trains on the same studies as before.
        looks_at_images: whether images are checked at once; False where only reports are used.
    """
    manifest = experiment.data.manifest if chosen is None or not chosen.is_file() else chosen
    data, training = experiment.data, experiment.training
    section = experiment.config.data
    return ReportDataModule(
        source=source or build(section.source, "data.source"),
        subset=build(section.subset, "data.subset"),
        settings=BatchSettings(
            batch_size=training.batch_size,
            num_steps=training.num_steps,
            num_passes=training.num_passes,
            eval_batch_size=training.eval_batch_size,
            max_validate_studies=data.max_validate_studies,
            max_test_studies=data.max_test_studies,
            num_workers=training.num_workers,
            seed=experiment.seed,
            on_bad_image=data.on_bad_image if looks_at_images else None,
            looks_ahead=experiment.rollout.ahead > 0,
        ),
        manifest=None if manifest is None else SubsetManifest.read(manifest),
    )


def build_parts(
    experiment: Experiment, folder: Path, loggers: list[WandbLogger], ranks: Ranks, device: Device, is_resumed: bool
) -> Parts:
    """Builds objective and reward, then the data, then the model, so that cheap mistakes are found early."""
    objective = build_objective(experiment)
    reward = build_reward(experiment, ranks)
    check_zero_term(objective, reward)
    labeler: Labeler = build(experiment.config.labeler, "labeler")
    server = reach_server(experiment)
    source: StudySource = build(experiment.config.data.source, "data.source")
    data = build_data(experiment, source, folder / SUBSET if is_resumed else None)
    if isinstance(reward, WeightedReward):
        reward.check_studies(data.train_studies)
    processor = load_processor(experiment.model)
    collate = Collate(processor, experiment.model.prompt, experiment.data.max_report_tokens)
    data.attach(collate, ranks.shard)
    plan = plan_run(
        experiment, data, collate, objective, reward, folder, device, ranks.shard.size, is_resumed=is_resumed
    )
    log.info("%s", plan)
    if ranks.is_first and not is_resumed:
        write_chosen(experiment, plan.experiment, folder)
    experiment = plan.experiment
    warn_of_little_memory(plan.memory, device)
    if objective.needs_oracle:
        warn_of_cut_reports(data, collate)
    if device.kind == "cuda":
        # A GPU may multiply float32 in fewer bits; a CPU stays exact.
        torch.set_float32_matmul_precision(experiment.training.float32_matmul_precision)
    policy = load_policy(experiment.model, processor)
    rollouts = build_rollouts(experiment, policy, server, folder)
    product_dtype = torch.bfloat16 if experiment.is_autocast else None
    module = OrapoModule(
        policy=policy,
        rollouts=rollouts,
        reference=make_reference(policy, product_dtype) if objective.needs_reference else None,
        reward=reward,
        objective=objective,
        sampling=experiment.rollout,
        settings=experiment.training,
        num_steps=data.num_steps,
        seed=experiment.seed,
        ranks=ranks,
        ahead=build_ahead(experiment, rollouts),
    )
    writer = CheckpointWriter()
    callbacks = build_callbacks(experiment, folder, data.num_steps, labeler, ranks, writer, plan.keep_last)
    trainer = build_trainer(experiment, callbacks, loggers, data.num_steps, ranks, writer)
    examiner = make_examiner(
        source,
        labeler,
        Bootstrap(),
        experiment.examiner.served,
        uncertain_is_positive=experiment.data.uncertain_is_positive,
    )
    return Parts(policy, rollouts, reward, data, module, trainer, ranks, examiner)


def build_objective(experiment: Experiment) -> OrapoObjective:
    """Each call gives the objective a moving average of its own."""
    objective: OrapoObjective = build(experiment.config.objective, "objective")
    return objective


def build_reward(experiment: Experiment, ranks: Ranks) -> Reward:
    """The reward, with this process's share of the rate and budget limits."""
    built: Reward = build(judge_share(experiment.config.reward, ranks.shard.size), "reward")
    return built


def check_zero_term(objective: OrapoObjective, reward: Reward) -> None:
    """Refuses a mixture by the zero-reward rate if no term of the reward defines a reward of zero.

    Raises:
        SettingError: names the terms and the way out.
    """
    if objective.needs_zero_reward and reward.zero_term is None:
        raise SettingError(
            f"reward.terms pays {', '.join(reward.weights)}, none of which says what a reward of zero is, and the "
            f"objective (w_min {objective.w_min}, w_max {objective.w_max}) needs it: "
            "set reward.zero_term and reward.zero_at_most"
        )


def validation_interval(training: TrainingSettings, num_steps: int) -> int | None:
    """Steps between validations, at most the run's length; None for a run without."""
    every = training.validate_every_steps
    return None if every is None else min(every, num_steps)


def build_callbacks(
    experiment: Experiment,
    folder: Path,
    num_steps: int,
    labeler: Labeler,
    ranks: Ranks,
    writer: CheckpointWriter,
    keep_last: int,
) -> list[Callback]:
    """The callbacks in order: those that write files come before the checkpoint, which saves their progress."""
    settings = experiment.callbacks
    every = validation_interval(experiment.training, num_steps)
    random_states = RandomStates(ranks)
    files: list[Callback] = [
        MetricsFile(folder / "metrics.csv"),
        RolloutFile(folder / "rollouts.jsonl", settings.rollouts_every_steps, settings.rollouts_studies),
        ValidationFile(folder / "validation.csv", labeler, experiment.data.uncertain_is_positive),
    ]
    return [
        *((*files, TimeLeft()) if ranks.is_first else ()),
        random_states,
        progress(),
        LastCheckpoint(
            folder / CHECKPOINTS,
            settings.checkpoint_every_steps,
            num_steps,
            every,
            random_states,
            ranks,
            writer=writer,
            keep=keep_last,
            keep_optimizer=settings.keep_optimizer,
            config=OmegaConf.to_yaml(experiment.config, resolve=True),
        ),
    ]


def build_trainer(
    experiment: Experiment,
    callbacks: list[Callback],
    loggers: list[WandbLogger],
    num_steps: int,
    ranks: Ranks,
    writer: CheckpointWriter,
) -> Trainer:
    """Lightning's trainer over one stream of ``num_steps`` batches, which Lightning calls one epoch."""
    every = validation_interval(experiment.training, num_steps)
    fixed: dict[str, Any] = {
        "max_epochs": 1,
        "val_check_interval": num_steps if every is None else every,
        "limit_val_batches": 0.0 if every is None else 1.0,
        "num_sanity_val_steps": 0,
        "callbacks": callbacks,
        "logger": loggers,
        # Our own checkpoints hold whole steps, and the earlier ones stay until the new one is written.
        "enable_checkpointing": False,
        "enable_model_summary": False,
        # The loader shards by itself and must not be wrapped.
        "use_distributed_sampler": False,
        "log_every_n_steps": 1,
    }
    given = plain(experiment.config.trainer)
    chosen: dict[str, Any] = {"plugins": [writer]}
    if ranks.is_joined:
        chosen["strategy"] = build(experiment.config.trainer.strategy, "trainer.strategy")
        chosen["plugins"].append(TorchElasticEnvironment())
    if isinstance(chosen.get("strategy"), Sharded):
        if experiment.model.lora is not None:
            raise SettingError(
                "trainer=fsdp shares out weights that train; take trainer=ddp for an adapter, model.lora"
            )
        if experiment.server is not None:
            raise SettingError("trainer=fsdp samples in the training processes; take rollout=local, or trainer=ddp")
        # Weights unsharded in inference mode could not train afterwards.
        chosen["inference_mode"] = False
    try:
        trainer = Trainer(**fixed, **{**given, **chosen})
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise SettingError(f"trainer {given}: {' '.join(str(error).split())}") from error
    if trainer.world_size != ranks.shard.size:
        raise SettingError(
            f"trainer.devices is {given['devices']!r}; several processes need trainer=ddp or trainer=fsdp"
        )
    return trainer
