"""What the project's user asked for, by the commands as they are typed. This file never shrinks.

Digests are of the ordered ids of the balanced subset: with another choice of studies, no earlier run compares.
"""

import csv
import hashlib
import json
import math
import struct
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import get_class
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from omegaconf import DictConfig
from torch import nn
from transformers import Qwen2_5_VLForConditionalGeneration

from orapo.data.__main__ import main as data_command
from orapo.experiment.command_line import run_command
from orapo.experiment.sweeps.resume import resumed_sweep
from orapo.experiment.train_command import train_command

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
FEW_STEPS = [
    "data.max_validate_studies=2",
    "data.max_test_studies=2",
    "data.max_report_tokens=16",
    "rollout.per_study=2",
    "training.validate_every_steps=null",
    "trainer.accelerator=cpu",
]
SMALL = [
    *FEW_STEPS,
    "data.source.num_train=40",
    "data.subset.num_studies=8",
    "training.batch_size=4",
    "training.num_steps=1",
]

Command = Callable[..., Path]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """``python train.py ...`` in an empty folder, in this process; gives the folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path))  # a run sets them for its process
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)

    def train_py(*arguments: str, task: Callable[[DictConfig], Any] = train_command) -> Path:
        monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
        run_command(task, rewrite=resumed_sweep)
        return tmp_path

    return train_py


@dataclass
class Fitted:
    """What Lightning's trainer was given."""

    module: LightningModule | None = None
    data: LightningDataModule | None = None


@pytest.fixture
def fitted(monkeypatch: pytest.MonkeyPatch) -> Fitted:
    found, fit = Fitted(), Trainer.fit

    def watched(self: Trainer, model: LightningModule, *arguments: Any, **named: Any) -> None:
        found.module, found.data = model, named["datamodule"]
        fit(self, model, *arguments, **named)

    monkeypatch.setattr(Trainer, "fit", watched)
    return found


def only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def subset_of(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "subset.json").read_text())
    return content


def digest(study_ids: list[str]) -> str:
    return hashlib.sha256("\n".join(study_ids).encode()).hexdigest()


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


# ---- +experiment=mimic model=tiny


def test_mimic_with_the_tiny_model_runs_on_a_miniature(command: Command, tmp_path: Path) -> None:
    assert data_command(["miniature", "mimic_cxr", str(tmp_path / "mini"), "--num-patients", "30"]) == 0
    command("+experiment=mimic", "model=tiny", f"data.root={tmp_path / 'mini'}", *FEW_STEPS)
    folder = only(tmp_path, "logs/mimic/*")
    subset = subset_of(folder)
    assert subset["num_studies"] == len(subset["study_ids"]) > 16
    assert all(study_id.startswith("s9") for study_id in subset["study_ids"]), "a miniature's studies, no phantoms"
    assert len(rows(folder / "metrics.csv")) == math.ceil(subset["num_studies"] / 16), "one pass in batches of 16"
    tested = [json.loads(line) for line in (folder / "test_reports.jsonl").read_text().splitlines()]
    assert len(tested) == 2
    assert not {row["study_id"] for row in tested} & set(subset["study_ids"])
    summary = json.loads((folder / "summary.json").read_text())
    assert 0 <= summary["trained"]["clinical"]["macro"]["f1"] <= 1
    saved = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder / "model")
    assert sum(weight.numel() for weight in saved.parameters()) == pytest.approx(1.7e6, rel=0.05)


# ---- -m over the method's settings

SWEPT: dict[str, tuple[float, float]] = {
    "objective.alpha": (0.3, 0.7),
    "objective.w_min": (0.0, 0.1),
    "objective.w_max": (0.2, 0.5),
    "objective.gamma": (1.0, 2.5),
    "rollout.per_study": (2, 6),
}


def test_a_multirun_takes_every_combination_of_the_five_settings(command: Command) -> None:
    seen: list[tuple[float, ...]] = []

    def task(config: DictConfig) -> None:
        assert HydraConfig.get().mode == RunMode.MULTIRUN
        objective = config.objective
        seen.append((objective.alpha, objective.w_min, objective.w_max, objective.gamma, config.rollout.per_study))

    command("-m", *(f"{key}={','.join(map(str, values))}" for key, values in SWEPT.items()), task=task)
    assert seen == list(product(*SWEPT.values()))


