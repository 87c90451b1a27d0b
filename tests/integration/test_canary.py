"""Keys, reports and patients' ids of private data, planted and then searched for in all that commands leave behind.

What may hold a radiologist's report is listed in ``REPORTS``: files of reports, which a command writes in order to give
them. No file may hold a key or a patient's id.
"""

import csv
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest
from benchmarks.judge_server import JudgeServer
from PIL import Image
from tests import forks
from tests.forks import Command

pytestmark = pytest.mark.slow

KEYS = {
    "OPENAI_API_KEY": "sk-canary-0011223344556677",
    "WANDB_API_KEY": "0badc0de" * 5,
    "HF_TOKEN": "hf_canary00112233445566",
    "ORAPO_JUDGE_KEY": "plaincanarykey998877",
}
PATIENT = "canarypatient"
SENTENCE = "A canary perches upon the sternum"
REPORTS = (
    "base_test_reports.jsonl",
    "test_reports.jsonl",
    "reports.jsonl",
    "reports_most_common_report.jsonl",
    "reports_shuffled_images.jsonl",
    "rollouts.jsonl",
    "rexrank_gt_reports.csv",
)
FINDINGS = ("No pleural effusion.", "Small left pleural effusion.", "Right pneumothorax.", "The heart is enlarged.")
SMALL = [
    "data=study_table",
    "data.subset.num_studies=8",
    "data.max_report_tokens=24",
    "rollout.max_new_tokens=8",
    "training.num_steps=2",
    "training.batch_size=4",
    "training.eval_batch_size=4",
    "training.validate_every_steps=2",
    "callbacks.rollouts_every_steps=1",
    "trainer.accelerator=cpu",
]
JUDGED = [
    "reward=fact_score_llm",
    "reward.model=openai/judge",
    "reward.identity=judge",
    "reward.api_key_variable=ORAPO_JUDGE_KEY",
    "reward.max_tries=2",
    "reward.timeout_seconds=3",
]


@pytest.fixture(scope="module")
def judge() -> Iterator[JudgeServer]:
    with JudgeServer(key=KEYS["ORAPO_JUDGE_KEY"], retry_after="0.05") as server:
        yield server


def write_studies(place: Path) -> list[str]:
    """Two dozen private studies of a dozen patients; the overrides that name them."""
    place.mkdir(parents=True)
    rows = []
    for number in range(24):
        image = f"{number}.png"
        Image.effect_noise((64, 64), 30 + number).save(place / image)
        split = ("train", "train", "validate", "test")[number % 4]
        report = f"{FINDINGS[number % 3]} {FINDINGS[3]} {SENTENCE} {number}."
        rows.append([f"s{number}", f"{PATIENT}{number % 12:03}", split, image, "PA", report])
    write_table(place / "studies.csv", rows)
    return [f"data.csv={place}/studies.csv", f"data.root={place}"]


def write_table(path: Path, rows: list[list[str]], header: bool = True) -> None:
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        if header:
            table.writerow(["study_id", "patient_id", "split", "image_path", "view", "report"])
        table.writerows(rows)


def found_in(place: Path, *left_out: Path) -> list[str]:
    """Which canary is in which file below a place, but for reports where they belong."""
    found = []
    for path in sorted(place.rglob("*")):
        if not path.is_file() or any(path.is_relative_to(each) for each in left_out):
            continue
        content = path.read_bytes().lower()
        canaries = [*KEYS.values(), PATIENT] + ([] if path.name in REPORTS else [SENTENCE])
        found += [f"{canary} in {path.relative_to(place)}" for canary in canaries if canary.lower().encode() in content]
    return found


