import gzip

import pytest

from orapo.data.expected_files import ExpectedFile, find_all, require_root
from orapo.data.table_columns import read_columns, sha256_of_file
from orapo.errors import DataError


def test_chosen_columns_are_read_by_name_as_text(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b'\xef\xbb\xbf,path,note,age\r\n0, a ,"line one\nline ""two""\r\n",007\r\n1,b,,NA\r\n')
    cells = read_columns(path, ["age", "note"], optional=["path", "sex"])
    assert cells == {"age": ["007", "NA"], "note": ['line one\nline "two"', ""], "path": ["a", "b"]}


def test_gzip_and_plain_tables_are_the_same(tmp_path):
    rows = "id,text\n" + "".join(f's{index},"row {index}\nnext line"\n' for index in range(20_000))
    (tmp_path / "a.csv").write_text(rows)
    with gzip.open(tmp_path / "a.csv.gz", "wt") as file:
        file.write(rows)
    cells = read_columns(tmp_path / "a.csv.gz", ["id", "text"])
    assert cells == read_columns(tmp_path / "a.csv", ["id", "text"])
    assert cells["id"][19_999] == "s19999"
    assert cells["text"][19_999] == "row 19999\nnext line"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"path,report\n", "has no rows"),
        (b"path\na\n", "has no column 'report'; its columns are 'path'"),
        (b"", "Empty CSV file"),
        (b'path,report\na,b\nb,"hush",c\n', r"Row #3: Expected 2 columns$"),
        (b"path,report\na,b\nhush\n", r"Row #3: Expected 2 columns$"),
        (b'path,report\na,"hush\nb,c\n', "a quote is never closed"),
        (b"path,report\na,hush\xe9\n", "invalid UTF8 data$"),
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
    path.write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 100_000)[:200])
    with pytest.raises(DataError, match=r"cut\.csv\.gz can't be read"):
        read_columns(path, ["a"])


def test_the_digest_is_that_of_the_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of_file(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_every_missing_file_is_listed_with_its_places(tmp_path):
    (tmp_path / "old.csv").touch()
    there = ExpectedFile("the table", (tmp_path / "new.csv", tmp_path / "old.csv"), "example.org")
    gone = ExpectedFile("the images", (tmp_path / "png", tmp_path / "jpg"), "example.org/images")
    lost = ExpectedFile("the reports", (tmp_path / "txt",), "example.org/text")
    assert find_all("set", {"table": there}) == {"table": tmp_path / "old.csv"}
    with pytest.raises(DataError) as raised:
        find_all("set", {"table": there, "images": gone, "reports": lost})
    assert str(raised.value) == (
        f"set: 2 of 3 needed are missing: the images (looked for {tmp_path / 'png'} and {tmp_path / 'jpg'}; "
        f"get it from example.org/images); the reports (looked for {tmp_path / 'txt'}; get it from example.org/text)"
    )


def test_the_root_must_be_a_folder(tmp_path):
    assert require_root(str(tmp_path), data_set="set", variable="ORAPO_SET_ROOT") == tmp_path
    with pytest.raises(DataError, match=r"set: no folder given; set data\.root or the environment variable ORAPO_SET_"):
        require_root(None, data_set="set", variable="ORAPO_SET_ROOT")
    with pytest.raises(DataError, match="none is not a folder"):
        require_root(tmp_path / "none", data_set="set", variable="ORAPO_SET_ROOT")
