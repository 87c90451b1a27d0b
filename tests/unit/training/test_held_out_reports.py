"""What the first batch of an examination says of the others."""

import logging
import time
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from orapo.policy.settings import SamplingSettings
from orapo.training.distributed import Ranks
from orapo.training.held_out_reports import HeldOutReports


class Source:
    """Takes a tenth of a second for each of the two studies of a batch."""

    def roll_out(self, batch: Any, sampling: SamplingSettings) -> list[Any]:
        time.sleep(0.2)
        return [SimpleNamespace(texts=["Normal."], finished=[True]) for _ in batch.studies]


class Batch:
    studies = (SimpleNamespace(study_id="a"), SimpleNamespace(study_id="b"))

    def __len__(self) -> int:
        return 2


def told(policy: Any, caplog: pytest.LogCaptureFixture, num_reports: int) -> str:
    held_out = HeldOutReports(policy, Source(), SamplingSettings(max_new_tokens=8, greedy=True), Ranks())  # type: ignore[arg-type]
    caplog.clear()
    with caplog.at_level(logging.INFO):
        held_out.begin(num_reports)
        for _ in range(2):
            held_out.generate(Batch(), 0)  # type: ignore[arg-type]
    assert [written.reports for written in held_out.end()] == [("Normal.", "Normal.")]
    return caplog.text


def test_time_and_a_gpus_memory_are_told_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = told(nn.Linear(1, 1), caplog, 400)
    assert line.count("\n") == 1
    assert "s a report in the first batch of 2; about 0:00:4" in line
    assert not told(nn.Linear(1, 1), caplog, 20), "two seconds are not announced"

    gpu = SimpleNamespace(parameters=lambda: iter([SimpleNamespace(device=torch.device("cuda"))]))
    reset: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", reset.append)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: 3_100_000_000)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1, 24_000_000_000))
    assert "s a report in the first batch of 2, with at most 3.1 of 24.0 GB; about 0:00:4" in told(gpu, caplog, 400)
    assert reset == [torch.device("cuda")]
