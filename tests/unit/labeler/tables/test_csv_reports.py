import csv
import gzip
from pathlib import Path

import pytest

from orapo import foreign
from orapo.errors import DataError
from orapo.labeler.tables.reports import BadRow, ReportRow, open_reports

ROW = ReportRow(2, "a", "No edema.")


def read(path: Path, *, column: str = "report", id_column: str | None = None) -> list[ReportRow | BadRow]:
    with open_reports(path, report_column=column, id_column=id_column) as table:
        return list(table.rows())


def read_bytes(tmp_path: Path, content: bytes) -> list[ReportRow | BadRow]:
    path = tmp_path / "reports.csv"
    path.write_bytes(content)
    return read(path)


@pytest.mark.parametrize(
    "content",
    [
        b"study_id,report\na,No edema.\n",
        b"study_id,report\na,No edema.",
        b"\xef\xbb\xbfstudy_id,report\na,No edema.\n",
        b"study_id,report\r\na,No edema.\r\n",
        b'"study_id","report"\n"a","No edema."\n',
        b" study_id , report\n a ,No edema.\n",
        b"report,x,study_id\nNo edema.,,a\n",
    ],
)
def test_forms_of_the_same_table(content: bytes, tmp_path: Path) -> None:
    assert read_bytes(tmp_path, content) == [ROW]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_line_breaks_commas_and_quotes_inside_cells(end: str, tmp_path: Path) -> None:
    text = f'Heart, large.{end}{end}A "new" effusion.'
    content = f'study_id,report{end}a,"{text.replace(chr(34), chr(34) * 2)}"{end}{end}b,Clear.{end}'
    assert read_bytes(tmp_path, content.encode()) == [ReportRow(2, "a", text), ReportRow(6, "b", "Clear.")]


def test_a_cell_longer_than_the_usual_limit(tmp_path: Path) -> None:
    text = "No edema. " * 20_000
    assert len(text) > 131_072
    assert read_bytes(tmp_path, f"study_id,report\na,{text}\nb,Clear.\n".encode()) == [
        ReportRow(2, "a", text),
        ReportRow(3, "b", "Clear."),
    ]


def test_bad_rows_are_told_by_the_line_where_they_start(tmp_path: Path) -> None:
    content = (
        b'study_id,report,site\na,"No\nedema.",x\nb,Clear.\nc,Clear,lungs.,x\n,Clear.,x\nd,,x\n'
        b"e, nan ,x\nNaN,Clear.,x\n"
        b'f,"--\n--",x\ng,Clear\xe9.,x\nh\xff,Clear.,x\ni,Clear.,\xff\nj,\xe2\x89\xa5 2 cm nodule.,x\n'
    )
    assert read_bytes(tmp_path, content) == [
        ReportRow(2, "a", "No\nedema."),
        BadRow(4, "2 cells where the header has 3"),
        BadRow(5, "4 cells where the header has 3"),
        BadRow(6, "the id is blank"),
        BadRow(7, "the report is blank"),
        BadRow(8, "the report is blank"),
        BadRow(9, "the id is blank"),
        BadRow(10, "the report is blank"),
        BadRow(12, "bytes that are not UTF-8"),
        BadRow(13, "bytes that are not UTF-8"),
        ReportRow(14, "i", "Clear."),
        ReportRow(15, "j", "≥ 2 cm nodule."),
    ]


def test_ids_are_study_ids_or_numbers_of_rows_or_what_is_named(tmp_path: Path) -> None:
    path = tmp_path / "reports.csv"
    path.write_text("accession,report\nx,Clear.\ny,\nz,Clear.\n")
    assert [row.row_id for row in read(path) if isinstance(row, ReportRow)] == ["1", "3"]
    assert [row.row_id for row in read(path, id_column="accession") if isinstance(row, ReportRow)] == ["x", "z"]


@pytest.mark.parametrize(
    ("header", "column", "id_column", "told"),
    [
        ("study_id,text", "report", None, r"no column 'report'; it has study_id, text; name one with --column"),
        ("study_id,report", "report", "key", r"no column 'key'; it has study_id, report; name one with --id"),
        ("report,report", "report", None, r"'report' stands 2 times"),
        ("report", "report", "report", r"can't be both"),
    ],
)
def test_missing_columns(header: str, column: str, id_column: str | None, told: str, tmp_path: Path) -> None:
    path = tmp_path / "reports.csv"
    path.write_text(f"{header}\n1,2\n")
    with pytest.raises(DataError, match=told):
        read(path, column=column, id_column=id_column)


def test_a_table_without_a_header_is_not_quoted(tmp_path: Path) -> None:
    path = tmp_path / "reports.csv"
    path.write_text("Small effusion on the left with atelectasis.\nClear lungs.\n")
    with pytest.raises(DataError, match="add a header") as caught:
        read(path)
    assert "effusion" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty"),
        (b"study_id;report\na;Clear.\n", "its columns are separated by ';'; save the table with commas"),
        ("study_id,report\na,Clear.\n".encode("utf-16"), "not UTF-8"),
        (b'study_id,report\na,Clear.\nb,"Clear.\nc,Clear.\n', "line 3: a quote is missing"),
        (b'study_id,report\na,Clear.\nb,"A "new" effusion."\nc,Clear.\n', "line 3: a quote is missing"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(content: bytes, told: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=told) as caught:
        read_bytes(tmp_path, content)
    assert "effusion" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unclosed_quote_does_not_take_the_file_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign, "LONGEST_RECORD", 1000)
    with pytest.raises(DataError, match="line 2: a quote is missing"):
        read_bytes(tmp_path, b'study_id,report\na,"Clear.\n' + b"b,Clear.\n" * 1000)
    csv.field_size_limit(131_072)


def test_gzip(tmp_path: Path) -> None:
    path = tmp_path / "reports.csv.gz"
    packed = gzip.compress(b"study_id,report\na,No edema.\n" + b"b,Clear.\n" * 50_000)
    path.write_bytes(packed)
    with open_reports(path, report_column="report", id_column=None) as table:
        assert table.fraction_read() <= 1.0
        assert next(iter(table.rows())) == ROW
    path.write_bytes(packed[:-20])
    with pytest.raises(DataError, match="gzip"):
        read(path)
    path.write_bytes(b"study_id,report\na,No edema.\n")
    with pytest.raises(DataError, match="no gzip data"):
        read(path)


@pytest.mark.parametrize(("name", "told"), [("reports.tsv", r"\.csv, \.csv\.gz, \.parquet"), ("none.csv", "no file")])
def test_wrong_files(name: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "reports.tsv").write_text("study_id\treport\n")
    with pytest.raises(DataError, match=told):
        read(tmp_path / name)