@pytest.fixture
def sweep(command: Command) -> Path:
    """Two jobs that train, logged to W&B offline."""
    first = [f"{key}={values[0]}" for key, values in SWEPT.items() if key != "rollout.per_study"]
    small = [override for override in SMALL if not override.startswith("rollout.per_study")]
    wandb = ["logger=wandb", "logger.wandb.num_table_studies=1", "training.validate_every_steps=1"]
    root = command("-m", "rollout.per_study=2,3", *first, *small, *wandb)
    return only(root, "sweeps/orapo/*")


def test_a_sweep_trains_and_its_offline_wandb_runs_can_be_compared(sweep: Path) -> None:
    jobs = sorted(path.parent for path in sweep.glob("*/summary.json"))
    assert len(jobs) == 2
    runs = []
    for per_study, folder in zip((2, 3), jobs, strict=True):
        saved = yaml.safe_load((folder / "config.yaml").read_text())
        objective = saved["objective"]
        assert [objective[name] for name in ("alpha", "w_min", "w_max", "gamma")] == [0.3, 0.0, 0.2, 1.0]
        assert saved["rollout"]["per_study"] == per_study
        runs.append(WandbRun.read(only(folder, "wandb/offline-run-*/run-*.wandb"), folder))
    one, other = runs
    assert (one.project, one.group, one.job_type) == ("orapo", f"orapo/{sweep.name}", "train")
    assert one == other, "the same project, group, job type, keys and columns"
    assert {"train/reward", "train/zero_reward_rate", "train/loss", "validation/macro_f1"} <= one.history_keys
    ours = {f"test/{name}macro_f1" for name in ("", "base_", "shuffled_", "always_positive_")}
    assert {*ours, "test/micro_f1", "train/reward", "validation/macro_f1"} <= one.summary_keys
    assert one.tables.keys() == {"test/reports"}
    assert {"study_id", "image", "oracle_report", "generated_report", "facts", "reward"} <= set(
        one.tables["test/reports"]
    )


@dataclass(frozen=True)
class WandbRun:
    """What an offline run's file says of it, apart from values."""

    project: str
    group: str
    job_type: str
    config_keys: frozenset[str]
    history_keys: frozenset[str]
    summary_keys: frozenset[str]
    tables: dict[str, tuple[str, ...]]

    @classmethod
    def read(cls, path: Path, folder: Path) -> "WandbRun":
        from wandb.proto.wandb_internal_pb2 import Record

        records = [Record.FromString(content) for content in leveldb_records(path.read_bytes())]
        run = next(record.run for record in records if record.HasField("run"))
        history = {key: value for r in records for key, value in items(r.history.item)}
        summary = {key: value for r in records for key, value in items(r.summary.update)}
        tables = [key.removesuffix("/_type") for key, value in history.items() if value == '"table-file"']
        return cls(
            project=run.project,
            group=run.run_group,
            job_type=run.job_type,
            config_keys=frozenset(key for r in records for key, _ in items([*r.run.config.update, *r.config.update])),
            history_keys=frozenset(history),
            summary_keys=frozenset(summary),
            tables={name: columns_of(folder, json.loads(history[f"{name}/path"])) for name in tables},
        )


def items(entries: Any) -> Iterator[tuple[str, str]]:
    for entry in entries:
        yield (entry.key or "/".join(entry.nested_key)), entry.value_json


def columns_of(folder: Path, path: str) -> tuple[str, ...]:
    return tuple(json.loads(only(folder, f"wandb/offline-run-*/files/{path}").read_text())["columns"])


def leveldb_records(content: bytes, block: int = 32768) -> Iterator[bytes]:
    """The records of a .wandb file: 7 bytes of its own, then LevelDB's log format (CRC, length, kind, bytes)."""
    assert content[:4] == b":W&B"
    place, parts = 7, b""
    while place + 7 <= len(content):
        if block - place % block < 7:
            place += block - place % block
            continue
        _, length, kind = struct.unpack_from("<IHB", content, place)
        parts += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # the whole of a record, or its end
            yield parts
            parts = b""


