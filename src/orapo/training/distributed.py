"""The processes that train one policy together: they share results and errors, and stop together.

A process that fails would leave the others waiting for hours. So work that can fail is done inside ``all_or_raise`` or
``all_gather``: it succeeds everywhere, or every process raises the same error.
"""

import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from torch import distributed

from orapo.data.shard import Shard
from orapo.errors import OrapoError

T = TypeVar("T")


class RankFailed(OrapoError):
    """Another process of this run failed; its own message or traceback says how."""


@dataclass(frozen=True)
class _Outcome(Generic[T]):
    """The result, or the error, of one process's work."""

    result: T | None
    error: OrapoError | None


class Ranks:
    """The processes of one run. With a single process, the default, its methods only do the work they are given.

    Attributes:
        shard: this process among all.
        is_joined: whether a launcher started this process, even as the only one.
        has_aborted: whether an error was raised in all processes alike.
    """

    def __init__(self, shard: Shard | None = None, group: Any = None) -> None:
        """Stores the settings; ``joined`` connects the processes.

        Args:
            shard: this process among all; None for a single process.
            group: of all processes, on the CPU, for what is not a tensor.
        """
        self.shard = shard or Shard()
        self.is_joined = group is not None
        self.has_aborted = False
        self._group = group

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and talks to the user."""
        return self.shard.rank == 0

    def all_or_raise(self, work: Callable[[], T]) -> T:
        """Does the work; returns this process's own result once all processes have succeeded.

        Raises:
            Exception: the error of the first process that failed, in every process.
        """
        own: list[T] = []
        self.all_gather(lambda: own.append(work()))
        return own[0]

    def all_gather(self, work: Callable[[], T]) -> list[T]:
        """The results of all processes, in order of rank; errors as in ``all_or_raise``.

        Results are pickled and sent: keep tensors on the CPU.
        """
        if self.shard.size == 1:
            return [work()]
        result: T | None = None
        failure: Exception | None = None
        try:
            result = work()
        except Exception as error:
            failure = error
        outcomes = self._gather(_Outcome(result, None if failure is None else self._portable(failure)))
        for rank, outcome in enumerate(outcomes):
            if outcome.error is not None:
                self.has_aborted = True
                raise failure if rank == self.shard.rank and failure is not None else outcome.error
        return [outcome.result for outcome in outcomes]  # type: ignore[misc]

    def broadcast(self, work: Callable[[], T]) -> T:
        """The first process's result, in all processes; errors as in ``all_or_raise``."""
        result: T = self.all_gather(lambda: work() if self.is_first else None)[0]  # type: ignore[assignment]
        return result

    def abort(self, error: Exception) -> None:
        """Makes the other processes raise, at their next exchange, since this one stops."""
        if self.shard.size == 1 or self.has_aborted or isinstance(error, RankFailed):
            return
        try:
            self._gather(_Outcome(None, self._portable(error)))
        except RankFailed:
            return
        self.has_aborted = True

    def _gather(self, own: _Outcome[T]) -> list[_Outcome[T]]:
        outcomes: list[Any] = [None] * self.shard.size
        try:
            distributed.all_gather_object(outcomes, own, group=self._group)
        except RuntimeError as error:
            raise RankFailed(
                f"another of the {self.shard.size} processes of this run ended without saying why; look for its "
                "message above, or in the log of its machine (killed for want of memory?)"
            ) from error
        return outcomes

    def _portable(self, error: Exception) -> OrapoError:
        """The error to send: a user's error as it is, only the kind of any other."""
        if isinstance(error, OrapoError):
            try:
                pickle.loads(pickle.dumps(error))
            except Exception:  # whatever keeps it from being pickled: its message is sent instead
                return RankFailed(str(error))
            return error
        return RankFailed(
            f"process {self.shard.rank} of {self.shard.size} failed with {type(error).__name__}; see its traceback"
        )


@contextmanager
def joined(device: torch.device, timeout_hours: float) -> Iterator[Ranks]:
    """Joins the processes that RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT of the environment describe.

    Args:
        device: of this process; on a GPU gradients are summed by NCCL, else by gloo.
        timeout_hours: how long a process waits for another one.
    """
    environment = TorchElasticEnvironment()
    timeout = timedelta(hours=timeout_hours)
    is_cuda = device.type == "cuda"
    if is_cuda:
        torch.cuda.set_device(device)
    distributed.init_process_group(
        "nccl" if is_cuda else "gloo",
        rank=environment.global_rank(),
        world_size=environment.world_size(),
        timeout=timeout,
        device_id=device if is_cuda else None,
    )
    try:
        group = distributed.new_group(backend="gloo", timeout=timeout)
        yield Ranks(Shard(environment.global_rank(), environment.world_size()), group)
    finally:
        distributed.destroy_process_group()


def summed(states: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One state for a checkpoint: every number is summed over the processes."""
    if len(states) == 1:
        return dict(states[0])
    return {key: sum(state[key] for state in states) for key in states[0]}


def share_of(state: Mapping[str, Any], num_ranks: int) -> dict[str, Any]:
    """The part of one of ``num_ranks`` processes: an equal share of what ``summed`` returned."""
    return dict(state) if num_ranks == 1 else {key: value / num_ranks for key, value in state.items()}


def sampling_seed(seed: int, step: int, place: int) -> int:
    """The seed of one study's samples, in [0, 2**63): of the run, the step and the study's place in the whole batch."""
    words = np.random.SeedSequence((seed, step, place)).generate_state(1, np.uint64)
    return int(words[0] >> np.uint64(1))
