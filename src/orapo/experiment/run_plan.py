"""What a run will need, printed in one block before any weight is loaded: device, memory, length, judge, files."""

import logging
import math
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from hydra.utils import get_object
from lightning.pytorch import Callback, LightningModule, Trainer

from orapo.data.collate import Collate
from orapo.data.datamodule import ReportDataModule
from orapo.errors import SettingError
from orapo.experiment.config import Experiment
from orapo.experiment.devices import Device, cuda_fault
from orapo.experiment.fitting import automatic, fitted, read_chosen
from orapo.experiment.judge_cost import estimate_cost
from orapo.experiment.processes import is_distributed
from orapo.objective.orapo import OrapoObjective
from orapo.policy.memory import ADAM_STATES, Load, MemoryCount, ModelSize, count_memory, model_size
from orapo.records import Study
from orapo.reward.llm.judge import LlmJudge
from orapo.reward.protocol import Reward
from orapo.reward.weighted import WeightedReward
from orapo.training.strategies import Sharded

log = logging.getLogger(__name__)

LARGE = 500_000_000
"""More weights than this train on a CPU only if it is asked for, and keep one checkpoint of all of them."""

LONG_PROMPT = 2048
"""Tokens above which a study costs several times what its presets would: a model whose images nobody has limited."""


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What is known about a run before it begins.

    Attributes:
        experiment: with numbers where it said ``auto``.
        memory: that one process needs, counted.
        keep_last: checkpoints that stay.
        lines: the block, by the word in front of each line.
    """

    experiment: Experiment
    memory: MemoryCount
    keep_last: int
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
    device: Device,
    num_processes: int,
    is_resumed: bool,
) -> RunPlan:
    """Counts what the run needs, and refuses settings that can't be intended or can't fit.

    Args:
        experiment: checked settings.
        data: with its studies chosen.
        collate: of the policy; it makes the longest prompt, whose length counts.
        objective: whether it needs a reference and rollouts.
        reward: its judge may cost money.
        folder: of the run.
        device: of ``chosen_device``, with the free memory of the fullest of all processes.
        num_processes: that train together.
        is_resumed: whether the run began before, with what it chose then.

    Raises:
        SettingError: a large model would train on a CPU that nobody asked for, the weights with what training keeps of
            them are more than the device has, or processes that shard weights get some questions without images.
        CheckpointError: the model's config can't be read, or what a resumed run chose.
    """
    size = model_size(experiment.model)
    _refuse_an_unmeant_cpu(experiment, size, device)
    refuse_mixed_shards(experiment, data)
    prompt_tokens = _longest_prompt(data, collate)
    if prompt_tokens > LONG_PROMPT:
        log.warning("a study's prompt has %d tokens, nearly all of images; model.max_pixels lowers it", prompt_tokens)

    def load(one: Experiment) -> Load:
        return _load(one, objective, prompt_tokens, num_processes)

    keys = automatic(experiment)
    if is_resumed:
        experiment = read_chosen(experiment, folder)
    elif keys:
        experiment = fitted(experiment, size, load, _own_studies(experiment, num_processes), device.free_bytes)
    memory = count_memory(size, load(experiment))
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
        "prompt": f"at most {prompt_tokens:,} tokens; context: {', '.join(collate.prompt.context) or 'none'}",
        "update": _update_line(experiment, keys),
        "length": _length_line(experiment, data, objective.needs_rollouts),
        "judge": _judge_line(experiment, data, reward),
    }
    keep_last = experiment.callbacks.keep_last or (1 if size.num_trained > LARGE else 2)
    lines["files"] = _files_line(experiment, folder, size, keep_last)
    return RunPlan(experiment, memory, keep_last, lines)


def _longest_prompt(data: ReportDataModule, collate: Collate) -> int:
    """Tokens of the training prompt with the most images, and of those with the longest words."""

    def size(study: Study) -> tuple[int, int]:
        message = collate.prompt.messages(study, len(study.image_paths), collate.prompt.num_prior_images(study))[0]
        return len(message["content"]), len(message["content"][-1]["text"])

    return len(collate([data.load_images(max(data.train_studies, key=size))]).prompt_ids[0])


def warn_of_little_memory(memory: MemoryCount, device: Device) -> None:
    """One warning with the settings to lower, where the counted memory exceeds the free memory."""
    if memory.total <= device.free_bytes:
        return
    lower = (
        "model.gradient_checkpointing=true, training.studies_per_micro_batch=1 or rollout.max_new_tokens lower it"
        if memory.update >= memory.sampling
        else "training.batch_size, rollout.per_study or rollout.max_new_tokens lower it"
    )
    log.warning(
        "memory may not suffice: about %s counted, %s free; %s", _gb(memory.total), _gb(device.free_bytes), lower
    )


def warn_of_cut_reports(data: ReportDataModule, collate: Collate) -> None:
    """One warning with the number of training reports that ``data.max_report_tokens`` cuts."""
    num_cut = sum(map(collate.is_cut, data.train_studies))
    if num_cut:
        log.warning(
            "%d of %d oracle reports are longer than data.max_report_tokens, %s: they are cut there, and their ends "
            "are not learnt",
            num_cut,
            len(data.train_studies),
            collate.max_report_tokens,
        )


def _refuse_an_unmeant_cpu(experiment: Experiment, size: ModelSize, device: Device) -> None:
    if device.kind == "cpu" and size.num_weights > LARGE and experiment.config.trainer.accelerator != "cpu":
        raise SettingError(
            f"model.path {experiment.model.path!r} has {size.num_weights:,} weights and no GPU can be used "
            f"({cuda_fault()}); trainer.accelerator=cpu trains it on the CPU all the same"
        )


def _load(experiment: Experiment, objective: OrapoObjective, prompt_tokens: int, num_processes: int) -> Load:
    training, sampling = experiment.training, experiment.rollout
    own = _own_studies(experiment, num_processes)
    # A server's rollouts take none of this process's memory.
    rows = 0 if experiment.server is not None else max(own * sampling.per_study, training.eval_batch_size)
    return Load(
        rows=rows,
        studies=rows and max(own, training.eval_batch_size),
        update_studies=min(training.micro_batch, own),
        completions=(sampling.per_study if objective.needs_rollouts else 0) + (1 if objective.needs_oracle else 0),
        prompt_tokens=prompt_tokens,
        new_tokens=sampling.max_new_tokens,
        checkpointing=bool(experiment.model.gradient_checkpointing),
        autocast=experiment.is_autocast,
        has_reference=objective.needs_reference,
        shards=num_processes if _is_sharded(experiment) else 1,
    )


def _is_sharded(experiment: Experiment) -> bool:
    """Whether the weights are sharded across the processes."""
    return is_distributed(experiment.config) and get_object(experiment.config.trainer.strategy._target_) is Sharded


def refuse_mixed_shards(experiment: Experiment, data: ReportDataModule) -> None:
    """Refuses mixed data: processes that shard a vision tower pass through it together, so all need an image.

    Raises:
        SettingError: some studies have images and others have none.
    """
    studies = (*data.train_studies, *data.validate_studies, *data.test_studies)
    if _is_sharded(experiment) and len({bool(study.image_paths) for study in studies}) > 1:
        raise SettingError("trainer=fsdp needs images with all questions or with none; take trainer=ddp")


def _own_studies(experiment: Experiment, num_processes: int) -> int:
    return math.ceil(experiment.training.batch_size / num_processes)


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
        ("update", memory.update),
        ("sampling", memory.sampling),
    )
    told = ", ".join(f"{name} {_gb(number)}" for name, number in parts if number)
    each = " a process" if num_processes > 1 else ""
    return f"about {_gb(memory.total)}{each} of {_gb(device.free_bytes)} free ({told})"


def _update_line(experiment: Experiment, keys: Sequence[str]) -> str:
    number = experiment.training.micro_batch
    line = f"{number} stud{'y' if number == 1 else 'ies'} at a time, "
    line += f"gradient checkpointing {'on' if experiment.model.gradient_checkpointing else 'off'}"
    return f"{line}; chosen by memory: {', '.join(keys)}" if keys else line


def _length_line(experiment: Experiment, data: ReportDataModule, samples: bool) -> str:
    training, sampling = experiment.training, experiment.rollout
    tokens = data.num_steps * training.batch_size * sampling.per_study * sampling.max_new_tokens
    sampled = f" x {sampling.per_study} reports (at most {_count(tokens)} tokens)" if samples else ""
    every = training.validate_every_steps
    validations = 0 if every is None else 1 + math.ceil(data.num_steps / min(every, data.num_steps))
    looks = any(study.image_paths for study in data.test_studies)
    return (
        f"{data.num_steps:,} steps of {training.batch_size} studies{sampled}; {validations} validations of "
        f"{len(data.validate_studies):,} studies, 2 tests of {len(data.test_studies):,}"
        + (", all but the first on shuffled images too" if looks else "")
    )


def _judge_line(experiment: Experiment, data: ReportDataModule, reward: Reward) -> str:
    if not isinstance(reward, WeightedReward) or not isinstance(reward.judge, LlmJudge):
        return "offline, costs nothing"
    estimate = estimate_cost(experiment, data, reward)
    cost = "price unknown" if estimate.cost_usd is None else f"about {estimate.cost_usd:,.2f} US dollars"
    return f"{estimate.model}: at most {estimate.num_calls:,} calls, {cost}"


def _files_line(experiment: Experiment, folder: Path, size: ModelSize, keep_last: int) -> str:
    """Says where the run writes; checks that there is room.

    Raises:
        SettingError: the disk has less free than the checkpoints and the model will take.
    """
    weights = size.num_trained * (4 if size.has_adapter else size.bytes_each)
    checkpoint = weights * (1 + ADAM_STATES * experiment.callbacks.keep_optimizer)
    # The next one is written before the oldest goes; a resumed run has some already.
    there = sum(path.stat().st_size for path in folder.glob("checkpoints/*.ckpt"))
    needed, free = (keep_last + 1) * checkpoint + weights - there, shutil.disk_usage(folder).free
    if needed > free:
        raise SettingError(
            f"{folder} has {_gb(free)} free, and {keep_last} + 1 checkpoints of {_gb(checkpoint)} with the trained "
            f"model take about {_gb(needed)}; make room, choose another paths.logs, or set callbacks.keep_last=1 or "
            "callbacks.keep_optimizer=false"
        )
    kept = "checkpoint" if keep_last == 1 else f"{keep_last} checkpoints"
    line = f"{folder}, the last {kept} of {_gb(checkpoint)} ({_gb(free)} free)"
    return line if experiment.logger.wandb is None else f"{line}, W&B project {experiment.logger.wandb.project}"


def _gb(number: float) -> str:
    return f"{number / 1e9:,.1f} GB" if number >= 5e7 else f"{number / 1e6:,.0f} MB"


def _count(number: float) -> str:
    for limit, unit in ((1e9, "billion"), (1e6, "million")):
        if number >= limit:
            return f"{number / limit:,.2f} {unit}"
    return f"{number:,.0f}"


class TimeLeft(Callback):
    """Logs after the first training step how long the run will take, from that step and the evaluations before it."""

    def __init__(self) -> None:
        self._began = 0.0
        self._seconds: dict[str, float] = {}
        self._is_told = False

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock: the base test takes half as long as the final test, which also shuffles images."""
        self._began = time.perf_counter()

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._seconds["test"] = 2 * (time.perf_counter() - self._began)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measures the first validation, which stands for all."""
        self._began = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._seconds["validation"] = time.perf_counter() - self._began

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if not self._is_told:
            self._began = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Prints the estimate once."""
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
