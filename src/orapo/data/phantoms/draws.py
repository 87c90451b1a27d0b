"""Uniform random numbers in blocks: one call of numpy per study instead of one per decision."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Choice = TypeVar("Choice")

_BLOCK = 48


class Draws:
    """A stream of decisions that depends on the key alone."""

    def __init__(self, *key: int) -> None:
        self._rng = np.random.default_rng(key)
        self._numbers: list[float] = self._rng.random(_BLOCK).tolist()

    def uniform(self) -> float:
        """The next number in [0, 1)."""
        if not self._numbers:
            self._numbers = self._rng.random(_BLOCK).tolist()
        return self._numbers.pop()

    def between(self, low: float, high: float) -> float:
        """The next number in [low, high)."""
        return low + (high - low) * self.uniform()

    def happens(self, probability: float) -> bool:
        return self.uniform() < probability

    def pick(self, options: Sequence[Choice]) -> Choice:
        """One of the options, uniformly."""
        return options[int(self.uniform() * len(options))]

    def shuffled(self, options: Sequence[Choice]) -> list[Choice]:
        """The options in any order."""
        left = list(options)
        return [left.pop(int(self.uniform() * len(left))) for _ in options]

    def noise(self, size: int) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
        """Standard normal noise [size, size], float32."""
        return self._rng.standard_normal((size, size), dtype=np.float32)
