"""``orapo data rank`` on phantoms, stopped and continued, and a run that trains on what it found hardest."""

import csv
import json
from pathlib import Path

import pytest
from tests import forks

import orapo
from orapo.experiment.rank_command import main

pytestmark = pytest.mark.slow

SETTINGS = [
    "data.source.num_train=40",
    "data.source.num_validate=2",
    "data.source.num_test=2",
    "rollout.per_study=4",
    "rollout.max_new_tokens=16",
    "data.max_report_tokens=16",
    "training.eval_batch_size=3",
    "trainer.accelerator=cpu",
]


@pytest.mark.parametrize(("out", "told"), [("/proc/rank.csv", "out is '/proc'"), ("none/x.csv", "no folder")])
def test_a_target_that_cannot_be_is_one_line(out: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out", out, *SETTINGS]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert told in line


@pytest.mark.parametrize("number", ["0", "-1", str(10**20)])
def test_a_count_out_of_range_is_refused(number: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--out", "rank.csv", "--num", number, *SETTINGS])


def test_a_ranking_is_continued_and_trained_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "rank.csv"
    command = ["--out", str(table), "--num", "7", *SETTINGS]
    assert main(command) == 0
    whole = table.read_bytes()
    rows = list(csv.DictReader(whole.decode().splitlines()))
    assert len({row["study_id"] for row in rows}) == 7
    rates = {row["study_id"]: float(row["zero_reward_rate"]) for row in rows}
    assert {rate * 4 % 1 for rate in rates.values()} == {0.0}
    assert {(row["num_reports"], row["model"]) for row in rows} == {("4", "tiny")}
    assert str(Path(orapo.__file__).parent) not in (tmp_path / "rank.csv.json").read_text()

    # Killed after a line and a half of the third batch: the table comes out the same.
    table.write_bytes(whole[: whole.rindex(b"phantom-train") + 9])
    assert main(command) == 0
    assert table.read_bytes() == whole
    assert main(command) == 0
    assert table.read_bytes() == whole, "nothing is ranked twice"
    for setting, message in (
        ("rollout.temperature=0.5", "was made with temperature 1.0, now it is 0.5"),
        ("rollout.greedy=true", "was made with greedy False, now it is True"),
        ("model.min_pixels=100352", "was made with min_pixels None, now it is 100352"),
        ("prompt.context=[indication]", "was made with context [], now it is ['indication']"),
        ("+reward.term_settings.no_repetition.num_words=3", "now it is {"),
        ("reward.modules=[json]", "now it is {"),
    ):
        assert main([*command, setting]) == 1
        assert message in capsys.readouterr().err
    assert table.read_bytes() == whole

    run = tmp_path / "logs"
    hard = ["data.subset.rule=hard", f"data.subset.ranking={table}", "data.subset.num_studies=3"]
    short = ["training.num_steps=1", "training.batch_size=2", f"paths.logs={run}", "logger=files"]
    trained = forks.run(["train", *SETTINGS, *hard, *short], tmp_path / "log", tmp_path)
    assert trained.wait() == 0, trained.text()
    (manifest,) = run.rglob("subset.json")
    content = json.loads(manifest.read_text())
    hardest = sorted(rates.values(), reverse=True)[:3]
    assert [rates[study_id] for study_id in content["study_ids"]] == hardest
    assert content["reasons"].keys() == set(content["study_ids"])
    assert all(reason.startswith("zero-reward rate") for reason in content["reasons"].values())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "/nowhere/rank.csv"], "there is no folder /nowhere"),
        (["--out", "rank.csv", "data.subset.rule=hardest"], "data.subset.rule is 'hardest'"),
    ],
)
def test_mistakes_are_told_in_a_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*arguments, *SETTINGS]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())