class Place:
    """A folder in which commands run beside private data."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data = folder / "here", folder / "data"
        self.folder.mkdir()
        self.studies = write_studies(self.data)
        self._num_logs = 0

    def run(self, *arguments: str) -> Command:
        """A command whose output lies beside what it writes."""
        self._num_logs += 1
        with patch.dict(os.environ, {**KEYS, "WANDB_MODE": "offline"}):
            return forks.run(arguments, self.folder / f"output_{self._num_logs}.txt", self.folder)

    def assert_clean(self, *left_out: str) -> None:
        assert found_in(self.folder, *(self.folder / name for name in left_out)) == []


@pytest.fixture(scope="module")
def trained(judge: JudgeServer, tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("trained"))
    run = place.run(
        *("train", *SMALL, *place.studies, *JUDGED, f"reward.api_base={judge.api_base}", "logger=wandb"),
        *("hydra.run.dir=run", "paths.logs=logs", "reward.on_failure=offline_judge"),
    )
    assert run.wait() == 0, run.text()
    return place


def test_the_search_finds_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "reports.jsonl").write_text(f"{SENTENCE} 3.")
    assert found_in(tmp_path) == []
    (tmp_path / "train.log").write_text(f"study s3: {SENTENCE.upper()} 3.")
    (tmp_path / "state.json").write_text(json.dumps({"patient": f"{PATIENT}003", "key": KEYS["HF_TOKEN"]}))
    assert len(found_in(tmp_path)) == 3


def test_a_run_with_a_paid_judge_and_wandb(trained: Place) -> None:
    assert list((trained.folder / "run").rglob("*.wandb")), "W&B has written"
    assert SENTENCE.lower() in (trained.folder / "run" / "test_reports.jsonl").read_text().lower()
    trained.assert_clean()


def test_evaluations_comparisons_and_reports(trained: Place, judge: JudgeServer) -> None:
    folder, studies = trained.folder, trained.studies
    served = f"reward.api_base={judge.api_base}"
    evaluate = ("evaluate", "accelerator=cpu", "paths.evaluations=evaluations", "bootstrap.num_resamples=100")
    commands = [
        (*evaluate, "run=run", "export=rexrank", "name=of_run"),
        (*evaluate, "reports=run/test_reports.jsonl", "data=study_table", *studies, "name=of_file"),
        ("compare", "run", "evaluations", "--csv", "tables/all.csv", "--page", "page.html"),
        ("generate", "checkpoint=run", f"image={trained.data}/3.png", "out=report.json", "format=json"),
        ("judge", "compare", "--reports", "run/test_reports.jsonl", "--num", "2", *JUDGED, served),
        ("data", "check", "study_table", "--csv", f"{trained.data}/studies.csv", "--root", str(trained.data)),
    ]
    for arguments in commands:
        command = trained.run(*arguments)
        assert command.wait() == 0, (arguments, command.text())
    assert (folder / "page.html").exists()
    trained.assert_clean()


def test_a_sweep(trained: Place) -> None:
    command = trained.run("train", "-m", "seed=0,1", *SMALL, *trained.studies, "paths.sweeps=sweeps", "logger=wandb")
    assert command.wait() == 0, command.text()
    trained.assert_clean()


def test_keys_in_the_wrong_place(trained: Place) -> None:
    key = KEYS["OPENAI_API_KEY"]
    for wrong in (
        [f"reward.api_key_variable={key}"],
        [f"reward.api_key_variable={KEYS['ORAPO_JUDGE_KEY']}"],
        [f"+reward.api_key={key}"],
        [f"reward.model={key}"],
        [f"reward.api_base=http://user:{key}@127.0.0.1:9/v1"],
        [f"+note={key}"],
        ["-m", f"reward.api_key_variable={key},{key}"],
    ):
        command = trained.run("train", *SMALL, *trained.studies, *JUDGED, *wrong)
        assert command.wait() == 1, command.text()
        assert "error: " in command.text()
    trained.assert_clean()


def test_commands_that_fail_half_way(trained: Place, judge: JudgeServer) -> None:
    folder = trained.folder
    served = f"reward.api_base={judge.api_base}"
    broken = trained.data / "broken"
    shutil.copytree(trained.data, broken, ignore=shutil.ignore_patterns("broken"))
    for number in range(24):
        (broken / f"{number}.png").write_bytes((broken / f"{number}.png").read_bytes()[:900])
    of_broken = [f"data.csv={broken}/studies.csv", f"data.root={broken}"]
    rows = list(csv.reader((trained.data / "studies.csv").open()))
    write_table(trained.data / "headless.csv", rows[1:], header=False)
    write_table(trained.data / "twice.csv", [*rows[1:], [*rows[1][:5], f"{SENTENCE} again."]])
    (trained.data / "cut.csv").write_text((trained.data / "studies.csv").read_text()[:-9].rpartition(",")[0])
    shutil.copytree(folder / "run", folder / "damaged")
    (folder / "damaged" / "summary.json").write_text(f'{{"{SENTENCE}": ')
    (folder / "damaged" / "test_reports.jsonl").write_text(f'{{"oracle_report": "{SENTENCE}"')
    (trained.data / "bad.jsonl").write_text(f'{{"study_id": "s3", "report": "{SENTENCE}"\n')
    tables = [f"{trained.data}/{name}.csv" for name in ("headless", "twice", "cut")]
    root = trained.studies[1]
    status, judge.status = judge.status, 400
    commands = [
        ("train", *SMALL, *trained.studies, *JUDGED, served, "hydra.run.dir=refused", "reward.cache=off"),
        ("judge", "compare", "--reports", "run/test_reports.jsonl", *JUDGED, served, "reward.cache=off"),
        ("train", *SMALL, *of_broken, "hydra.run.dir=of_broken"),
        ("evaluate", "run=run", *of_broken, "accelerator=cpu"),
        ("generate", "checkpoint=run", f"image={broken}/3.png"),
        ("train", "-m", "seed=0", *SMALL, *of_broken, "paths.sweeps=broken_sweeps"),
        *(("train", *SMALL, f"data.csv={table}", root, "hydra.run.dir=of_table") for table in tables),
        *(("data", "check", "study_table", "--csv", table, "--root", str(trained.data)) for table in tables),
        ("evaluate", "data=study_table", *trained.studies, f"reports={trained.data}/bad.jsonl"),
        ("evaluate", "run=damaged", f"against={trained.data}/bad.jsonl", "accelerator=cpu"),
    ]
    for arguments in commands:
        command = trained.run(*arguments)
        assert command.wait() != 0, (arguments, command.text())
        assert "Traceback" not in command.text(), (arguments, command.text())
    judge.status = status
    assert trained.run("compare", "run", "damaged").wait() == 0
    trained.assert_clean("damaged")
