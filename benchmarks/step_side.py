"""A side of benchmarks/step.py as the driver sees it: a process that does one step when told to."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

from step_work import Work

HERE = Path(__file__).resolve().parent


class Side:
    """Starts the process, and gives what each step took.

    Attributes:
        name: in the results.
    """

    def __init__(self, name: str, script: str, work: Work, *arguments: str) -> None:
        """Starts ``script``; while it loads, others can be started."""
        self.name = name
        self._is_ready = False
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (as long as the process)
        threads = str(work.threads)
        quiet = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "WANDB_MODE": "disabled"}
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / script), work.to_json(), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**os.environ, **quiet, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads},
        )

    def wait(self) -> None:
        """Returns when it is ready for a step.

        Raises:
            SystemExit: it ended instead.
        """
        if not self._is_ready and (line := self._line()) != "ready\n":
            raise SystemExit(f"the {self.name} side said {line!r} instead of being ready")
        self._is_ready = True

    def step(self) -> dict[str, Any]:
        """Waits until it is ready, and has it do one step; what ``step_pace.Pace`` reports.

        Raises:
            SystemExit: it ended instead.
        """
        self.wait()
        self._is_ready = False
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        step: dict[str, Any] = json.loads(self._line())
        return step

    def __enter__(self) -> "Side":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Whatever it still does is not measured.
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            last = self._errors.read()[-3000:]
            raise SystemExit(f"{last}\nthe {self.name} side ended with code {self._process.wait()}, see above")
        return line
