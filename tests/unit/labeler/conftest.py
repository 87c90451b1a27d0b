"""A folder of tables to label, and the command run in this process."""

from collections.abc import Callable
from pathlib import Path

import pytest

from orapo.labeler.command import main

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command and gives its exit code and what it wrote to standard error; standard output stays empty."""

    def run(*arguments: str | Path) -> tuple[int, str]:
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert out == ""
        assert "Traceback" not in err
        return code, err

    return run
