"""Quotients of counts, and what one with the denominator 0 is."""

import numpy as np
from numpy.typing import NDArray

UNDEFINED_RATIO = 0.0
"""What precision, recall and F1 are when their denominator is zero (``zero_division=0`` in scikit-learn's words).

An observation that no report calls present and no study has therefore scores 0 and pulls the macro average down. The
other convention, 1, rewards silence about rare findings.
"""


def ratio(
    numerator: NDArray[np.int64] | NDArray[np.float64], denominator: NDArray[np.int64] | NDArray[np.float64]
) -> NDArray[np.float64]:
    """Elementwise quotient of counts; ``UNDEFINED_RATIO`` where the denominator is 0. The only home of that rule."""
    safe = np.where(denominator == 0, 1, denominator)
    return np.asarray(np.where(denominator == 0, UNDEFINED_RATIO, numerator / safe), dtype=np.float64)
