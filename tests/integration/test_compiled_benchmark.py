"""benchmarks/compiled.py: both sides run, and the file holds what the table says."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "compiled.py"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler to make kernels for a CPU")
def test_the_smallest_comparison(tmp_path: Path) -> None:
    path = tmp_path / "numbers.json"
    sizes = [
        "--size",
        "tiny",
        "--image",
        "56",
        "--prompts",
        "1",
        "--k",
        "2",
        "--tokens",
        "8",
        "--rounds",
        "1",
        "--lora",
    ]
    finished = subprocess.run(
        [sys.executable, str(SCRIPT), *sizes, "--json", str(path)], capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stderr
    numbers = json.loads(path.read_text())
    assert set(numbers) == {"reference", "update"}
    for taken in numbers.values():
        assert taken["ratio"] == pytest.approx(taken["plain"] / taken["compiled"])
        # Compiling takes longer by far than any pass of this size.
        assert taken["compiled_first"] > 5 * taken["plain"] > 0
    assert numbers["update"]["plain"] > numbers["reference"]["plain"]
