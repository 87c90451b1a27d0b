"""evaluate.py from the command line: runs, checkpoints, adapters, files of reports, an API, and what is refused."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests import forks
from tests.configs import ROOT, composed

from orapo.data.phantoms.source import PhantomSource
from orapo.experiment.evaluate_command import main
from orapo.experiment.run import train
from orapo.records import Split

PHANTOMS = ["data.source.num_train=60", "data.source.num_validate=4", "data.source.num_test=6"]
SMALL = [*PHANTOMS, "data.subset.num_studies=12", "data.max_report_tokens=24"]
FAST = ["bootstrap.num_resamples=100", "accelerator=cpu"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the embedded policy, two steps long."""
    folder = tmp_path_factory.mktemp("run")
    train_in(folder, "training.eval_batch_size=4", "training.learning_rate=0.002")
    return folder


def train_in(folder: Path, *overrides: str) -> None:
    short = ["training.num_steps=2", "training.batch_size=4", "trainer.accelerator=cpu"]
    config = composed(*SMALL, *short, "training.validate_every_steps=null", *overrides)
    train(config, folder)


Evaluate = Callable[..., dict[str, Any]]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs the command in this process (imports cost seconds)."""
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)

    def call(*arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", ["evaluate.py", *arguments, f"paths.evaluations={tmp_path}/evaluations"])
        main()

    return call


@pytest.fixture
def evaluated(command: Callable[..., None], tmp_path: Path) -> Evaluate:
    """Runs the command and reads the newest evaluation.json."""

    def evaluate(*arguments: str, inside: Path = tmp_path / "evaluations") -> dict[str, Any]:
        command(*FAST, *arguments)
        newest = max((file.parent for file in inside.rglob("evaluation.json")), key=lambda folder: folder.name)
        content: dict[str, Any] = json.loads((newest / "evaluation.json").read_text())
        return {**content, "folder": newest}

    return evaluate


@pytest.fixture
def refused(command: Callable[..., None], capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Gives the one line on standard error."""

    def refuse(*arguments: str, code: int = 1) -> str:
        with pytest.raises(SystemExit) as stop:
            command(*arguments)
        assert stop.value.code == code
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        assert "overrides" not in err, "Hydra's own line"
        told = [line for line in err.splitlines() if line.startswith(("error: ", "paused: "))]
        assert len(told) == 1, err
        return told[0]

    return refuse


def measure(content: dict[str, Any], name: str, system: str = "system") -> float:
    value: float = content["scores"][system]["measures"][name]["value"]
    return value


def summary_values(scores: dict[str, Any]) -> dict[str, float]:
    """The scores of summary.json under the evaluation's names."""
    clinical, text = scores["clinical"], scores["text"]
    reading = "uncertain_not_positive"
    found = {
        f"{reading}/all_14/{average}/{ratio}": clinical[average][ratio]
        for average in ("macro", "micro")
        for ratio in ("precision", "recall", "f1")
    }
    for observation, single in clinical["per_observation"].items():
        found |= {f"{reading}/{observation}/{ratio}": single[ratio] for ratio in ("precision", "recall", "f1")}
    return found | {name: text[name] for name in ("rouge_l", "bleu_4", "mean_words", "empty_report_fraction")}


def check_against_summary(content: dict[str, Any], run: Path) -> None:
    summary = json.loads((run / "summary.json").read_text())
    for system, part in (("system", "trained"), ("shuffled_images", "shuffled_images")):
        expected = summary_values(summary[part])
        assert {name: measure(content, name, system) for name in expected} == expected, system
    floor = summary["always_positive"]["macro"]["f1"]
    assert measure(content, "uncertain_not_positive/all_14/macro/f1", "always_positive") == floor


@pytest.mark.slow
def test_a_run_scores_what_its_own_test_said(run: Path, evaluated: Evaluate) -> None:
    content = evaluated(f"run={run}", inside=run)
    assert content["folder"].parent == run / "evaluation"
    check_against_summary(content, run)
    own = (content["folder"] / "reports.jsonl").read_text()
    assert own == (run / "test_reports.jsonl").read_text()
    assert content["data"]["num_training_studies"] == 12
    assert content["data"]["digest"] == json.loads((run / "subset.json").read_text())["source_digest"]
    assert content["data"]["num_patients_shared_with_training"] == 0
    assert content["settings"]["eval_batch_size"] == 4, "the run's own setting"


@pytest.mark.slow
def test_the_command_line_stands_above_the_run(run: Path, evaluated: Evaluate) -> None:
    changes = ["data.max_test_studies=3", "eval_batch_size=2", "shuffled_images=false"]
    content = evaluated(f"run={run}", *changes, inside=run)
    assert content["data"]["num_studies"] == 3
    assert content["settings"]["eval_batch_size"] == 2
    assert content["scores"]["shuffled_images"]["not_computed"] == "shuffled_images=false"


