"""Freed memory stays with the process that trains; in a process of its own, since it cannot be undone."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys, torch
from orapo.training.memory import keep_freed_memory

if sys.argv[1] == "kept":
    assert keep_freed_memory()
def held():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() // 2**20
before = held()
tensors = [torch.ones(5_000_000) for _ in range(10)]  # 20 MB each
tensors.clear()
print(held() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators have no such setting")
def test_freed_memory_is_kept() -> None:
    def held_megabytes(how: str) -> int:
        done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert held_megabytes("returned") < 50
    assert held_megabytes("kept") > 150
