from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orapo.errors import DataError
from orapo.labeler.tables.reports import BadRow, ReportRow, open_reports


def read(path: Path, id_column: str | None = None) -> list[ReportRow | BadRow]:
    with open_reports(path, report_column="report", id_column=id_column) as table:
        return list(table.rows())


def write(path: Path, **columns: pa.Array) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
)
def test_kinds_of_text_and_bad_rows(kind: pa.DataType, tmp_path: Path) -> None:
    reports = pa.array(["No edema.", None, " ", "Clear ≥ 1.", "Clear."]).cast(kind)
    ids = pa.array(["a", "b", "c", None, "e"]).cast(kind)
    assert read(write(tmp_path / "r.parquet", report=reports, study_id=ids, other=pa.nulls(5))) == [
        ReportRow(1, "a", "No edema."),
        BadRow(2, "the report is null"),
        BadRow(3, "the report is blank"),
        BadRow(4, "the id is null"),
        ReportRow(5, "e", "Clear."),
    ]


def test_bytes_that_are_no_text_spoil_their_own_row_only(tmp_path: Path) -> None:
    broken = pa.array([b"Clear.", b"Clear\xe9.", b"Clear."]).cast(pa.binary()).view(pa.string())
    rows = read(write(tmp_path / "r.parquet", report=broken))
    assert rows == [ReportRow(1, "1", "Clear."), BadRow(2, "bytes that are not UTF-8"), ReportRow(3, "3", "Clear.")]


def test_rows_are_counted_through_row_groups(tmp_path: Path) -> None:
    table = pa.table({"study_id": list(range(5000)), "report": ["Clear."] * 4999 + [None]})
    pq.write_table(table, tmp_path / "r.parquet", row_group_size=1500)
    rows = read(tmp_path / "r.parquet")
    assert [row.place for row in rows] == list(range(1, 5001))
    assert rows[4998:] == [ReportRow(4999, "4998", "Clear."), BadRow(5000, "the report is null")]


def test_columns_of_another_type_are_refused(tmp_path: Path) -> None:
    text = pa.array(["Clear."])
    path = write(tmp_path / "r.parquet", report=pa.array([1.5]))
    with pytest.raises(DataError, match="'report' holds double; it must hold text"):
        read(path)
    path = write(tmp_path / "r.parquet", report=text, study_id=pa.array([1.5]))
    with pytest.raises(DataError, match="'study_id' holds double; it must hold text or integers"):
        read(path)
    path = write(tmp_path / "r.parquet", findings=text, study_id=text)
    with pytest.raises(DataError, match="no column 'report'; it has findings, study_id"):
        read(path)


def test_no_parquet(tmp_path: Path) -> None:
    path = tmp_path / "r.parquet"
    path.write_text("study_id,report\na,Clear.\n")
    with pytest.raises(DataError, match="can't be read as Parquet") as caught:
        read(path)
    assert "Clear" not in str(caught.value)


def test_a_broken_page_is_one_line(tmp_path: Path) -> None:
    table = pa.table({"report": [f"Clear {number}." for number in range(20_000)]})
    path = tmp_path / "r.parquet"
    pq.write_table(table, path, compression="gzip", use_dictionary=False)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 2000] = bytes(2000)
    path.write_bytes(content)
    with pytest.raises(DataError, match="can't be read after row"):
        read(path)