@pytest.mark.slow
def test_everything_is_written(evaluated: Evaluate, run: Path) -> None:
    content = evaluated(*SMALL, "--export", "radeval", f"against={run}")
    folder: Path = content["folder"]
    assert folder.parent.name == content["name"] == "tiny"
    rows = [json.loads(line) for line in (folder / "reports.jsonl").read_text().splitlines()]
    exported = json.loads((folder / "radeval.json").read_text())
    assert exported["study_ids"] == [row["study_id"] for row in rows]
    assert exported["references"] == [row["oracle_report"] for row in rows]
    assert exported["hypotheses"] == [row["generated_report"] for row in rows]
    assert set(content["scores"]) == {
        "system",
        "shuffled_images",
        "always_positive",
        "label_frequencies",
        "most_common_report",
        "against",
    }
    with (folder / "table.csv").open() as file:
        table = list(csv.DictReader(file))
    name = "uncertain_positive/competition_5/example/f1"
    (cell,) = [row for row in table if (row["system"], row["measure"]) == ("system", name)]
    assert float(cell["value"]) == measure(content, name)
    text = (folder / "table.txt").read_text()
    for told in ("shuffled images", "always positive", "label frequencies", "most common report", "CIDEr-D", "Edema"):
        assert told in text
    assert "…" not in text, "no number is cut off"
    assert max(map(len, text.splitlines())) <= 124
    own, other = measure(content, "rouge_l"), measure(content, "rouge_l", "against")
    difference = content["against"]["differences"]["rouge_l"]
    assert difference["value"] == pytest.approx(own - other)
    assert 0 < difference["p_value"] <= 1
    assert content["scores"]["system"]["measures"]["seconds_per_image"]["value"] > 0
    assert content["packages"]["torch"]
    assert content["bootstrap"] == {"num_resamples": 100, "seed": 0, "confidence": 0.95}


def reports_file(folder: Path, ending: str, skip: int = 0) -> Path:
    source = PhantomSource(num_train=60, num_validate=4, num_test=6)
    studies = list(source.studies(Split.TEST))[skip:]
    path = folder / f"reports{ending}"
    if ending == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["study_id", "report"])
            writer.writerows([study.study_id, study.oracle_report] for study in studies)
    else:
        rows = [{"study_id": study.study_id, "report": study.oracle_report} for study in studies]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("ending", [".csv", ".jsonl"])
def test_the_oracle_reports_as_a_file_score_one(ending: str, tmp_path: Path, evaluated: Evaluate) -> None:
    content = evaluated(*SMALL, f"reports={reports_file(tmp_path, ending)}")
    assert measure(content, "uncertain_not_positive/all_14/micro/f1") == 1
    assert measure(content, "rouge_l") == measure(content, "chrf") == pytest.approx(1)
    assert content["scores"]["shuffled_images"]["not_computed"] == "a file of reports has no images to shuffle"
    assert "seconds_per_image" not in content["scores"]["system"]["measures"]
    assert "a file of reports has no images to shuffle" in (content["folder"] / "table.txt").read_text()


def test_the_page_of_cases_hides_what_is_private(tmp_path: Path, evaluated: Evaluate) -> None:
    file = reports_file(tmp_path, ".csv")
    own = [*SMALL, f"reports={file}", "--page"]
    pages = [
        (evaluated(*own, *more)["folder"] / "cases.html").read_text()
        for more in ([], ["data.is_private=true"], ["data.is_private=true", "--show-private"])
    ]
    report = file.read_text().splitlines()[1].split(",")[1].strip('"').split(".")[0]
    assert [report in page for page in pages] == [True, False, True]
    assert ['"images":["' in page for page in pages] == [True, False, True]
    assert ["phantom-test-" in page for page in pages] == [True, False, True]


def test_a_missing_report_is_refused_or_counts_as_empty(tmp_path: Path, evaluated: Evaluate, refused: Any) -> None:
    file = reports_file(tmp_path, ".csv", skip=2)
    told = refused(*SMALL, *FAST, f"reports={file}")
    assert "no report for 2 of 6 test studies" in told
    assert not (tmp_path / "evaluations").exists(), "nothing is written before everything is scored"
    content = evaluated(*SMALL, f"reports={file}", "missing_reports=empty")
    assert content["scores"]["system"]["counts"]["missing_reports"] == 2
    assert measure(content, "empty_report_fraction") == pytest.approx(2 / 6)


