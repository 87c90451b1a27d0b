"""Files of reports: read whole, with line and study in every error and no report in any."""

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
    assert written.counts == {"missing_reports": 0, "reports_of_other_studies": 1}
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
        ("a.csv", f"study_id,report\n1,x\n1,{SECRET}\n", "line 3: study '1' stands there twice"),
        ("a.csv", "study_id,report\n1\n", "line 2: study_id and report are needed"),
        ("a.jsonl", f'{{"study_id": "1", "report": "x"}}\n{{"{SECRET}\n', "line 2: not a JSON object"),
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
    with pytest.raises(DataError, match="can't be read as CSV: UnicodeDecodeError"):
        ReportFile(file)
