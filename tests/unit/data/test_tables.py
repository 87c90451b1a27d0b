import gzip

import pytest

from orapo.data.tables import find_columns, number_key, read_columns, read_csv
from orapo.errors import DataError


def write(tmp_path, content: bytes):
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    return path


def test_line_numbers_count_the_breaks_inside_quotes_and_blank_lines(tmp_path):
    table = read_csv(write(tmp_path, b'id,text\na,"one\ntwo, ""three"""\n\nb, four \n'))
    assert table.rows == ((2, {"id": "a", "text": 'one\ntwo, "three"'}), (5, {"id": "b", "text": "four"}))


def test_byte_order_mark_and_crlf_are_ordinary(tmp_path):
    content = b"\xef\xbb\xbfid, text\r\na,\xc3\xa4\r\n"
    table = read_csv(write(tmp_path, content))
    assert table.columns == ("id", "text")
    assert table.rows == ((2, {"id": "a", "text": "ä"}),)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"id,text\na,\xe4\n", r"table.csv: byte 0xe4 at position 10 is not UTF-8; save the table as CSV with UTF-8"),
        (b"\xff\xfei\x00d\x00", r"byte 0xff at position 0 is not UTF-8"),
        (b'id,text\na,b\nc,"never closed\nd,e\n', r"table.csv line 3: unexpected end of data; is a quote missing"),
        (b'id,text\na,"b"c\n', r"table.csv line 2: .*; is a quote missing, or a quote inside not doubled\?"),
        (b"id,id\na,b\n", r"table.csv line 1: column 'id' stands twice in the header"),
        (b"id,text\na,b,c\n", r"table.csv line 2: 3 cells, but the header has 2; text with commas"),
        (b"id,text\na\n", r"table.csv line 2: 1 cells, but the header has 2"),
        (b"id,text\na,b,,\n", r"table.csv line 2: 4 cells, but the header has 2; remove the commas at the end"),
        (b"id,text,,\na,b,,\n", r"table.csv line 1: the last 2 columns have no name"),
        (b"id\ttext\na\tb\n", r"table.csv line 1: its columns are separated by '\\t'; save the table with commas"),
        (b'id,text\na,"b, ""c"""\n\nd,e "f"\n', r"table.csv line 4: a quote inside a cell without quotes"),
        (b'id,text\na,"b\nc"\nd,e"\n', r"table.csv line 4: a quote inside a cell without quotes"),
        (b"id,text\na,b\nc,d\0\n", r"table.csv line 3: a NUL is no text"),
        (b"i\0d\0,\0t\0", r"table.csv line 1: a NUL is no text"),
        (b"id,text\n", r"table.csv has no rows"),
        (b"", r"table.csv has no rows"),
    ],
)
def test_broken_tables_are_refused(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        read_csv(write(tmp_path, content))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04 a workbook", r"table.csv is a zip archive or a workbook; save the table as CSV"),
        (b"PAR1", r"table.csv is Parquet; save the table as CSV"),
        (gzip.compress(b"id,text\na,b\n" * 1000, mtime=0)[:40], r"table.csv can't be read: the file is cut or damaged"),
    ],
)
def test_other_kinds_of_files_are_named(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        read_csv(write(tmp_path, content))


def test_a_first_line_of_words_is_not_repeated(tmp_path):
    path = write(tmp_path, b"1,The heart is enlarged and there is a large effusion on the left\n2,b\n")
    with pytest.raises(DataError, match=r"is its first line a header\?$"):
        read_columns(path, ["report"])


@pytest.mark.parametrize(
    ("cell", "key"),
    [
        ("7", "7"),
        ("7.0", "7"),
        ("007", "7"),
        ("7.", "7"),
        ("0", "0"),
        ("7.5", "7.5"),
        ("p7", "p7"),
        (" 7\u200b", "7"),
        ("\ufeffp7", "p7"),
        ("1E+05", "100000"),
        ("1e5", "1e5"),
    ],
)
def test_one_key_for_all_spellings_of_a_number(cell, key):
    assert number_key(cell) == key


def test_columns_of_the_real_sets_are_near_nothing():
    plus = [
        "path_to_image",
        "section_clinical_history",
        "section_findings",
        "section_impression",
        "section_summary",
        "age",
    ]
    optional = ["section_history", "section_comparison", "section_technique", "sex", "path_to_dcm"]
    assert find_columns("t", plus, ["path_to_image"], optional) == {"path_to_image": 0}
    mimic = ["dicom_id", "ProcedureCodeSequence_CodeMeaning", "PatientOrientationCodeSequence_CodeMeaning"]
    assert find_columns("t", mimic, ["dicom_id"], ["ViewCodeSequence_CodeMeaning", "StudyTime"]) == {"dicom_id": 0}
    labels = ["subject_id", "study_id", "Edema"]
    assert find_columns("t", labels, [], ["study_id", "id", "path_to_image"]) == {"study_id": 1}


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"there is no table .*none\.csv"):
        read_csv(tmp_path / "none.csv")
    with pytest.raises(DataError, match=r"can't be read: Is a directory"):
        read_csv(tmp_path)


