"""Whole runs of what the README offers: smoke, an adapter, a user's table."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from tests.configs import composed

from orapo.data.miniature import (
    write_miniature_chexpert_plus,
    write_miniature_mimic_cxr,
    write_miniature_study_table,
)
from orapo.experiment.run import train


def on_cpu(*overrides: str) -> DictConfig:
    return composed(*overrides, "trainer.accelerator=cpu")


def json_rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def by_its_card(folder: Path, base: str = "") -> Any:
    """The model that the model card's own Python loads."""
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    names: dict[str, Any] = {"FOLDER": str(folder), "BASE": base}
    exec(code, names)
    return names["model"]


@pytest.mark.slow
def test_smoke_shows_a_rise(tmp_path: Path) -> None:
    summary = train(on_cpu("+experiment=smoke"), tmp_path)
    with (tmp_path / "metrics.csv").open() as file:
        rewards = [float(row["reward"]) for row in csv.DictReader(file)]
    first, last = rewards[:10], rewards[-10:]
    assert sum(last) / 10 > sum(first) / 10 + 0.03
    assert summary["shuffled_images"]["clinical"]["macro"]["f1"] < 0.15
    assert summary["base"]["clinical"]["macro"]["f1"] < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_adapter_trains_and_loads(dtype: str, random_model_folder: Path, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import Qwen2_5_VLForConditionalGeneration

    config = on_cpu(
        "model=qwen2_5_vl_3b",
        f"model.path={random_model_folder}",
        f"model.dtype={dtype}",
        "model.lora.rank=2",
        "data.source.num_train=40",
        "data.source.num_validate=4",
        "data.source.num_test=4",
        "data.subset.num_studies=8",
        "data.max_report_tokens=12",
        "training.num_steps=2",
        "training.batch_size=4",
        "training.num_workers=0",
        "training.learning_rate=0.01",
    )
    train(config, tmp_path)
    weights = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert weights
    assert all("lora_" in name for name in weights), "a checkpoint holds the weights that train, nothing else"
    assert all(weight.dtype == torch.float32 for weight in weights.values()), "adapters train in float32"
    base = Qwen2_5_VLForConditionalGeneration.from_pretrained(random_model_folder)
    adapted = PeftModel.from_pretrained(base, tmp_path / "model")
    loaded = {name.replace(".default", ""): value for name, value in adapted.state_dict().items() if "lora_" in name}
    assert len(loaded) == len(weights)
    assert any(value.abs().sum() > 0 for name, value in loaded.items() if "lora_B" in name), "the adapter never moved"
    carded = by_its_card(tmp_path / "model", str(random_model_folder)).state_dict()
    assert all(torch.equal(carded[name], value) for name, value in adapted.state_dict().items())


@pytest.mark.slow
def test_a_users_own_table_goes_through(tmp_path: Path) -> None:
    table = write_miniature_study_table(tmp_path / "own", 20)
    config = on_cpu("+experiment=own_data", f"data.csv={table}", f"data.root={table.parent}", "training.num_steps=3")
    train(config, tmp_path)
    subset = json.loads((tmp_path / "subset.json").read_text())
    rows = json_rows(tmp_path / "test_reports.jsonl")
    patients = {row["study_id"]: row["patient_id"] for row in csv.DictReader(table.open())}
    trained = {patients[study_id] for study_id in subset["study_ids"]}
    assert trained
    assert rows
    assert not trained & {patients[str(row["study_id"])] for row in rows}
    assert all(row["oracle_report"] and isinstance(row["generated_report"], str) for row in rows)
    rollouts = json_rows(tmp_path / "rollouts.jsonl")
    assert rollouts
    for row in rollouts:
        assert {"facts", "verdicts", "rejected", "reward"} <= row.keys()


@pytest.mark.slow
def test_a_rollout_row_explains_its_reward(tmp_path: Path) -> None:
    config = on_cpu(
        "data.source.num_train=60",
        "data.source.num_validate=4",
        "data.source.num_test=4",
        "data.subset.num_studies=16",
        "training.num_steps=2",
        "training.validate_every_steps=null",
        "callbacks.rollouts_every_steps=1",
        "callbacks.rollouts_studies=16",
    )
    train(config, tmp_path)
    rows = json_rows(tmp_path / "rollouts.jsonl")
    assert len(rows) == 2 * 16 * 4
    earned = 0
    for row in rows:
        true, false, missed = (len(row[key]) for key in ("true_positives", "false_positives", "false_negatives"))  # type: ignore[arg-type]
        precision, recall = true / max(1, true + false), true / max(1, true + missed)
        expected = 5 * precision * recall / (4 * precision + recall) if true else 0.0
        assert row["reward"] == pytest.approx(expected, abs=1e-6)
        earned += expected > 0
    assert earned, "no rollout earned anything: this test would not notice a wrong reward"
    written = {str(row["study_id"]) for row in rows}
    assert written <= set(json.loads((tmp_path / "subset.json").read_text())["study_ids"])


@pytest.mark.slow
@pytest.mark.parametrize("has_key", [False, True])
def test_wandb_goes_offline_without_key_or_connection(
    has_key: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    # The discard port: nothing listens there.
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "elsewhere"))
    if has_key:
        monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    folder = tmp_path / "run"
    folder.mkdir()
    config = on_cpu(
        "logger=wandb",
        "logger.wandb.timeout_seconds=3",
        "logger.wandb.num_table_studies=2",
        "data.source.num_train=40",
        "data.source.num_validate=4",
        "data.source.num_test=4",
        "data.subset.num_studies=8",
        "training.num_steps=2",
        "training.batch_size=4",
    )
    train(config, folder)
    assert (folder / "summary.json").exists()
    (offline,) = (folder / "wandb").glob("offline-run-*")
    (record,) = offline.glob("run-*.wandb")
    written = record.read_bytes()
    for key in (b"train/zero_reward_rate", b"validation/macro_f1", b"test/reports", b"test/macro_f1"):
        assert key in written, key
    table = [path.read_text() for path in folder.rglob("*.table.json")]
    assert any("oracle_report" in text and "facts" in text for text in table)
    key_leaks = [path for path in folder.rglob("*") if path.is_file() and b"a" * 40 in path.read_bytes()]
    assert not key_leaks


