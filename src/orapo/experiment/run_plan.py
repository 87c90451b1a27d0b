"""What a run will take, said in one block before any weight is loaded: device, memory, length, judge, files."""

import logging
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from hydra.utils import get_object
from lightning.pytorch import Callback, LightningModule, Trainer

from orapo.data.collate import Collate
from orapo.data.datamodule import ReportDataModule
from orapo.errors import SettingError
from orapo.experiment.config import Experiment
from orapo.experiment.devices import Device, chosen_device, cuda_fault
from orapo.experiment.judge_cost import estimate_cost
from orapo.experiment.processes import is_distributed
from orapo.objective.orapo import OrapoObjective
from orapo.policy.memory import Load, MemoryCount, ModelSize, count_memory, model_size
from orapo.reward.llm.judge import LlmJudge
from orapo.reward.protocol import Reward
from orapo.training.strategies import Sharded

log = logging.getLogger(__name__)

LARGE_FOR_A_CPU = 500_000_000
"""Weights above which nobody trains on a CPU without meaning to."""


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What is known of a run before it begins.

    Attributes:
        device: where it trains.
        size: of the policy.
        memory: that one process needs, counted.
        lines: the block, by the word in front of each line.
    """

    device: Device
    size: ModelSize
    memory: MemoryCount
    lines: Mapping[str, str]

    def __str__(self) -> str:
        return "\n".join(["this run:", *(f"  {name:<10} {text}" for name, text in self.lines.items())])


def plan_run(
    experiment: Experiment,
    data: ReportDataModule,
    collate: Collate,
    objective: OrapoObjective,
    reward: Reward,
    folder: Path,
    num_processes: int,
) -> RunPlan:
    """Counts what the run takes, and refuses what can't be meant or can't fit.

    Args:
        experiment: checked settings.
        data: with its studies chosen.
        collate: of the policy; it makes one prompt, whose length counts.
        objective: whether it needs a reference and rollouts.
        reward: its judge may cost money.
        folder: of the run.
        num_processes: that train together.

    Raises:
        SettingError: a large model would train on a CPU that nobody asked for, or the weights with what training keeps
            of them are more than the device has.
        CheckpointError: the model's config can't be read.
    """
    trainer = experiment.config.trainer
    device = chosen_device(trainer.accelerator, int(os.environ.get("LOCAL_RANK", "0")))
    size = model_size(experiment.model)
    _refuse_an_unmeant_cpu(experiment, size, device)
    prompt_tokens = len(collate([data.load_images(data.train_studies[0])]).prompt_ids[0])
    load = _load(experiment, objective, prompt_tokens, num_processes)
    memory = count_memory(size, load)
    if memory.kept > device.total_bytes:
        raise SettingError(
            f"model.path {experiment.model.path!r} needs {_gb(memory.kept)} for weights, reference and optimiser "
            f"alone, and {device.name} has {_gb(device.total_bytes)}; take a smaller model, model.lora, or more "
            "GPUs with trainer=fsdp"
        )
    lines = {
        "device": _device_line(device, num_processes),
        "model": _model_line(experiment, size),
        "precision": _precision_line(experiment, device),
        "memory": _memory_line(memory, device, num_processes),
        "length": _length_line(experiment, data, objective.needs_rollouts),
        "judge": _judge_line(experiment, data, reward),
        "files": _files_line(experiment, folder),
    }
    return RunPlan(device, size, memory, lines)


def set_matmul_precision(precision: str, device: Device) -> None:
    """Lets a GPU multiply float32 in fewer bits, as ``training.float32_matmul_precision`` says; a CPU stays exact."""
    if device.kind == "cuda":
        torch.set_float32_matmul_precision(precision)


def warn_of_little_memory(plan: RunPlan) -> None:
    """One line with what to lower, where the counted memory is more than what is free."""
    if plan.memory.total <= plan.device.free_bytes:
        return
    memory = plan.memory
    lower = (
        "model.gradient_checkpointing=true, training.studies_per_micro_batch=1 or rollout.max_new_tokens lower it"
        if memory.update >= memory.sampling
        else "training.batch_size, rollout.per_study or rollout.max_new_tokens lower it"
    )
    log.warning(
        "memory may not suffice: about %s counted, %s free; %s", _gb(memory.total), _gb(plan.device.free_bytes), lower
    )


def _refuse_an_unmeant_cpu(experiment: Experiment, size: ModelSize, device: Device) -> None:
    if device.kind == "cpu" and size.num_weights > LARGE_FOR_A_CPU and experiment.config.trainer.accelerator != "cpu":
        raise SettingError(
            f"model.path {experiment.model.path!r} has {size.num_weights:,} weights and no GPU can be used "
            f"({cuda_fault()}); trainer.accelerator=cpu trains it on the CPU all the same"
        )


def _load(experiment: Experiment, objective: OrapoObjective, prompt_tokens: int, num_processes: int) -> Load:
    training, sampling = experiment.training, experiment.rollout
    own = math.ceil(training.batch_size / num_processes)
    # A server's rollouts take none of this process's memory.
    rows = 0 if experiment.server is not None else max(own * sampling.per_study, training.eval_batch_size)
    trainer = experiment.config.trainer
    is_sharded = is_distributed(experiment.config) and get_object(trainer.strategy._target_) is Sharded
    return Load(
        rows=rows,
        studies=rows and max(own, training.eval_batch_size),
        update_studies=min(training.studies_per_micro_batch, own),
        completions=(sampling.per_study if objective.needs_rollouts else 0) + (1 if objective.needs_oracle else 0),
        prompt_tokens=prompt_tokens,
        new_tokens=sampling.max_new_tokens,
        checkpointing=experiment.model.gradient_checkpointing,
        autocast=str(trainer.precision) == "bf16-mixed" and experiment.model.dtype == "float32",
        has_reference=objective.needs_reference,
        shards=num_processes if is_sharded else 1,
    )


def _device_line(device: Device, num_processes: int) -> str:
    line = device.name if num_processes == 1 else f"{num_processes} x {device.name}"
    return line if device.kind != "cpu" else f"{line} ({cuda_fault()})"


def _model_line(experiment: Experiment, size: ModelSize) -> str:
    what = f"LoRA of rank {experiment.model.lora.rank}" if experiment.model.lora else "the model's own weights"
    return f"{experiment.model.path}: {_count(size.num_weights)} weights, {_count(size.num_trained)} train ({what})"


def _precision_line(experiment: Experiment, device: Device) -> str:
    line = f"weights in {experiment.model.dtype}, trainer.precision {experiment.config.trainer.precision}"
    if device.kind == "cuda":
        line += f", float32 products {experiment.training.float32_matmul_precision}"
    return line


def _memory_line(memory: MemoryCount, device: Device, num_processes: int) -> str:
    parts = (
        ("weights", memory.weights),
        ("reference", memory.reference),
        ("optimiser", memory.optimiser),
        ("copies", memory.copies),
        ("update", memory.update),
        ("sampling", memory.sampling),
    )
    told = ", ".join(f"{name} {_gb(number)}" for name, number in parts if number)
    each = " a process" if num_processes > 1 else ""
    return f"about {_gb(memory.total)}{each} of {_gb(device.free_bytes)} free ({told})"


def _length_line(experiment: Experiment, data: ReportDataModule, samples: bool) -> str:
    training, sampling = experiment.training, experiment.rollout
    tokens = data.num_steps * training.batch_size * sampling.per_study * sampling.max_new_tokens
    sampled = f" x {sampling.per_study} reports (at most {_count(tokens)} tokens)" if samples else ""
    every = training.validate_every_steps
    validations = 0 if every is None else 1 + math.ceil(data.num_steps / min(every, data.num_steps))
    return (
        f"{data.num_steps:,} steps of {training.batch_size} studies{sampled}; {validations} validations of "
        f"{len(data.validate_studies):,} studies, 2 tests of {len(data.test_studies):,}, on own and shuffled images"
    )


def _judge_line(experiment: Experiment, data: ReportDataModule, reward: Reward) -> str:
    if not isinstance(reward.judge, LlmJudge):
        return "offline, costs nothing"
    estimate = estimate_cost(experiment, data, reward.judge, str(experiment.config.reward.stages))
    cost = "price unknown" if estimate.cost_usd is None else f"about {estimate.cost_usd:,.2f} US dollars"
    return f"{estimate.model}: at most {estimate.num_calls:,} calls, {cost}"


def _files_line(experiment: Experiment, folder: Path) -> str:
    wandb = experiment.wandb
    return str(folder) if wandb is None else f"{folder}, W&B project {wandb.project}"


def _gb(number: float) -> str:
    return f"{number / 1e9:,.1f} GB" if number >= 5e7 else f"{number / 1e6:,.0f} MB"


def _count(number: float) -> str:
    for limit, unit in ((1e9, "billion"), (1e6, "million")):
        if number >= limit:
            return f"{number / limit:,.2f} {unit}"
    return f"{number:,.0f}"


class TimeLeft(Callback):
    """Says after the first training step how long the run will take, by that step and the evaluations before it."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._began = 0.0
        self._seconds: dict[str, float] = {}
        self._is_told = False

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The base test's time is the final test's."""
        self._began = time.perf_counter()

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """See ``on_test_start``."""
        self._seconds["test"] = time.perf_counter() - self._began

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The first validation's time is that of all."""
        self._began = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """See ``on_validation_start``."""
        self._seconds["validation"] = time.perf_counter() - self._began

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """A step begins."""
        if not self._is_told:
            self._began = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Tells it once."""
        if self._is_told:
            return
        self._is_told = True
        seconds = time.perf_counter() - self._began
        done, steps, every = batch_idx + 1, int(trainer.num_training_batches), int(trainer.val_check_batch or 1)
        parts = {
            "training": seconds * (steps - done),
            "validation": (steps // every - done // every) * self._seconds.get("validation", 0.0),
            "test": self._seconds.get("test", 0.0),
        }
        told = ", ".join(f"{name} {timedelta(seconds=round(value))}" for name, value in parts.items() if value)
        log.info(
            "the first step took %.1f s; about %s left (%s)",
            seconds,
            timedelta(seconds=round(sum(parts.values()))),
            told,
        )
