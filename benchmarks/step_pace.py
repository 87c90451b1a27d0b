"""A side's step by step: waits until it is told to go, and says what the step took.

Each side runs in its own process, so that neither warms, fragments or fills the other's memory. Standard input carries
one line per step to be done, standard output one JSON line per step done; what libraries print goes to standard error.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from step_work import Done

PHASES = ("rollout", "reward", "reference", "update")


class Pace:
    """The side's end of the pipe: ``wait`` before the first step, ``done`` after each.

    What lies between two steps (reading the next batch) is counted to the later one.
    """

    def __init__(self) -> None:
        self._answers = os.fdopen(os.dup(1), "w", buffering=1)
        os.dup2(2, 1)
        self._seconds = self._cpu_seconds = 0.0
        self._resident = 0

    def wait(self) -> bool:
        """Blocks until the next step may start; False when there is none."""
        self._answers.write("ready\n")
        if not sys.stdin.readline():
            return False
        self._resident = reset_peak_memory()
        self._seconds, self._cpu_seconds = time.perf_counter(), time.process_time()
        return True

    def done(self, phases: Mapping[str, float], work: Done) -> bool:
        """Reports the step and waits for the next; False when there is none.

        Args:
            phases: seconds by phase; "other" is what they leave of the step.
            work: what was done, counted.
        """
        seconds = time.perf_counter() - self._seconds
        cpu_seconds = time.process_time() - self._cpu_seconds
        step = {
            "seconds": seconds,
            "cpu_seconds": cpu_seconds,
            "phases": {**phases, "other": seconds - sum(phases.values())},
            "peak_memory_bytes": peak_memory(),
            "memory_before_bytes": self._resident,
            "work": asdict(work),
        }
        self._answers.write(json.dumps(step) + "\n")
        return self.wait()


def reset_peak_memory() -> int:
    """Forgets the highest resident memory so far (Linux), and gives the present one in bytes."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return 0
    return _status("VmRSS")


def peak_memory() -> int:
    """The highest resident memory of this process, in bytes: since the reset on Linux, since its start elsewhere."""
    if Path("/proc/self/status").exists():
        return _status("VmHWM")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
