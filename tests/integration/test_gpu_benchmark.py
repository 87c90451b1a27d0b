"""benchmarks/gpu.py at its smallest, on the CPU: every part has its rows, and one that breaks spares the others."""

import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks.model_shapes import PUBLISHED_WEIGHTS

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SMALLEST = ["--size", "small", "--device", "cpu", "--prompts", "2", "--k", "2", "--tokens", "4"]

pytestmark = pytest.mark.slow


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import gpu

    return gpu


def rows(gpu: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *parts: str) -> dict[str, str]:
    """By part, what stands in its last column; "exit" is the exit code."""
    monkeypatch.setattr(sys, "argv", ["gpu.py", *SMALLEST, "--only", *parts])
    with pytest.raises(SystemExit) as ended:
        gpu.main()
    lines = [re.split(r" ?\| ?", line)[1:5] for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    return {name: told for name, _, _, told in lines} | {"exit": str(ended.value.code)}


def test_every_part_has_its_rows(gpu: Any, monkeypatch: Any, capsys: Any) -> None:
    found = rows(gpu, monkeypatch, capsys, *(part for part in gpu.PARTS if part != "trl"))
    assert found["exit"] == "0"
    assert not [name for name, told in found.items() if "failed" in told]
    for phase in ("image features", "sampling", "reference", "update", "optimiser"):
        assert f"LoRA step: {phase}" in found
        assert f"full step: {phase}" in found
    assert "tokens a second" in found["LoRA step: whole"]
    gap, spread = re.findall(r"\d[\d.e-]*", found["exactness in float32: repeated"].partition("average, ")[2])[:2]
    assert float(gap) < 1e-4 < 1e-2 < float(spread)
    assert sum(name.startswith("tiny ") for name in found) == len(gpu.ARCHITECTURES)


def test_a_part_that_breaks_says_why_and_leaves_the_others(gpu: Any, monkeypatch: Any, capsys: Any) -> None:
    def break_down(*_: Any) -> None:
        raise torch.OutOfMemoryError("not enough memory\nfor this")

    monkeypatch.setattr(gpu.Step, "run", break_down)
    monkeypatch.setattr(gpu, "score_shared", break_down)
    monkeypatch.setattr(gpu, "free_bytes", lambda device: 0)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    found = rows(gpu, monkeypatch, capsys, "float32", "lora", "full", "trl", "decoding")
    assert found["exit"] == "1"
    told = "failed: OutOfMemoryError: not enough memory"
    assert found["exactness in float32: shared"] == told
    assert found["LoRA step: whole"] == told
    assert found["full step"].startswith("does not fit: ")
    assert "is not installed" in found["TRL's step"]
    assert "tokens a second" in found["decoding: 4 rows, 4 tokens each"]


def test_the_largest_size_is_that_of_the_published_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import random_policy
    from transformers import AutoModelForImageTextToText

    tokenizer = random_policy._tokenizer(2048, 0)
    with torch.device("meta"):
        config = random_policy.policy_config(random_policy.SIZES["3b"], tokenizer)
        model = AutoModelForImageTextToText.from_config(config)
    count = sum(weight.numel() for weight in model.parameters())
    assert count == PUBLISHED_WEIGHTS["Qwen/Qwen2.5-VL-3B-Instruct"]