# ---- LightningModule and LightningDataModule

DEFAULT_DIGEST = "c36daefadd4485e037cc8588521b8c984d9c224e4a28332078f8f4adf0ec1eb0"


def owned(module: LightningModule, name: str) -> Any:
    return getattr(module, name, None) or getattr(module, f"_{name}", None)


def test_the_default_trains_a_lightning_module_on_the_same_thousand_studies(command: Command, fitted: Fitted) -> None:
    small = ["training.num_steps=1", "training.batch_size=4", "callbacks.rollouts_studies=4"]
    folder = only(command(*FEW_STEPS, *small), "logs/orapo/*")
    config = yaml.safe_load((folder / "config.yaml").read_text())

    module = fitted.module
    assert isinstance(module, LightningModule)
    policy, reference, reward = (owned(module, name) for name in ("policy", "reference", "reward"))
    assert isinstance(policy, nn.Module)
    assert any(weight.requires_grad for weight in policy.parameters())
    assert isinstance(reward, get_class(config["reward"]["_target_"]))
    assert reference is not None
    assert {name.partition(".")[0] for name, _ in module.named_parameters()} == {"policy"}, "a reference never trains"

    data = fitted.data
    assert isinstance(data, LightningDataModule)
    assert isinstance(data.train_dataloader().dataset[0][0].oracle_report, str)
    subset = subset_of(folder)
    ids = subset["study_ids"]
    assert len(ids) == len(set(ids)) == len(data.train_dataloader().dataset) == 1000
    assert digest(ids) == DEFAULT_DIGEST
    assert len(set(subset["positives_after"].values())) == 1, "as many studies of each observation"
    sampled = {json.loads(line)["study_id"] for line in (folder / "rollouts.jsonl").read_text().splitlines()}
    assert len(sampled) == 4
    assert sampled <= set(ids)


EXPERIMENTS = {
    "mimic": ("mimic_cxr", "5c16e55dbbe57aeba786f14e571405b3e365a3008da74ee1ef49f2810da7bac6", 24),
    "chexpert_plus": ("chexpert_plus", "bcca64a5fc162e280cf96feba104d31906168153b28ad2c16ca63f9c6de7845d", 24),
}


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_a_data_sets_subset_is_the_same_as_ever(experiment: str, command: Command, tmp_path: Path) -> None:
    data_set, expected, num_studies = EXPERIMENTS[experiment]
    assert data_command(["miniature", data_set, str(tmp_path / "mini")]) == 0
    short = ["training.num_passes=null", "training.num_steps=1", "training.batch_size=2"]
    size = f"data.subset.num_studies={num_studies}"
    command(f"+experiment={experiment}", "model=tiny", f"data.root={tmp_path / 'mini'}", size, *FEW_STEPS, *short)
    subset = subset_of(only(tmp_path, f"logs/{experiment}/*"))
    assert len(subset["study_ids"]) == num_studies < subset["num_pool"], "a choice, not the whole pool"
    assert digest(subset["study_ids"]) == expected


# ---- the top level and the packages


@pytest.mark.parametrize("name", ["pyproject.toml", "src/orapo", "conf", "tests", "logs", "sweeps", "README.md"])
def test_the_top_level(name: str) -> None:
    assert (ROOT / name).exists()


@pytest.mark.parametrize(
    "package",
    [
        "lightning",
        "hydra-core",
        "omegaconf",
        "torch",
        "transformers",
        "peft",
        "wandb",
        "litellm",
        "torchmetrics",
        "datasets",
    ],
)
def test_the_packages_that_were_asked_for_are_dependencies(package: str) -> None:
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    found = [line for line in dependencies if line.startswith((f"{package}>", f"{package}=", f"{package}~"))]
    assert len(found) == 1
    if package == "wandb":
        assert ">=0.31" in found[0]
