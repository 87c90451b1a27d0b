"""benchmarks/step.py: both sides run, do the same work, and a difference in the work ends the measurement."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SIDES = ("trl", "ours", "ours_with_oracle", "ours_later_pass")


@pytest.fixture
def work_module(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import step_work

    return step_work


@pytest.mark.slow
def test_the_smallest_comparison(tmp_path: Path) -> None:
    pytest.importorskip("trl", reason="needs the extra bench")
    path = tmp_path / "numbers.json"
    sizes = ["--size", "tiny", "--image", "56", "--prompts", "1", "--k", "2", "--tokens", "8", "--steps", "1"]
    command = [sys.executable, str(BENCHMARKS / "step.py"), *sizes, "--json", str(path)]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    numbers = json.loads(path.read_text())
    assert numbers["work"] == {
        "prompts": 1,
        "rollouts": 2,
        "shortest": 8,
        "longest": 8,
        "prompt_tokens": numbers["work"]["prompt_tokens"],
        "image_tokens": 4,
    }
    asked = {
        "size": "tiny",
        "image": 56,
        "image_tokens": 4,
        "k": 2,
        "tokens": 8,
        "prompts": 1,
        "threads": 1,
        "steps": 1,
    }
    assert {name: numbers[name] for name in asked} == asked
    assert numbers["lora"] is False
    assert numbers["versions"]["trl"].startswith("1.16.")
    for side in SIDES:
        taken = numbers[side]
        assert set(taken["phases"]) == {"rollout", "reward", "reference", "update", "other"}
        assert sum(taken["phases"].values()) == pytest.approx(taken["seconds"], abs=0.005)
        assert min(taken["phases"][phase] for phase in ("rollout", "reference", "update")) > 0
        assert taken["tokens_per_second"] == pytest.approx(2 * 8 / taken["seconds"], rel=0.05)
        assert taken["peak_memory_bytes"] > taken["memory_over_loaded_bytes"] > 0
    for ratio, key in (("ratio", "seconds"), ("ratio_cpu", "cpu_seconds")):
        assert numbers[ratio] == pytest.approx(numbers["trl"][key] / numbers["ours"][key], rel=0.05)
    assert "TRL / ours, CPU" in finished.stdout


@pytest.mark.slow
def test_without_trl_one_line_says_how_to_install_it() -> None:
    # None among the imported modules is how Python marks one that can't be imported.
    code = f"import sys; sys.modules['trl'] = None; sys.path.insert(0, {str(BENCHMARKS)!r}); import step; step.main()"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert finished.returncode != 0
    lines = finished.stderr.strip().splitlines()
    assert lines == ["TRL, which this compares with, is not installed: pip install -e '.[bench]'"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("prompts", 3),
        ("rollouts", 15),
        ("shortest", 95),
        ("longest", 97),
        ("image_tokens", 63),
        ("prompt_tokens", 107),
    ],
)
def test_other_work_is_refused(work_module: Any, name: str, value: int) -> None:
    work = work_module.Work("folder", image=224, prompts=2, k=8, tokens=96, threads=1, lora=False, micro=1)
    done = work_module.Done(2, 16, 96, 96, prompt_tokens=108, image_tokens=64)
    work_module.check_work(work, "ours", done, done)
    with pytest.raises(SystemExit, match=f"not the same work: ours had {name} = {value}"):
        work_module.check_work(work, "ours", replace(done, **{name: value}), done)


def test_work_is_counted_from_token_ids(work_module: Any) -> None:
    done = work_module.Done.count(1, [[7, 9, 9, 7], [7, 9, 9, 7]], [[1, 2, 3], [4, 5]], image_token_id=9)
    assert done == work_module.Done(1, 2, shortest=2, longest=3, prompt_tokens=4, image_tokens=2)
    with pytest.raises(SystemExit, match="prompts have different"):
        work_module.Done.count(1, [[7, 9], [7, 7]], [[1], [2]], image_token_id=9)


def test_operations_of_matrix_products_are_those_that_torch_counts(
    work_module: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import random_policy
    import step_arithmetic
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import Qwen2_5_VLForConditionalGeneration

    size = random_policy.SIZES["tiny"]
    random_policy.write_policy("tiny", tmp_path)
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(tmp_path)
    # 16 image tokens of 64 patches, in one window; 20 words behind them.
    ids = torch.tensor([[model.config.image_token_id] * 16 + list(range(100, 120))])
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(
            input_ids=ids,
            pixel_values=torch.randn(64, 1176),
            image_grid_thw=torch.tensor([[1, 8, 8]]),
            mm_token_type_ids=(ids == model.config.image_token_id).int(),
        )
    counts = counter.get_flop_counts()["Global"]
    counted = sum(number for operation, number in counts.items() if "attention" not in str(operation))
    one = step_arithmetic.count(size, 112, 36, 0)
    attention = 4 * 64 * 64 * 192 * 4 + 4 * (36 * 37 / 2) * 256 * 4
    logits = 2 * 36 * 256 * size.vocabulary
    # Convolutions are counted, too; the rotary table's product is all that ours leaves out.
    assert one.vision + one.prompt - attention + logits == pytest.approx(counted, rel=1e-3)


def test_operations_of_a_step(work_module: Any) -> None:
    import random_policy
    import step_arithmetic

    size = random_policy.SIZES["tiny"]
    done = work_module.Done(2, 2, 96, 96, prompt_tokens=108, image_tokens=64)
    alone = work_module.Work("folder", image=224, prompts=2, k=1, tokens=96, threads=1, lora=False, micro=1)
    operations = step_arithmetic.step_operations(size, alone, done)
    one = step_arithmetic.count(size, 224, 108, 96)
    # One rollout shares its prompt with nobody.
    assert operations["trl"] - operations["ours"] == pytest.approx(2 * 5 * one.prompt_end)
    at_once = step_arithmetic.step_operations(size, replace(alone, micro=2), done)
    forward = one.vision + one.prompt - one.prompt_end + one.completion + one.logits
    assert operations["ours"] - at_once["ours"] == pytest.approx(2 * forward)
    eight = step_arithmetic.step_operations(size, replace(alone, k=8), done)
    assert eight["trl"] == 8 * operations["trl"]
    assert eight["ours"] - operations["ours"] == pytest.approx(2 * 5 * 7 * (one.completion + one.logits))
