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
