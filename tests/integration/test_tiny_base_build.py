import json
import runpy
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "tiny_base"


def built(
    script: str, options: list[str], out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> str:
    """What the script prints, run in this process: imports take seconds."""
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setattr(sys, "argv", [script, *options, "--quick", "--out", str(out)])
    runpy.run_path(str(FOLDER / script), run_name="__main__")
    return capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("stage", [[], ["--sighted"], ["--followup"], ["--rich"], ["--sighted", "--width", "64"]])
def test_the_build_script_writes_a_folder_that_loads(
    stage: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = built("build.py", stage, tmp_path / "base", monkeypatch, capsys)
    assert "step 6/6" in told
    assert "macro_f1: " in told
    for name in ("config.json", "model.safetensors", "tokenizer.json", "preprocessor_config.json"):
        assert (tmp_path / "base" / name).is_file()
    width = int(stage[-1]) if "--width" in stage else 128
    config = json.loads((tmp_path / "base" / "config.json").read_text())
    assert (config["text_config"]["hidden_size"], config["vision_config"]["hidden_size"]) == (width, width)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--width", "64"], "--width 64 goes with --out DIR and neither --followup nor --rich"),
        (
            ["--width", "64", "--followup", "--out", "base"],
            "--width 64 goes with --out DIR and neither --followup nor --rich",
        ),
        (["--width", "100", "--out", "base"], "invalid choice: 100 (choose from 64, 128, 192"),
    ],
)
def test_a_width_without_a_place_or_out_of_range_is_refused(
    options: list[str], told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setattr(sys, "argv", ["build.py", *options])
    with pytest.raises(SystemExit):
        runpy.run_path(str(FOLDER / "build.py"), run_name="__main__")
    assert told in capsys.readouterr().err


@pytest.mark.slow
def test_the_arithmetic_build_script_writes_a_folder_that_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = built("arithmetic.py", [], tmp_path / "base", monkeypatch, capsys)
    assert "6 numbers: greedy 0.00" in told
    assert (tmp_path / "base" / "model.safetensors").is_file()
