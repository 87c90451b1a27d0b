"""How often a study's rollouts earn nothing, smoothed over visits, and the oracle's weight: equations (8)-(10)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from orapo.errors import CheckpointError


class ZeroReward(Protocol):
    """The zero-reward rate z_i of a study, equation (8)."""

    def __call__(self, rewards: Tensor) -> Tensor:
        """The rate z [B] in [0, 1] from rewards [B, K]."""


@dataclass(frozen=True)
class ZeroRewardFraction:
    """z_i = (1/K) sum_k 1[r_ik = 0]: 1 means that the whole group earned nothing."""

    def __call__(self, rewards: Tensor) -> Tensor:
        return (rewards == 0).to(rewards.dtype).mean(dim=1)


@dataclass(frozen=True)
class AllZeroIndicator:
    """z_i = 1[all r_ik = 0]: 1 only where every rollout of the group earned nothing."""

    def __call__(self, rewards: Tensor) -> Tensor:
        return (rewards == 0).all(dim=1).to(rewards.dtype)


class MovingAverage(Protocol):
    """zbar of equation (9): state in plain Python floats, saved in the checkpoint."""

    def update(self, study_ids: Sequence[str], rates: Sequence[float], alpha: float) -> list[float]:
        """Adds one batch of z; returns zbar for each of its rows, in the same order."""

    def state_dict(self) -> dict[str, Any]:
        """Plain Python types only."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Replaces the state; raises CheckpointError when it isn't one of this class."""


class PerStudyAverage:
    """zbar_i(t) = alpha * zbar_i(t-1) + (1 - alpha) * z_i(t) per study; its first visit sets zbar_i = z_i.

    A study that stands in a batch more than once is visited once, with the mean of its rates, and all its rows get
    the same zbar: the order of a batch doesn't matter, nor which rank holds which row.
    """

    def __init__(self) -> None:
        self._smoothed: dict[str, float] = {}

    def update(self, study_ids: Sequence[str], rates: Sequence[float], alpha: float) -> list[float]:
        """Equation (9) for every study of the batch; rates and zbar in [0, 1]."""
        visits: dict[str, list[float]] = {}
        for study_id, rate in zip(study_ids, rates, strict=True):
            visits.setdefault(study_id, []).append(rate)
        for study_id, seen in visits.items():
            self._smoothed[study_id] = _smooth(self._smoothed.get(study_id), _mean(seen), alpha)
        return [self._smoothed[study_id] for study_id in study_ids]

    def state_dict(self) -> dict[str, Any]:
        """``{"per_study": {study_id: zbar}}``."""
        return {"per_study": dict(self._smoothed)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Replaces the state.

        Raises:
            CheckpointError: the state is of another average, or a value is no rate in [0, 1].
        """
        smoothed = _only_entry(state, "per_study")
        if not isinstance(smoothed, Mapping):
            raise CheckpointError(f"per_study is {type(smoothed).__name__}; a mapping of study ids to rates is needed")
        self._smoothed = {
            str(study_id): _checked_rate(f"study {study_id}", rate) for study_id, rate in smoothed.items()
        }


class BatchAverage:
    """One zbar for all studies, moved by the mean z of each batch; the first batch sets it."""

    def __init__(self) -> None:
        self._smoothed: float | None = None

    def update(self, study_ids: Sequence[str], rates: Sequence[float], alpha: float) -> list[float]:
        """Equation (9) for the batch's mean; the same zbar in [0, 1] for every row."""
        self._smoothed = _smooth(self._smoothed, _mean(rates), alpha)
        return [self._smoothed] * len(study_ids)

    def state_dict(self) -> dict[str, Any]:
        """``{"batch": zbar}``, None before the first batch."""
        return {"batch": self._smoothed}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Replaces the state.

        Raises:
            CheckpointError: the state is of another average, or the value is no rate in [0, 1].
        """
        smoothed = _only_entry(state, "batch")
        self._smoothed = None if smoothed is None else _checked_rate("batch", smoothed)


def mixing_weight(smoothed: Tensor, w_min: float, w_max: float, gamma: float) -> Tensor:
    """The oracle's share w = clip(w_min + (w_max - w_min) * zbar^gamma, w_min, w_max), equation (10).

    Args:
        smoothed: zbar [B], in [0, 1].
        w_min: the oracle's least share, in [0, w_max].
        w_max: the oracle's largest share, in [w_min, 1].
        gamma: above 0; larger keeps the weight low until most rollouts fail.

    Returns:
        [B], in [w_min, w_max].
    """
    return (w_min + (w_max - w_min) * smoothed.pow(gamma)).clamp(w_min, w_max)


def _smooth(previous: float | None, rate: float, alpha: float) -> float:
    return rate if previous is None else alpha * previous + (1.0 - alpha) * rate


def _mean(rates: Sequence[float]) -> float:
    # fsum: the same value whatever the order, so that every rank computes the same state
    return math.fsum(rates) / len(rates)


def _only_entry(state: Mapping[str, Any], key: str) -> Any:
    if list(state) != [key]:
        raise CheckpointError(f"moving average of the zero-reward rate has keys {list(state)}; allowed is [{key!r}]")
    return state[key]


def _checked_rate(name: str, rate: object) -> float:
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 <= rate <= 1:
        raise CheckpointError(f"smoothed zero-reward rate of {name} is {rate!r}; allowed is a number in [0, 1]")
    return float(rate)
