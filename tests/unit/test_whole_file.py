"""A file is as it was, or as it shall be."""

import errno
import os
from pathlib import Path

import pytest

from orapo.whole_file import naming, write_whole


def test_a_write_that_fails_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    write_whole(path, "one")
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "two \ud800")
    assert path.read_text() == "one"
    write_whole(path, "two")
    assert path.read_text() == "two"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_or_a_pipe_is_written_to_and_stays(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "page.html")
    write_whole(tmp_path / "link", "one")
    assert (tmp_path / "page.html").read_text() == "one"
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_whole(tmp_path / "pipe", "two")
    assert os.read(reader, 10) == b"two"
    os.close(reader)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "pipe").is_fifo()


def test_a_failed_write_says_which_file() -> None:
    with pytest.raises(OSError, match="page"), naming(Path("page")):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match="other"), naming(Path("page")):
        raise OSError(errno.ENOENT, "No such file", "other")