def test_a_lost_quote_that_swallows_the_table_is_reported_where_it_opens(tmp_path):
    rows = b"".join(b'%d,"some words"\n' % number for number in range(20_000))
    with pytest.raises(DataError, match=r"table.csv line 3: .*; is a quote missing"):
        read_csv(write(tmp_path, b'id,text\na,b\nc,"lost\n' + rows))


def test_chosen_columns_are_read_by_name_as_text(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b'\xef\xbb\xbf,path,note,age\r\n0, a ,"line one\nline ""two""\r\n",007\r\n1,b,,NA\r\n')
    cells = read_columns(path, ["age", "note"], optional=["path", "sex"])
    assert cells.cells == {"age": ["007", "NA"], "note": ['line one\nline "two"', ""], "path": ["a", "b"]}
    assert (cells.lines, cells.passed_over, list(cells.get("sex"))) == ([2, 5], (), ["", ""])


@pytest.mark.parametrize("place", range(12, 400, 40))
def test_a_damaged_gzip_is_one_line(place, tmp_path):
    table = b"id,text\n" + bytes(range(97, 123)) * 900 + b",\xe9b\n"
    packed = bytearray(gzip.compress(table, compresslevel=1, mtime=0))
    packed[place % len(packed)] ^= 0b1111
    (tmp_path / "a.csv.gz").write_bytes(packed)
    with pytest.raises(DataError, match=r"a\.csv\.gz"):
        read_columns(tmp_path / "a.csv.gz", ["id", "text"])


def test_gzip_and_plain_tables_are_the_same(tmp_path):
    rows = "id,text\n" + "".join(f's{index},"row {index}\nnext line"\n' for index in range(20_000))
    (tmp_path / "a.csv").write_text(rows)
    with gzip.open(tmp_path / "a.csv.gz", "wt") as file:
        file.write(rows)
    cells = read_columns(tmp_path / "a.csv.gz", ["id", "text"])
    assert cells == read_columns(tmp_path / "a.csv", ["id", "text"])
    assert cells.get("id")[19_999] == "s19999"
    assert cells.get("text")[19_999] == "row 19999\nnext line"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"path,report\n", "has no rows"),
        (b"path\na\n", "has no column 'report'; its columns are 'path'"),
        (b"", "has no rows"),
        (b'path,report\na,b\nb,"hush",c\n', r"line 3: 3 cells, but the header has 2"),
        (b"path,report\na,b\nhush\n", r"line 3: 1 cells, but the header has 2"),
        (b'path,report\na,"hush\nb,c\n', "line 2: .*is a quote missing"),
        (b"path,report\na,hush\xe9\n", "byte 0xe9 at position 18 is not UTF-8"),
    ],
)
def test_broken_tables_are_refused_without_quoting_them(tmp_path, content, message):
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as raised:
        read_columns(path, ["path", "report"])
    assert str(path) in str(raised.value)
    assert "hush" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_missing_and_damaged_files_are_named(tmp_path):
    with pytest.raises(DataError, match=r"there is no table .*none\.csv"):
        read_columns(tmp_path / "none.csv", ["a"])
    path = tmp_path / "cut.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 100_000, mtime=0)[:200])
    with pytest.raises(DataError, match=r"cut\.csv\.gz can't be read"):
        read_columns(path, ["a"])
