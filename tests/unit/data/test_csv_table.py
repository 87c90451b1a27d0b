import hashlib

import pytest

from orapo.data.csv_table import read_csv
from orapo.errors import DataError


def write(tmp_path, content: bytes):
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    return path


def test_line_numbers_count_the_breaks_inside_quotes_and_blank_lines(tmp_path):
    table = read_csv(write(tmp_path, b'id,text\na,"one\ntwo, ""three"""\n\nb, four \n'))
    assert [(row.line, dict(row.cells)) for row in table.rows] == [
        (2, {"id": "a", "text": 'one\ntwo, "three"'}),
        (5, {"id": "b", "text": "four"}),
    ]


def test_byte_order_mark_and_crlf_are_ordinary(tmp_path):
    content = b"\xef\xbb\xbfid, text\r\na,\xc3\xa4\r\n"
    table = read_csv(write(tmp_path, content))
    assert table.columns == ("id", "text")
    assert table.rows[0].cells == {"id": "a", "text": "ä"}
    assert table.sha256 == hashlib.sha256(content).hexdigest()


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


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"there is no table .*none\.csv"):
        read_csv(tmp_path / "none.csv")
    with pytest.raises(DataError, match=r"can't be read: Is a directory"):
        read_csv(tmp_path)


def test_a_lost_quote_that_swallows_the_table_is_reported_where_it_opens(tmp_path):
    rows = b"".join(b'%d,"some words"\n' % number for number in range(20_000))
    with pytest.raises(DataError, match=r"table.csv line 3: .*; is a quote missing"):
        read_csv(write(tmp_path, b'id,text\na,b\nc,"lost\n' + rows))
