"""A Markdown table that grows row by row, each printed at once, with seconds and peak memory of a device."""

import gc
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from step_pace import peak_memory, reset_peak_memory


class PartFailed(Exception):
    """A part of the table broke; its row is printed."""


class Table:
    """Rows of one device.

    Attributes:
        failures: rows that say why there is no number.
    """

    def __init__(self, device: str) -> None:
        """Prints the head.

        Args:
            device: "cuda" or "cpu".
        """
        self._is_cuda = device == "cuda"
        self.failures = 0
        print("| part | seconds | peak, GB | |\n|---|---|---|---|", flush=True)

    @contextmanager
    def row(self, name: str, tells_peak: bool = True) -> Iterator[list[str]]:
        """Measures what is done inside, and prints it with the notes that are added to what this yields.

        Args:
            name: of the part.
            tells_peak: whether its peak is told: another process has its own, and a whole those of its phases.

        Raises:
            PartFailed: instead of any error inside, after its row.
        """
        notes: list[str] = []
        self._reset()
        start = time.perf_counter()
        try:
            yield notes
            if self._is_cuda:
                torch.cuda.synchronize()
        except PartFailed:
            raise
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            self.failures += 1
            message = str(error).strip().split("\n")[0].replace("|", "/")
            self._print(name, "", "", f"failed: {type(error).__name__}: {message}")
            raise PartFailed(name) from None
        seconds = time.perf_counter() - start
        self._print(name, f"{seconds:.2f}", f"{self._peak() / 1e9:.2f}" if tells_peak else "", "; ".join(notes))

    def note(self, name: str, told: str) -> None:
        """A row without a measurement."""
        self._print(name, "", "", told)

    def free(self) -> None:
        """Gives back what nobody holds any more, so that a part does not pay for the one before."""
        gc.collect()
        if self._is_cuda:
            torch.cuda.empty_cache()

    def _print(self, *cells: str) -> None:
        print(f"| {' | '.join(cells)} |", flush=True)

    def _reset(self) -> None:
        if self._is_cuda:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        else:
            reset_peak_memory()

    def _peak(self) -> int:
        return torch.cuda.max_memory_allocated() if self._is_cuda else peak_memory()
