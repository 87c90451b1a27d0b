"""``orapo watch``: what is shown of a run at work, of one that is writing a line, of private studies, until its end."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from tests.unit.comparison.run_folders import FakeRun, write_run

from orapo.comparison.run_folder import read_columns, read_run
from orapo.comparison.run_state import RunState
from orapo.comparison.watch import latest_row, newest_run, seconds_left, sparkline
from orapo.experiment.watch_command import main

ROLLOUT = {
    "step": 11,
    "study_id": "s7",
    "generated_report": "Canary effusion. No edema.",
    "reward": 0.5,
    "facts": [{"text": "Canary effusion", "start": 0, "end": 15}],
    "rejected": {"Word salad the": "no verb"},
    "verdicts": {"Pleural Effusion": {"judgement": "entailed", "supporting_facts": ["Canary effusion"]}},
    "true_positives": ["Pleural Effusion"],
    "false_positives": [],
    "false_negatives": ["Edema"],
}


@pytest.fixture
def running(tmp_path: Path) -> Path:
    """A run of 60 steps after 20, half a second each."""
    folder = write_run(tmp_path / "run", FakeRun({"data__is_private": False}, steps=20, state=RunState.RUNNING))
    header, *rows = (folder / "metrics.csv").read_text().splitlines()
    lines = [f"{header},kl,seconds_rollout,seconds_update", *(f"{row},0.01,0.3,0.2" for row in rows)]
    (folder / "metrics.csv").write_text("\n".join(lines) + "\n21,0.1")
    (folder / "rollouts.jsonl").write_text(json.dumps(ROLLOUT) + "\n" + '{"step": 21, "study')
    return folder


def test_a_run_at_work(running: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(running), "--once"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    for told in (
        "running step 20 of 60 about 0:00:20 of training left",
        "reward 0.138",
        "KL to the reference 0.01",
        "validation macro F1 0.05",
        "latest rollout: step 11, study s7, reward 0.500",
        "Canary effusion entailed: Pleural Effusion",
        "Word salad the refused: no verb",
        "✓ hit: Pleural Effusion ○ missed: Edema",
    ):
        assert told in out
    _, curves = read_columns(running / "metrics.csv", (), ("seconds_rollout", "seconds_update"))
    assert seconds_left(read_run(running), curves) == pytest.approx(40 * 0.5)


def test_what_is_odd_in_a_folder(running: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (running / "gone").symlink_to(running / "nowhere")
    text = (running / "config.yaml").read_text()
    (running / "config.yaml").write_text(text.replace("num_steps: 60", f"num_steps: {10**17}"))
    assert main([str(running.parent), "--once"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert f"step 20 of {10**17}" in out
    assert "left" not in out


@pytest.mark.parametrize("word", ["null", "0", "''", "[]"])
def test_data_are_private_unless_their_config_says_false(
    word: str, running: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (running / "config.yaml").read_text()
    (running / "config.yaml").write_text(text.replace("is_private: false", f"is_private: {word}"))
    assert main([str(running), "--once"]) == 0
    assert "Canary" not in capsys.readouterr().out


def test_the_first_stage_until_the_run_has_made_a_step(running: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = write_run(running.parent / "whole", FakeRun({"data__is_private": False}, steps=0, state=RunState.RUNNING))
    (whole / "metrics.csv").unlink(missing_ok=True)
    running.rename(whole / "first")
    assert main([str(whole), "--once"]) == 0
    assert "whole/first running step 20 of 60" in " ".join(capsys.readouterr().out.split())
    (whole / "metrics.csv").write_text((whole / "first/metrics.csv").read_text().replace("\n20,", "\n7,"))
    assert main([str(whole), "--once"]) == 0
    assert "/whole running step 7 of" in " ".join(capsys.readouterr().out.split())


def test_of_a_question_the_right_answer(running: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = {key: ROLLOUT[key] for key in ("step", "study_id", "reward", "generated_report")}
    told = {"question": "12+30=?", "oracle_report": "Answer: 42", "answer": "42", "terms": {}, "is_zero": True}
    (running / "rollouts.jsonl").write_text(json.dumps(row | told) + "\n")
    (running / "config.yaml").write_text((running / "config.yaml").read_text() + "reward: {terms: {answer: 1.0}}\n")
    (running / "validation.csv").write_text("step,accuracy,shuffled_accuracy\n10,0.625,\n")
    assert main([str(running)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    for part in ("validation accuracy 0.625", "12+30=? Canary effusion. No edema. right answer: 42"):
        assert part in out


def test_no_word_of_a_rollout_steers_the_terminal(running: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = json.dumps(ROLLOUT).replace("Canary", "Canary\\u001b[2J")
    (running / "rollouts.jsonl").write_text(odd + "\n")
    assert main([str(running)]) == 0
    out = capsys.readouterr().out
    assert r"\x1b[2J effusion" in out
    assert "\x1b[2J" not in out


@pytest.mark.parametrize("row", [{"a": 1}, {**ROLLOUT, "reward": None}, {**ROLLOUT, "facts": 3}])
def test_a_line_that_is_no_rollout_is_told(running: Path, capsys: pytest.CaptureFixture[str], row: object) -> None:
    (running / "rollouts.jsonl").write_text(json.dumps(row) + "\n")
    assert main([str(running)]) == 0
    assert "the last line of rollouts.jsonl is no rollout" in " ".join(capsys.readouterr().out.split())


def test_private_words_stay_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_run(tmp_path / "run", FakeRun({"data__is_private": True}, steps=20, state=RunState.RUNNING))
    (folder / "rollouts.jsonl").write_text(json.dumps(ROLLOUT) + "\n")
    assert main([str(folder)]) == 0
    assert "Canary" not in (out := capsys.readouterr().out)
    assert "--show-private shows it" in " ".join(out.split())
    assert main([str(folder), "--show-private"]) == 0
    assert "Canary" in capsys.readouterr().out


def test_the_run_that_wrote_last(tmp_path: Path) -> None:
    for place, name in enumerate(("new", "old")):
        folder = write_run(tmp_path / name, FakeRun(steps=3))
        for file in folder.iterdir():
            os.utime(file, (1e9 - place, 1e9 - place))
    assert newest_run(tmp_path) == tmp_path / "new"


def test_what_there_is_not_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 1
    assert "holds no run" in capsys.readouterr().err
    folder = write_run(tmp_path / "run", FakeRun(steps=3))
    (folder / "metrics.csv").write_text((folder / "metrics.csv").read_text().replace("1,0.1,", "1,much,"))
    assert main([str(folder)]) == 0
    assert "line 2" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main([str(folder), "--every", "0"])


def test_the_last_whole_row_of_a_long_file(tmp_path: Path) -> None:
    path = tmp_path / "rollouts.jsonl"
    assert latest_row(path) is None
    path.write_text("".join(json.dumps({"step": step, "pad": "x" * 1000}) + "\n" for step in range(1500)) + "{")
    row = latest_row(path)
    assert row is not None
    assert row["step"] == 1499


def test_a_curve_of_blocks() -> None:
    assert sparkline(np.arange(8.0)) == "▁▂▃▄▅▆▇█"
    assert sparkline(np.ones(3)) == "▁▁▁"
    assert len(sparkline(np.arange(500.0))) == 32


def test_a_run_that_does_not_say_whether_it_is_private_is(running: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (running / "config.yaml").write_text("seed: 1\n")
    assert main([str(running)]) == 0
    assert "Canary" not in capsys.readouterr().out
