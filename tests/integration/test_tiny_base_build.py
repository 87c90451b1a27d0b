import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "tiny_base" / "build.py"


@pytest.mark.slow
@pytest.mark.parametrize("stage", [[], ["--sighted"]])
def test_the_build_script_writes_a_folder_that_loads(stage: list[str], tmp_path: Path):
    command = [sys.executable, str(SCRIPT), *stage, "--quick", "--threads", "1", "--out", str(tmp_path / "base")]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert finished.returncode == 0, finished.stderr[-2000:]
    assert "step 6/6" in finished.stdout
    assert "macro_f1: " in finished.stdout
    for name in ("config.json", "model.safetensors", "tokenizer.json", "preprocessor_config.json"):
        assert (tmp_path / "base" / name).is_file()
