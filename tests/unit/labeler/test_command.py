import csv
import gzip
import io
import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.unit.labeler.conftest import Run

from orapo.chexpert import OBSERVATIONS, LabelState, Observation, label_state_from_code
from orapo.labeler import Labeler, row_labels

TEXTS = {
    "s1": "No pneumothorax.\nSmall left pleural effusion.",
    "s2": "Possible pneumonia, otherwise clear.",
    "s3": "The heart is enlarged. Endotracheal tube in place.",
    "s4": "Clear lungs.",
}
HEADER = ["study_id", *(str(observation) for observation in OBSERVATIONS)]


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    path = tmp_path / "reports.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["study_id", "report"], *TEXTS.items()])
    return path


def expected_rows(mode: str = "none") -> list[dict[str, str]]:
    code = {LabelState.POSITIVE: "1", LabelState.NEGATIVE: "0", LabelState.UNCERTAIN: "-1", LabelState.UNMENTIONED: ""}
    labeler = Labeler(mode)
    return [
        {"study_id": study_id, **{str(o): code[s] for o, s in labeler.label(text).states.items()}}
        for study_id, text in TEXTS.items()
    ]


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_labels_are_written_in_the_original_order(reports: Path, tmp_path: Path, run: Run) -> None:
    code, err = run(reports, tmp_path / "labels.csv")
    assert code == 0
    assert err.startswith("4 reports labelled, 0 bad rows, ")
    assert len(err.splitlines()) == 1
    text = (tmp_path / "labels.csv").read_text()
    assert text.splitlines()[0] == ",".join(HEADER)
    assert rows_of(text) == expected_rows()
    by_hand = {"Pneumothorax": "0", "Pleural Effusion": "1", "No Finding": "", "Edema": ""}
    assert by_hand.items() <= rows_of(text)[0].items()
    assert {path.name for path in tmp_path.iterdir()} == {"reports.csv", "labels.csv"}


def test_every_code_is_read_back(reports: Path, tmp_path: Path, run: Run) -> None:
    run(reports, tmp_path / "labels.csv")
    row = rows_of((tmp_path / "labels.csv").read_text())[1]
    assert label_state_from_code(row["Pneumonia"]) is LabelState.UNCERTAIN
    assert label_state_from_code(row["Fracture"]) is LabelState.UNMENTIONED


def test_all_formats_hold_the_same(reports: Path, tmp_path: Path, run: Run) -> None:
    for name in ("labels.csv", "labels.csv.gz", "labels.parquet"):
        assert run(reports, tmp_path / name)[0] == 0
    assert gzip.decompress((tmp_path / "labels.csv.gz").read_bytes()) == (tmp_path / "labels.csv").read_bytes()
    table = pq.read_table(tmp_path / "labels.parquet")
    assert table.column_names == HEADER
    numbers = {"1": 1.0, "0": 0.0, "-1": -1.0, "": None}
    assert table.to_pylist() == [
        {name: cell if name == "study_id" else numbers[cell] for name, cell in row.items()} for row in expected_rows()
    ]


def test_a_parquet_table_of_labels_from_parquet_keeps_integer_ids(tmp_path: Path, run: Run) -> None:
    import pyarrow as pa

    number = 20_000
    pq.write_table(pa.table({"study_id": range(number), "report": ["No edema."] * number}), tmp_path / "in.parquet")
    assert run(tmp_path / "in.parquet", tmp_path / "out.parquet")[0] == 0
    table = pq.read_table(tmp_path / "out.parquet")
    assert table["study_id"].to_pylist() == list(range(number))
    assert set(table["Edema"].to_pylist()) == {0.0}
    run(tmp_path / "in.parquet", tmp_path / "out.csv")
    assert len((tmp_path / "out.csv").read_text().splitlines()) == number + 1