@pytest.mark.slow
def test_an_adapter_on_its_base_scores_what_its_run_said(
    random_model_folder: Path, tmp_path: Path, evaluated: Evaluate, refused: Any
) -> None:
    folder = tmp_path / "adapter_run"
    folder.mkdir()
    train_in(
        folder,
        "model=qwen2_5_vl_3b",
        f"model.path={random_model_folder}",
        "model.dtype=float32",
        "model.lora.rank=2",
        "training.learning_rate=0.05",
        "training.num_workers=0",
        "training.eval_batch_size=4",
        "rollout.per_study=2",
    )
    content = evaluated(f"run={folder}", inside=folder)
    assert content["system"]["is_adapter"]
    check_against_summary(content, folder)
    trained = (folder / "test_reports.jsonl").read_text()
    assert (content["folder"] / "reports.jsonl").read_text() == trained
    assert trained != (folder / "base_test_reports.jsonl").read_text(), "the adapter must matter"
    # The same folder as a bare checkpoint: with the base that it names, and with one given.
    settings = ["model=qwen2_5_vl_3b", "model.dtype=float32", "eval_batch_size=4"]
    same = evaluated(*SMALL, *settings, f"checkpoint={folder / 'model'}", f"base={random_model_folder}")
    assert (same["folder"] / "reports.jsonl").read_text() == trained
    assert same["system"]["is_adapter"]
    told = refused(*SMALL, *settings, f"checkpoint={folder / 'model'}", f"base={tmp_path}/none")
    assert "base of the adapter" in told
    assert "give it as base=FOLDER" in told
    assert "leave out base" in refused(*SMALL, f"checkpoint={random_model_folder}", f"base={random_model_folder}")


@pytest.mark.slow
def test_an_api_model_with_controls_and_against(tmp_path: Path, evaluated: Evaluate, refused: Any) -> None:
    from tests.unit.experiment.test_api_policy import ReportServer

    with ReportServer(lambda number, body: (200, "The heart is enlarged.", "stop")) as server:
        api = ["system=api", "system.model=openai/drawer", f"system.api_base={server.api_base}", "system.prices=[1,2]"]
        content = evaluated(*SMALL, *api, f"--against={reports_file(tmp_path, '.csv')}")
        assert len(server.bodies) == 6
        assert content["name"] == "openai_drawer"
        assert measure(content, "uncertain_not_positive/Cardiomegaly/recall") == 1
        assert measure(content, "cost_usd_per_image") == pytest.approx(0.0011)
        assert (
            content["scores"]["shuffled_images"]["measures"]["rouge_1"]
            == content["scores"]["system"]["measures"]["rouge_1"]
        ), "this model doesn't look"
        assert content["against"]["differences"]["rouge_1"]["value"] < 0
        told = refused(*SMALL, *api, "data.is_private=true", "system.api_base=null")
    assert "system.allow_external is false" in told
    assert len(server.bodies) == 6


@pytest.mark.slow
def test_a_paid_answer_that_no_file_can_hold_is_kept_and_not_asked_for_again(tmp_path: Path) -> None:
    """Half of a surrogate pair, from a server that cuts text between two bytes of a character."""
    from tests.unit.experiment.test_api_policy import ReportServer

    with ReportServer(
        lambda number, body: (200, "The heart is \ud83d enlarged." if number == 2 else "Clear.", "stop")
    ) as server:
        api = ["system=api", "system.model=openai/drawer", f"system.api_base={server.api_base}", "system.prices=[1,2]"]
        for name in ("one", "two"):
            paths = [f"paths.api_reports={tmp_path}/api.sqlite", f"paths.evaluations={tmp_path}", f"name={name}"]
            run = forks.run(["evaluate", *SMALL, *FAST, *api, *paths], tmp_path / "log", tmp_path)
            assert run.wait() == 0, run.text()
            assert len(server.bodies) == 6, "the second run asks nothing"
    one, two = (json.loads(path.read_text()) for path in sorted(tmp_path.rglob("evaluation.json")))
    assert measure(one, "rouge_1") > 0
    assert one["scores"]["system"]["measures"] == two["scores"]["system"]["measures"]
    reports = [path.read_text() for path in sorted(tmp_path.rglob("reports.jsonl"))]
    assert "The heart is \ufffd enlarged." in reports[0]
    assert reports[0] == reports[1]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run=nowhere"], "nowhere/config.yaml does not exist"),
        (["reports=absent.csv"], "there is no table"),
        (["eval_batchsize=3"], "eval_batchsize"),
        (["precision=half"], "precision is 'half'; it must be one of 32-true, bf16-mixed"),
        *(
            pytest.param(*row, marks=pytest.mark.slow)
            for row in [
                (["checkpoint=nowhere"], "'nowhere' does not exist"),
                (["checkpoint=tiny", "reports=a.csv"], "checkpoint and reports are given"),
                (["reports=absent.jsonl"], "absent.jsonl can't be read"),
                (["reports=absent.txt"], "must end in .csv or .jsonl"),
                (["against=nowhere"], "against=nowhere is no file of reports"),
                (
                    ["export=pdf"],
                    "export is 'pdf'; it must be one of radeval, rexrank, cxr_report_metric, crimson, or null",
                ),
                (["bootstrap.num_resamples=10"], "bootstrap.num_resamples is 10"),
                (["bootstrap.confidence=2"], "bootstrap.confidence is 2"),
                (["data.max_test_studies=0"], "data.max_test_studies is 0"),
                (["system=api"], "system.model must be given"),
            ]
        ),
    ],
)
def test_what_is_wrong_is_one_line(arguments: list[str], told: str, refused: Any) -> None:
    assert told in refused(*SMALL, *arguments)


