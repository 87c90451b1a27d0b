"""From what to what an image is stretched that doesn't say how it is to be shown."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[Any]

_TAIL = 0.005
"""Share of the pixels beyond either end of the bulk."""


def stretch_ends(values: Values, counts: Values) -> tuple[float, float]:
    """The values that become black and white: the darkest and the brightest, unless these are outliers.

    An end is one where it lies further from the bulk of the pixels than the bulk is wide: a burnt-in marker of 65535
    over tissue of 12 bits would leave the tissue a sixteenth of all greys. The end of the bulk stands in its place, so
    that the bulk always has a third of the greys or more.

    Args:
        values: grey values, at least one, in any order; a value may occur twice.
        counts: how many pixels have each.
    """
    order = np.argsort(values, kind="stable")
    ordered, up_to = values[order], np.cumsum(counts[order])
    first, last = float(ordered[0]), float(ordered[-1])
    tail = int(_TAIL * int(up_to[-1]))
    low = float(ordered[np.searchsorted(up_to, tail, side="right")])
    high = float(ordered[np.searchsorted(up_to, int(up_to[-1]) - tail, side="left")])
    width = high - low
    if width == 0:
        return first, last
    return first if low - first <= width else low, last if last - high <= width else high