def test_other_columns_and_quirks(reports: Path, tmp_path: Path, run: Run) -> None:
    other = tmp_path / "other.csv"
    other.write_text(reports.read_text().replace("study_id,report", "key,impression"))
    labels = tmp_path / "labels.csv"
    assert run(other, labels, "--column", "impression", "--quirks", "original")[0] == 0
    assert [row["row"] for row in rows_of(labels.read_text())] == ["1", "2", "3", "4"]
    assert run(other, labels, "--column", "impression", "--id", "key", "--quirks", "original")[0] == 0
    assert labels.read_text().startswith("key,No Finding,")
    assert [list(row.values()) for row in rows_of(labels.read_text())] == [
        list(row.values()) for row in expected_rows("original")
    ]


def test_evidence_names_words_and_cues(reports: Path, tmp_path: Path, run: Run) -> None:
    assert run(reports, tmp_path / "labels.csv", "--evidence", tmp_path / "evidence.jsonl")[0] == 0
    lines = [json.loads(line) for line in (tmp_path / "evidence.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == list(TEXTS)
    assert lines[0]["mentions"][0] == {
        "observation": "Pneumothorax",
        "state": "negative",
        "sentence": "no pneumothorax",
        "matched": "pneumothorax",
        "cue": "no",
        "start": 3,
        "end": 15,
        "attributes": {"certainty": "denied"},
    }
    assert lines[0]["mentions"][1]["attributes"] == {"certainty": "certain", "side": "left", "severity": "mild"}
    assert lines[3]["mentions"] == []
    assert run(reports, tmp_path / "labels.csv", "--evidence", tmp_path / "evidence.jsonl.gz")[0] == 0
    assert gzip.decompress((tmp_path / "evidence.jsonl.gz").read_bytes()) == (tmp_path / "evidence.jsonl").read_bytes()


def test_bad_rows_are_told_counted_and_left_out(tmp_path: Path, run: Run) -> None:
    reports = tmp_path / "reports.csv"
    lines = ["study_id,report", "s0,No edema.", "s1,", *["s2,Large effusion,x"] * 30, "s3,Clear lungs."]
    reports.write_text("\n".join(lines))
    code, err = run(reports, tmp_path / "labels.csv")
    assert code == 2
    told = err.splitlines()
    assert told[0] == f"{reports} line 3: the report is blank; not labelled"
    assert told[1] == f"{reports} line 4: 3 cells where the header has 2; not labelled"
    assert len(told) == 22
    assert told[20] == "and 11 more bad rows: 11 times 3 cells where the header has 2"
    assert told[21].startswith("2 reports labelled, 31 bad rows, ")
    assert "ffusion" not in err
    assert [row["study_id"] for row in rows_of((tmp_path / "labels.csv").read_text())] == ["s0", "s3"]


def test_only_bad_rows_leave_a_header(tmp_path: Path, run: Run) -> None:
    (tmp_path / "reports.csv").write_text("study_id,report\ns1,\n")
    assert run(tmp_path / "reports.csv", tmp_path / "labels.csv")[0] == 2
    assert (tmp_path / "labels.csv").read_text() == ",".join(HEADER) + "\n"


def test_a_fault_of_the_labeler_is_a_bad_row(
    reports: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    label = Labeler.label

    def fail_on_pneumonia(self: Labeler, text: str) -> object:
        if "pneumonia" in text:
            raise ValueError(text)
        return label(self, text)

    monkeypatch.setattr(row_labels.Labeler, "label", fail_on_pneumonia)
    code, err = run(reports, tmp_path / "labels.csv")
    assert code == 2
    assert f"{reports} line 4: the labeler failed (ValueError)" in err
    assert "pneumonia" not in err
    assert [row["study_id"] for row in rows_of((tmp_path / "labels.csv").read_text())] == ["s1", "s3", "s4"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "two files are needed"),
        (["reports.csv"], "two files are needed"),
        (["reports.tsv", "labels.csv"], "reports.tsv ends in '.tsv'; allowed: .csv, .csv.gz, .parquet"),
        (["reports.csv", "labels.xlsx"], "labels.xlsx ends in '.xlsx'; allowed: .csv, .csv.gz, .parquet"),
        (["none.csv", "labels.csv"], "there is no file none.csv"),
        (["reports.csv", "none/labels.csv"], "there is no folder none"),
        (["reports.csv", "reports.csv"], "written over"),
        (["reports.csv", "link.csv"], "written over"),
        (["reports.csv", "folder.csv"], "is a folder"),
        (["reports.csv", "labels.csv", "--evidence", "evidence.txt"], ".jsonl, .jsonl.gz"),
        (["reports.csv", "labels.csv", "--column", "text"], "no column 'text'; it has study_id, report"),
        (["reports.csv", "labels.csv", "--id", "key"], "no column 'key'; it has study_id, report"),
        (["reports.csv", "labels.csv", "--workers", "-1"], "--workers is -1; allowed: 0"),
        (["reports.csv", "labels.csv", "--workers", "257"], "--workers is 257; allowed: 0"),
        (["reports.csv", "labels.csv", "--workers", "two"], "invalid int value: 'two'"),
        (["reports.csv", "labels.csv", "--quirks", "some"], "invalid choice: 'some'"),
        (["reports.csv", "labels.csv", "--wrokers", "2"], "unrecognized arguments: --wrokers 2"),
        (["hollow.csv", "labels.csv"], "hollow.csv has no rows"),
        (["named.csv", "labels.csv", "--id", "Edema"], "'Edema' like an observation"),
    ],
)
def test_what_cannot_run_is_one_line_and_writes_nothing(
    arguments: list[str], told: str, reports: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.csv").symlink_to(reports)
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "hollow.csv").write_text("study_id,report\n")
    (tmp_path / "named.csv").write_text("Edema,report\n1,Clear.\n")
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    code, err = run(*arguments)
    assert code == 1
    assert err.startswith("error: ")
    assert told in err
    assert len(err.splitlines()) == 1
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_an_error_half_way_keeps_the_older_labels(tmp_path: Path, run: Run) -> None:
    (tmp_path / "reports.csv").write_text("study_id,report\n" + "a,Clear.\n" * 2000 + 'b,"Clear.\n')
    (tmp_path / "labels.csv").write_text("older")
    code, err = run(tmp_path / "reports.csv", tmp_path / "labels.csv")
    assert code == 1
    assert "line 2002: a quote is missing" in err
    assert (tmp_path / "labels.csv").read_text() == "older"
    assert {path.name for path in tmp_path.iterdir()} == {"reports.csv", "labels.csv"}


def test_the_command_starts_without_anything_heavy(reports: Path, tmp_path: Path) -> None:
    script = (
        "import sys, runpy; sys.argv = ['labeler', *sys.argv[1:]]\n"
        "try: runpy.run_module('orapo.labeler', run_name='__main__')\n"
        "except SystemExit as stop: print('exit', stop.code)\n"
        "heavy = {'torch', 'lightning', 'transformers', 'numpy', 'pyarrow', 'pandas', 'rich', 'multiprocessing'}\n"
        "print('heavy', sorted(heavy & set(sys.modules)))"
    )
    arguments = [sys.executable, "-c", script, str(reports), str(tmp_path / "labels.csv")]
    result = subprocess.run(arguments, capture_output=True, text=True, timeout=60)
    assert result.stdout == "exit 0\nheavy []\n", result.stderr


def test_no_finding_alone_is_no_finding(reports: Path, tmp_path: Path, run: Run) -> None:
    run(reports, tmp_path / "labels.csv")
    row = rows_of((tmp_path / "labels.csv").read_text())[3]
    assert {name for name, cell in row.items() if cell} == {"study_id", Observation.NO_FINDING}
    assert row["No Finding"] == "1"
