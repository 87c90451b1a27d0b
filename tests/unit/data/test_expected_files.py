import pytest

from orapo.data.expected_files import ExpectedFile, find_all, require_root
from orapo.errors import DataError


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
