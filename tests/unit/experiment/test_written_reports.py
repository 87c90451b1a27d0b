"""Files of reports: read whole, with line and study in every error and no report in any."""

import json
from pathlib import Path

import pytest

from orapo.data.evaluation_studies import EvaluationStudies
from orapo.data.phantoms.source import PhantomSource
from orapo.errors import DataError
from orapo.experiment.written_reports import NotComputed, ReportFile

SECRET = "a swallowed umbrella"


@pytest.fixture(scope="module")
def studies() -> EvaluationStudies:
    return EvaluationStudies.read(PhantomSource(num_train=2, num_validate=2, num_test=3), None)


def ids(studies: EvaluationStudies) -> list[str]:
    return [study.study_id for study in studies.studies]


def test_reports_come_in_the_order_of_the_studies(studies: EvaluationStudies, tmp_path: Path) -> None:
    first, second, third = ids(studies)
    file = tmp_path / "reports.csv"
    file.write_text(f'\ufeffstudy_id,report,other\n{third},"c, ""d""\ne",1\nelse,x,2\n{first},a,3\n{second},,4\n')
    written = ReportFile(file).write(studies, None)
    assert written.reports == ("a", "", 'c, "d"\ne')
    assert written.counts == {"missing_reports": 0, "reports_of_other_studies": 1, "reports_equal_to_oracle": 0}
    assert written.seconds is None


def test_rows_of_a_runs_reports_are_read(studies: EvaluationStudies, tmp_path: Path) -> None:
    file = tmp_path / "test_reports.jsonl"
    file.write_text("".join(f'{{"study_id": "{i}", "generated_report": "r\u2028{i}"}}\n' for i in ids(studies)))
    assert ReportFile(file).write(studies, None).reports == tuple(f"r\u2028{i}" for i in ids(studies))


def test_shuffled_images_are_none_of_its(studies: EvaluationStudies, tmp_path: Path) -> None:
    file = tmp_path / "reports.csv"
    file.write_text("study_id,report\n" + "".join(f"{i},x\n" for i in ids(studies)))
    with pytest.raises(NotComputed, match="no images"):
        ReportFile(file).write(studies, [1, 2, 0])


