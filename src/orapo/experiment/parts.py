"""From checked settings to the objects of a run, cheap ones first."""

import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.loggers import Logger

from orapo.data.collate import Collate
from orapo.data.datamodule import BatchSettings, ReportDataModule
from orapo.data.subset_manifest import SubsetManifest
from orapo.errors import SettingError
from orapo.experiment.config import Experiment
from orapo.experiment.joining import judge_share
from orapo.experiment.rollouts import build_rollouts, reach_server
from orapo.experiment.run_plan import TimeLeft, plan_run, set_matmul_precision, warn_of_little_memory
from orapo.experiment.targets import build, plain
from orapo.labeler import Labeler
from orapo.objective.orapo import OrapoObjective
from orapo.policy.loading import load_policy, load_processor
from orapo.policy.model import Policy
from orapo.policy.reference import make_reference
from orapo.policy.rollout_source import RolloutSource
from orapo.reward.protocol import Reward
from orapo.training.checkpoints import LastCheckpoint, RandomStates
from orapo.training.distributed import Ranks
from orapo.training.module import OrapoModule
from orapo.training.run_files import MetricsFile, RolloutFile, ValidationFile
from orapo.training.settings import TrainingSettings
from orapo.training.strategies import Sharded

log = logging.getLogger(__name__)

CHECKPOINTS = "checkpoints"


@dataclass(frozen=True)
class Parts:
    """Everything a run needs, built."""

    policy: Policy
    rollouts: RolloutSource
    reward: Reward
    data: ReportDataModule
    module: OrapoModule
    trainer: Trainer
    ranks: Ranks


def build_data(experiment: Experiment) -> ReportDataModule:
    """The data module with its subset chosen; a data error comes here, before a model is loaded."""
    data, training = experiment.data, experiment.training
    section = experiment.config.data
    return ReportDataModule(
        source=build(section.source, "data.source"),
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
        ),
        manifest=None if data.manifest is None else SubsetManifest.read(data.manifest),
    )


def build_parts(experiment: Experiment, folder: Path, loggers: list[Logger], ranks: Ranks) -> Parts:
    """Objective and reward, then the data, then the model: the cheaper a mistake is to find, the sooner.

    Args:
        experiment: checked settings.
        folder: of the run.
        loggers: besides the files that every run writes.
        ranks: the processes that train together.
    """
    objective = build_objective(experiment)
    reward = build_reward(experiment, ranks)
    check_zero_term(objective, reward)
    labeler: Labeler = build(experiment.config.labeler, "labeler")
    server = reach_server(experiment)
    data = build_data(experiment)
    processor = load_processor(experiment.model)
    collate = Collate(processor, experiment.model.instruction, experiment.data.max_report_tokens)
    plan = plan_run(experiment, data, collate, objective, reward, folder, ranks.shard.size)
    log.info("%s", plan)
    warn_of_little_memory(plan)
    set_matmul_precision(experiment.training.float32_matmul_precision, plan.device)
    policy = load_policy(experiment.model, processor)
    rollouts = build_rollouts(experiment, policy, server, folder)
    data.attach(collate, ranks.shard)
    module = OrapoModule(
        policy=policy,
        rollouts=rollouts,
        reference=make_reference(policy) if objective.needs_reference else None,
        reward=reward,
        objective=objective,
        labeler=labeler,
        sampling=experiment.rollout,
        settings=experiment.training,
        num_steps=data.num_steps,
        seed=experiment.seed,
        ranks=ranks,
    )
    callbacks = build_callbacks(experiment, folder, data.num_steps, ranks)
    trainer = build_trainer(experiment, callbacks, loggers, data.num_steps, ranks)
    return Parts(policy, rollouts, reward, data, module, trainer, ranks)


def build_objective(experiment: Experiment) -> OrapoObjective:
    """The objective, with a moving average of its own."""
    objective: OrapoObjective = build(experiment.config.objective, "objective")
    return objective


def build_reward(experiment: Experiment, ranks: Ranks) -> Reward:
    """The reward, with this process's share of its limits."""
    built: Reward = build(judge_share(experiment.config.reward, ranks.shard.size), "reward")
    return built


def check_zero_term(objective: OrapoObjective, reward: Reward) -> None:
    """Refuses a mixture by the zero-reward rate where no term of the reward says what a reward of zero is.

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


def build_callbacks(experiment: Experiment, folder: Path, num_steps: int, ranks: Ranks) -> list[Callback]:
    """The callbacks in their order: what writes files stands before the checkpoint that remembers how far they got."""
    settings = experiment.callbacks
    every = validation_interval(experiment.training, num_steps)
    random_states = RandomStates(ranks)
    files: list[Callback] = [
        MetricsFile(folder / "metrics.csv"),
        RolloutFile(folder / "rollouts.jsonl", settings.rollouts_every_steps, settings.rollouts_studies),
        ValidationFile(folder / "validation.csv", experiment.data.uncertain_is_positive),
    ]
    return [
        *((*files, TimeLeft()) if ranks.is_first else ()),
        random_states,
        StepProgress(),
        LastCheckpoint(folder / CHECKPOINTS, settings.checkpoint_every_steps, num_steps, every, random_states, ranks),
    ]


def build_trainer(
    experiment: Experiment, callbacks: list[Callback], loggers: list[Logger], num_steps: int, ranks: Ranks
) -> Trainer:
    """Lightning's trainer over one stream of ``num_steps`` batches, which it calls one epoch."""
    every = validation_interval(experiment.training, num_steps)
    fixed: dict[str, Any] = {
        "max_epochs": 1,
        "val_check_interval": num_steps if every is None else every,
        "limit_val_batches": 0.0 if every is None else 1.0,
        "num_sanity_val_steps": 0,
        "callbacks": callbacks,
        "logger": loggers,
        # Our own checkpoints hold whole steps and are replaced atomically.
        "enable_checkpointing": False,
        "enable_model_summary": False,
        # The loader shards by itself and must not be wrapped.
        "use_distributed_sampler": False,
        "log_every_n_steps": 1,
    }
    given = plain(experiment.config.trainer)
    chosen: dict[str, Any] = {}
    if ranks.is_joined:
        chosen = {
            "strategy": build(experiment.config.trainer.strategy, "trainer.strategy"),
            "plugins": [TorchElasticEnvironment()],
        }
    if isinstance(chosen.get("strategy"), Sharded):
        if experiment.model.lora is not None:
            raise SettingError(
                "trainer=fsdp shares out weights that train; take trainer=ddp for an adapter, model.lora"
            )
        # Weights that were made whole in inference mode could not train afterwards.
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


class StepProgress(TQDMProgressBar):
    """One bar over all training steps, with what the module shows of each: ``SHOWN`` of ``training.metrics``."""

    def __init__(self) -> None:
        # A log file keeps every state of the bar: there, it moves less often.
        super().__init__(refresh_rate=1 if sys.stderr.isatty() else 25)

    def on_train_epoch_start(self, trainer: Trainer, *arguments: Any) -> None:
        """Lightning's bar says "Epoch 0"; the whole run is one epoch of steps."""
        super().on_train_epoch_start(trainer, *arguments)
        self.train_progress_bar.set_description("Training")

    def get_metrics(self, trainer: Trainer, pl_module: Any) -> dict[str, Any]:
        """Lightning's metrics without the logger's version number."""
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return dict(metrics)