@pytest.mark.slow
def test_help_and_bad_settings_come_before_heavy_imports(tmp_path: Path) -> None:
    script = (
        "import sys; sys.argv = ['evaluate.py', 'seed=-1'];"
        f"sys.path.insert(0, {str(ROOT)!r});"
        "import runpy\n"
        f"try: runpy.run_path({str(ROOT / 'evaluate.py')!r}, run_name='__main__')\n"
        "except SystemExit as stop: print('exit', stop.code)\n"
        "print('heavy', sorted({'torch', 'transformers', 'lightning', 'torchmetrics', 'litellm'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert "exit 1" in result.stdout, result.stderr
    assert "heavy []" in result.stdout
    assert not list(tmp_path.iterdir()), "nothing is left behind"


@pytest.mark.slow
def test_the_gold_test_set_without_reports(run: Path, tmp_path: Path, evaluated: Evaluate, refused: Any) -> None:
    from tests.unit.data.chexpert_folder import ChexpertFolder

    paths = [f"test/patient6474{number}/study1/view1_frontal.jpg" for number in range(3)]
    folder = ChexpertFolder(tmp_path)
    folder.write_gold([{"Path": path, "Edema": "1.0"} for path in paths], "CheXpert/test_labels.csv")
    folder.write_images(paths, "CheXpert", ".jpg")
    gold = ["data=chexpert_gold", f"data.root={tmp_path}", "data.source.part=test"]
    alone = evaluated(*gold)
    assert alone["data"]["num_with_report"] == 0
    assert "rouge_l" not in alone["scores"]["system"]["measures"]
    assert alone["scores"]["system"]["measures"]["mean_words"]["value"] > 0
    assert measure(alone, "uncertain_not_positive/Edema/recall", "always_positive") == 1
    for control in ("label_frequencies", "most_common_report"):
        assert alone["scores"][control]["not_computed"] == "chexpert_gold has no training studies"
    assert "0 of 3 studies have a report" in (alone["folder"] / "table.txt").read_text()
    # A run brings the studies that it trained on.
    with_run = evaluated(f"run={run}", *gold, inside=run)
    assert with_run["data"]["num_training_studies"] == 12
    assert set(with_run["scores"]["most_common_report"]["measures"]) >= {"mean_words"}
    assert "export=radeval: none of the 3 studies" in refused(*gold, *FAST, "export=radeval", "shuffled_images=false")


def test_a_table_of_ones_own(random_model_folder: Path, tmp_path: Path, evaluated: Evaluate) -> None:
    source = PhantomSource(num_train=4, num_validate=2, num_test=4)
    with (tmp_path / "studies.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["study_id", "patient_id", "image_path", "view", "report", "split"])
        for split in (Split.TRAIN, Split.TEST):
            for study in source.studies(split):
                source.load_images(study)[0].save(tmp_path / f"{study.study_id.replace('/', '_')}.png")
                image = f"{study.study_id.replace('/', '_')}.png"
                writer.writerow([study.study_id, study.patient_id, image, "PA", study.oracle_report, split.value])
    own = ["data=study_table", f"data.csv={tmp_path / 'studies.csv'}", f"data.root={tmp_path}"]
    model = ["model=checkpoint", f"model.path={random_model_folder}", "precision=32-true", "num_workers=0"]
    content = evaluated(*own, *model, "max_new_tokens=8", "name=mine")
    assert content["folder"].parent == tmp_path / "evaluations" / "mine"
    assert (content["data"]["num_studies"], content["data"]["num_training_studies"]) == (4, 4)
    assert content["system"]["path"] == str(random_model_folder)
    assert content["scores"]["system"]["counts"]["cut_off_reports"] == 4
