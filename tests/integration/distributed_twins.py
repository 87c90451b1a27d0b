"""Parts that misbehave in one process of several; a config names them, once the test has trusted this module."""

import os
import signal
import zlib
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from orapo.errors import RunPaused
from orapo.objective.zero_reward import PerStudyAverage
from orapo.records import FailedJudgement, RewardBreakdown, Study
from orapo.reward.weighted import WeightedReward
from orapo.training.strategies import DataParallel


class UnsummedGradients(DataParallel):
    """Each process follows its own gradients."""

    def sum_gradients(self, parameters: Sequence[Tensor]) -> None:
        pass


class LocalAverage(PerStudyAverage):
    """Takes in what this process has seen, as if nothing had been gathered."""

    def update(self, study_ids: Sequence[str], rates: Sequence[float], alpha: float) -> list[float]:
        rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        own = slice(rank * len(rates) // size, (rank + 1) * len(rates) // size)
        super().update(study_ids[own], rates[own], alpha)
        return [self._smoothed.get(study_id, 0.0) for study_id in study_ids]


class FailingReward(WeightedReward):
    """Reads like the offline judge, until process 1 is asked for the ``fails_on``-th time."""

    def __init__(self, fails_on: int, how: str, **settings: Any) -> None:
        super().__init__(**settings)
        self._fails_on = fails_on
        self._how = how
        self._num_calls = 0

    def start(self, reports: Sequence[str], studies: Sequence[Study]) -> Any:
        self._num_calls += 1
        if os.environ["RANK"] == "1" and self._num_calls == self._fails_on:
            if self._how == "pauses":
                raise RunPaused("nobody answers")
            if self._how == "breaks":
                raise KeyError("a mistake in the code")
            if self._how == "dies":
                os.kill(os.getpid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGTERM)
        return super().start(reports, studies)


class DroppingReward(WeightedReward):
    """Can't read some reports, whichever process asks."""

    def start(self, reports: Sequence[str], studies: Sequence[Study]) -> Any:
        pending = super().start(reports, studies)

        class Pending:
            def result(self) -> list[RewardBreakdown | FailedJudgement]:
                return [
                    FailedJudgement("refused") if zlib.crc32(report.encode()) % 10 == 0 else judged
                    for report, judged in zip(reports, pending.result(), strict=True)
                ]

        return Pending()
