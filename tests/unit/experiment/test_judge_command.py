import json
from pathlib import Path

import pytest
from benchmarks.judge_server import JudgeServer, made_up_reports

from orapo.chexpert import OBSERVATIONS
from orapo.experiment.judge_command import main


@pytest.fixture
def report(tmp_path: Path) -> Path:
    path = tmp_path / "report.txt"
    path.write_text("Small left pleural effusion. The heart is enlarged. No pneumothorax.")
    return path


def labels(folder: Path, content: object, name: str = "labels.json") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_one_report_with_the_offline_judge(capsys, report, tmp_path):
    truth = labels(tmp_path, {"Pleural Effusion": 1, "Edema": 1, "Fracture": None})
    code, out, _ = run(capsys, "report", "--report", report, "--labels", truth)
    assert code == 0
    # Effusion is found, cardiomegaly is false, edema is missed: P = R = 1/2.
    assert "reward 0.5000   precision 0.5000   recall 0.5000" in out
    assert "Small left pleural effusion" in out
    assert "read by offline" in out
    table = labels(tmp_path, "study_id,Pleural Effusion,Cardiomegaly\ns1,1,1\n", "labels.csv")
    assert "reward 1.0000" in run(capsys, "report", "--report", report, "--labels", table)[1]
    assert "No labels given: no reward." in run(capsys, "report", "--report", report)[1]


def test_no_word_of_a_report_steers_the_terminal(capsys, report):
    report.write_text("Small left pleural effusion. A canary\x1b[2J [red]perches[/red].")
    code, out, _ = run(capsys, "report", "--report", report)
    assert code == 0
    assert "\x1b" not in out
    assert r"canary\x1b[2J [red]perches[/red]" in out


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ({"Effusion": 1}, "l.json", "'Effusion' is no observation; allowed: "),
        ({"Edema": 7}, "l.json", "label code '7' is none of"),
        ("[1]", "l.json", "must map observations"),
        ("{", "l.json", "l.json: not JSON"),
        ("Edema\n1\n0\n", "l.csv", "has 2 rows; exactly one is needed"),
        ("a,b\n1,2\n", "l.csv", "names none of the 14 observations"),
    ],
)
def test_bad_labels_are_one_line(capsys, report, tmp_path, content, name, message):
    code, _, error = run(capsys, "report", "--report", report, "--labels", labels(tmp_path, content, name))
    assert code == 1
    assert message in error
    assert error.count("\n") == 1


def test_a_private_data_set_needs_leave_for_a_provider_elsewhere(capsys, report):
    overrides = ("reward=fact_score_llm", "data=mimic_cxr")
    code, _, error = run(capsys, "report", "--report", report, *overrides)
    assert code == 1
    assert error.startswith(
        "error: reward.allow_external is false, and reports written about patients' images would go"
    )


def test_a_language_model_beside_the_offline_judge(capsys, report, tmp_path):
    words = {observation.value: "unmentioned" for observation in OBSERVATIONS} | {"Pleural Effusion": "positive"}
    rows = [json.dumps({"generated_report": text, "oracle_states": words}) for text in made_up_reports(12, 3)]
    (tmp_path / "reports.jsonl").write_text("\n".join(rows) + "\n")
    with JudgeServer() as server:
        overrides = (
            "reward=fact_score_llm",
            "reward.model=openai/judge",
            f"reward.api_base={server.api_base}",
            f"reward.cache_path={tmp_path / 'cache.sqlite'}",
            "data=mimic_cxr",  # a server on this machine needs no leave
        )
        code, out, _ = run(capsys, "compare", "--reports", tmp_path / "reports.jsonl", "--num", 10, *overrides)
        assert code == 0
        # The server answers as the offline judge does.
        assert "10 reports: reward correlation 1.000" in out
        assert "agreement on zero or not 1.000" in out
        assert len(server.calls) == 20
        truth = labels(tmp_path, {"Pleural Effusion": 1, "Cardiomegaly": 1})
        code, out, _ = run(capsys, "report", "--report", report, "--labels", truth, *overrides)
        assert code == 0
        assert "reward 1.0000" in out
        assert "read by judge-1" in out
    code, _, error = run(capsys, "compare", "--reports", tmp_path / "reports.jsonl")
    assert code == 1
    assert "add reward=fact_score_llm" in error


@pytest.mark.slow
def test_an_estimate_counts_the_calls_of_the_whole_run(capsys):
    overrides = ("data.source.num_train=200", "data.subset.num_studies=64", "reward.prices=[2.0,8.0]")
    code, out, _ = run(capsys, "estimate", *overrides, "training.num_steps=10", "rollout.per_study=4")
    assert code == 0
    assert "640" in out
    assert "1,280" in out
    cost = float(out.split("cost")[1].split("about ")[1].split(" ")[0])
    code, out, _ = run(capsys, "estimate", *overrides, "training.num_steps=20", "rollout.per_study=4")
    assert float(out.split("cost")[1].split("about ")[1].split(" ")[0]) == pytest.approx(2 * cost, rel=0.01)
    code, out, _ = run(capsys, "estimate", *overrides, "training.num_steps=10", "reward.stages=combined")
    assert float(out.split("cost")[1].split("about ")[1].split(" ")[0]) < cost
    code, _, error = run(capsys, "estimate", "reward=fact_score")
    assert code == 1
    assert "costs nothing" in error


def test_a_key_that_there_is_not_names_the_right_one(capsys):
    code, _, error = run(capsys, "estimate", "rollout.K=4")
    assert code == 1
    assert error.startswith("error: rollout.K is not a setting (did you mean rollout.per_study?)")
