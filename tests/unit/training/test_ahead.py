"""Rollouts one step ahead where the server fails: all processes stop together, and seeds outlast two pauses."""

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.conftest import make_study

from orapo.batches import RolloutGroup, StudyBatch
from orapo.data.shard import Shard
from orapo.errors import RunPaused
from orapo.policy.settings import SamplingSettings
from orapo.training.ahead import RolloutsAhead
from orapo.training.collect import Collector
from orapo.training.distributed import Ranks
from orapo.training.metrics import Stopwatch

BATCH = StudyBatch((make_study("a", "x"),), (), (), (), ())
GROUP = RolloutGroup(("No effusion.",), (torch.tensor([1]),), (torch.tensor([-1.0]),), (True,))
SAMPLING = SamplingSettings(per_study=1)


class Server:
    """A source that samples unless it ``is_gone``, and keeps the seeds that it was asked with."""

    def __init__(self) -> None:
        self.is_gone = False
        self.seeds: list[Sequence[int]] = []

    def begin(self, batch: StudyBatch, settings: SamplingSettings, seeds: Sequence[int]) -> Future[Any]:
        if self.is_gone:
            raise RunPaused("the server is gone")
        self.seeds.append(seeds)
        begun: Future[Any] = Future()
        begun.set_result((GROUP,))
        return begun

    def finish(self, batch: StudyBatch, groups: Any, settings: SamplingSettings) -> Any:
        return groups


def test_seeds_outlast_a_pause_and_one_more_before_anything_is_sampled() -> None:
    server: Any = Server()
    state = {"step": 3, "study_ids": ("a",), "seeds": (17,), "groups": []}
    resumed = RolloutsAhead(server, SAMPLING)
    resumed.load_state_dict(state)
    server.is_gone = True
    with pytest.raises(RunPaused):
        resumed.take(BATCH, 3, None)
    assert resumed.state_dict() == state
    again = RolloutsAhead(server, SAMPLING)
    again.load_state_dict(resumed.state_dict())
    server.is_gone = False
    again.take(BATCH, 3, None)
    assert server.seeds == [(17,)]


class Threads(Ranks):
    """Two processes as two threads, which wait for each other two seconds at most."""

    def __init__(self, rank: int, meeting: threading.Barrier, told: list[Any]) -> None:
        super().__init__(Shard(rank, 2), group=meeting)
        self._meeting, self._told = meeting, told

    def _gather(self, own: Any) -> list[Any]:
        self._told[self.shard.rank] = own
        self._meeting.wait(2)
        everyone = list(self._told)
        self._meeting.wait(2)
        return everyone


def test_all_processes_pause_where_one_cannot_begin_the_next_step() -> None:
    meeting, told, servers = threading.Barrier(2), [None, None], [Server(), Server()]

    def collect(rank: int) -> None:
        server: Any = servers[rank]
        reward: Any = SimpleNamespace(totals=dict, start=lambda reports, studies: None)
        objective: Any = SimpleNamespace(needs_rollouts=True)
        policy: Any = torch.nn.Linear(1, 1)
        ahead = RolloutsAhead(server, SAMPLING)
        ahead.begin(BATCH, 0, (1,))
        server.is_gone = rank == 1
        ranks = Threads(rank, meeting, told)
        collector = Collector(policy, server, reward, None, objective, SAMPLING, ranks, 2, 0, ahead)
        collector.collect(BATCH, 0, Stopwatch(), upcoming=BATCH)

    with ThreadPoolExecutor(2) as pool:
        ended = [pool.submit(collect, rank) for rank in (0, 1)]
    assert [type(each.exception()) for each in ended] == [RunPaused, RunPaused]