def test_no_study_of_the_split_is_refused_even_if_empty_reports_may_be(
    studies: EvaluationStudies, tmp_path: Path
) -> None:
    file = tmp_path / "reports.csv"
    file.write_text("study_id,report\nother,x\n")
    with pytest.raises(DataError, match="no report for 3 of 3 test studies"):
        ReportFile(file, "empty").write(studies, None)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.csv", f"study_id,text\n1,{SECRET}\n", "needs the columns study_id and report"),
        ("a.csv", f"study_id,report\n1,x\n1,{SECRET}\n", "line 3: study 1 stands already in line 2"),
        ("a.csv", f"study_id,report\n{SECRET},1\n{SECRET},2\n", "line 3: study (20 characters of text) stands"),
        ("a.csv", "study_id,report\n1\n", "line 2: 1 cells, but the header has 2"),
        ("a.csv", f"study_id,report\n1,No effusion, {SECRET}\n", "line 2: 3 cells, but the header has 2"),
        ("a.csv", f"study_id,report,,\n1,{SECRET},,\n", "line 1: the last 2 columns have no name"),
        ("a.csv", f"study_id,report\n1,{SECRET},,\n", "line 2: 4 cells, but the header has 2; remove the commas"),
        ("a.csv", f"study_id;report\n1;{SECRET}\n", "line 1: its columns are separated by ';'"),
        ("a.csv", f'study_id,report\n1,x\n2,"{SECRET}\n3,y\n', "line 3: unexpected end of data"),
        ("a.csv", f'study_id,report\n1,x\n2,"{SECRET}\n3,"y"\n', "line 3: ',' expected after"),
        ("a.csv", f'study_id,report\n1,the "{SECRET}" sign\n', "line 2: a quote inside a cell without quotes"),
        ("a.csv", f'study_id,report\n1, "{SECRET}"\n', "line 2: a quote inside a cell without quotes"),
        ("a.csv", f'study_id,report\n1,"{SECRET} \\"sign\\" "\n', "line 2: ',' expected after"),
        ("a.csv", f"study_id,report\n1,x\n2,{SECRET}\0\n", "line 3: a NUL is no text"),
        ("a.csv", f"study_id,report\n ,{SECRET}\n", "line 2: study_id and report are needed"),
        ("a.csv", "study_id,report\n", "has no rows"),
        ("a.jsonl", "", "needs the columns study_id and report"),
        ("a.jsonl", f'{{"study_id": "1", "report": "{SECRET}", "report": "x"}}\n', "line 1: a key stands twice"),
        ("a.jsonl", f'{{"study_id": "1", "report": "{SECRET} \\ud800"}}\n', "line 1: half of a surrogate pair"),
        ("a.jsonl", f'\n{{"study_id": null, "report": "{SECRET}"}}\n', "line 2: study_id and report are needed"),
        ("a.jsonl", f'{{"study_id": 1.5, "report": "{SECRET}"}}\n', "line 1: study_id and report are needed"),
        ("a.jsonl", f'{{"study_id": "1", "report": "{SECRET}\0"}}\n', "line 1: not JSON"),
        ("a.jsonl", "[" * 100_000, "line 1: more than 64 lists and mappings"),
        ("a.jsonl", '{"study_id": ' + "1" * 10_000 + "}", "line 1: a whole number of more than 18 digits"),
        (
            "a.jsonl",
            f'{{"study_id": 1, "report": "x"}}\n{{"study_id": "1 ", "report": "{SECRET}"}}',
            "already in line 1",
        ),
        ("a.jsonl", f'{{"study_id": "1", "report": "x"}}\n{{"{SECRET}\n', "line 2: not JSON"),
        ("a.jsonl", f'["{SECRET}"]\n', "line 1: not a JSON object"),
        ("a.jsonl", f'{{"study_id": "1", "report": ["{SECRET}"]}}\n', "line 1: study_id and report are needed"),
        ("a.txt", SECRET, "must end in .csv or .jsonl"),
    ],
)
def test_a_bad_file_is_one_line_without_its_reports(name: str, text: str, told: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(DataError) as raised:
        ReportFile(file)
    assert told in str(raised.value)
    assert name in str(raised.value)
    assert "umbrella" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_in_another_encoding_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_bytes("study_id,report\n1,ödem\n".encode("latin-1"))
    with pytest.raises(DataError, match="byte 0xf6 at position 18 is not UTF-8"):
        ReportFile(file)
    file = tmp_path / "a.jsonl"
    file.write_bytes('{"study_id": "1", "report": "ödem"}'.encode("latin-1"))
    with pytest.raises(DataError, match="line 1: not UTF-8"):
        ReportFile(file)


def test_the_generated_report_is_scored_and_not_the_radiologists(studies: EvaluationStudies, tmp_path: Path) -> None:
    csv, lines = tmp_path / "a.csv", tmp_path / "a.jsonl"
    csv.write_text("study_id,report,generated_report\n" + "".join(f"{i},true,ours {i}\n" for i in ids(studies)))
    rows = [{"report": "true", "study_id": i, "generated_report": f"ours {i}"} for i in ids(studies)]
    lines.write_text("\n".join(map(json.dumps, rows)))
    for file in (csv, lines):
        assert ReportFile(file).write(studies, None).reports == tuple(f"ours {i}" for i in ids(studies))
    lines.write_text('{"study_id": "1", "report": "x"}\n{"study_id": "2", "report": "y", "generated_report": null}\n')
    with pytest.raises(DataError, match="line 1: study_id and generated_report are needed"):
        ReportFile(lines)


@pytest.mark.parametrize(
    "other", ["prediction", "Generated Report", "generatedReport", "hyp", "model_output", "Report", "reports", "gen"]
)
def test_two_columns_that_may_hold_the_generated_reports_are_refused(other: str, tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text(f"study_id,report,{other}\n1,{SECRET},some words\n")
    with pytest.raises(DataError, match="could both hold the generated reports") as raised:
        ReportFile(file)
    assert "umbrella" not in str(raised.value)


@pytest.mark.parametrize("other", ["oracle_report", "reference", "output_tokens", "generation_seconds", "model"])
def test_columns_of_other_things_are_no_rivals(other: str, studies: EvaluationStudies, tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    value = "true words" if other in ("oracle_report", "reference") else "12"
    file.write_text(f"study_id,{other},report\n" + "".join(f"{i},{value},ours\n" for i in ids(studies)))
    assert ReportFile(file).write(studies, None).reports == ("ours",) * 3


def test_the_studies_own_reports_are_counted(studies: EvaluationStudies, tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    first, second, third = studies.studies
    rows = f'{first.study_id},"{first.oracle_report} "\n{second.study_id},x\n{third.study_id},\n'
    file.write_text(f"study_id,report\n{rows}")
    assert ReportFile(file).write(studies, None).counts["reports_equal_to_oracle"] == 1


@pytest.mark.parametrize("missing", ["refuse", "empty"])
def test_a_report_that_swallowed_rows_is_refused(missing: str, studies: EvaluationStudies, tmp_path: Path) -> None:
    first, second, third = ids(studies)
    file = tmp_path / "a.csv"
    file.write_text(f'study_id,report\n{first},"No edema.\n{second},{SECRET}\n{third},clear"\n')
    with pytest.raises(DataError, match=f"line 2: the report of study {first} runs over") as raised:
        ReportFile(file, missing).write(studies, None)
    assert "umbrella" not in str(raised.value)


def test_a_row_of_a_study_that_is_not_evaluated_is_no_report_either(studies: EvaluationStudies, tmp_path: Path) -> None:
    first, second, third = ids(studies)
    rows = f'{second},"1. Clear.\n2, 3 mm nodule"\n{third},x\n{first},"No edema.\n{first[:-1]}9,{SECRET}"\n'
    file = tmp_path / "a.csv"
    file.write_text(f"study_id,report\n{rows}")
    with pytest.raises(DataError, match=f"line 5: the report of study {first} runs over another"):
        ReportFile(file).write(studies, None)


def test_blank_lines_marks_and_white_space_are_ordinary(studies: EvaluationStudies, tmp_path: Path) -> None:
    csv, lines = tmp_path / "a.csv", tmp_path / "a.JSONL"
    cells = [f" {i} ,ours \r\n\r\n".encode() for i in ids(studies)]
    csv.write_bytes(b"\xef\xbb\xbf study_id , report \r\n\r\n" + b"".join(cells))
    rows = [f'{{"study_id": " {i} ", "report": "ours "}} \r\n\r\n'.encode() for i in ids(studies)]
    lines.write_bytes(b"\xef\xbb\xbf\n" + b"  \n".join(rows))
    for file in (csv, lines):
        assert ReportFile(file).write(studies, None).reports == ("ours",) * 3