@pytest.mark.slow
@pytest.mark.parametrize("experiment", ["mimic", "chexpert_plus"])
def test_an_experiment_on_a_miniature_with_the_real_layout(
    experiment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write, variable = {
        "mimic": (write_miniature_mimic_cxr, "ORAPO_MIMIC_ROOT"),
        "chexpert_plus": (write_miniature_chexpert_plus, "ORAPO_CHEXPERT_PLUS_ROOT"),
    }[experiment]
    write(tmp_path / "miniature")
    monkeypatch.setenv(variable, str(tmp_path / "miniature"))
    folder = tmp_path / "run"
    folder.mkdir()
    with caplog.at_level("WARNING"):
        train(on_cpu(f"+experiment={experiment}", "model=tiny"), folder)
    assert "the embedded policy (model=tiny) knows phantoms only" in caplog.text
    subset = json.loads((folder / "subset.json").read_text())
    with (folder / "metrics.csv").open() as file:
        steps = list(csv.DictReader(file))
    assert len(steps) == -(-subset["num_studies"] // 16), "one pass over the subset"
    with (folder / "left_out.csv").open() as file:
        left_out = {row["study_id"]: row["reason"] for row in csv.DictReader(file)}
    assert {"no findings section", "no frontal image"} <= set(left_out.values())
    trained = set(subset["study_ids"])
    assert trained
    assert trained.isdisjoint(left_out)
    tested = [row["study_id"] for row in json_rows(folder / "test_reports.jsonl")]
    assert tested
    assert trained.isdisjoint(tested)
