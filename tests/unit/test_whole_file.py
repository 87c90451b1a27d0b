"""Text files that appear whole or not at all."""

from pathlib import Path

import pytest

from orapo.whole_file import write_whole


def test_what_was_there_stays_where_writing_fails(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    write_whole(path, "één\n")
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "a" * 1_000_000 + "\ud800")
    assert path.read_bytes() == "één\n".encode()
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        write_whole(tmp_path / "folder", "text")
    assert {each.name for each in tmp_path.iterdir()} == {"summary.json", "folder"}, "and no draft is left"
