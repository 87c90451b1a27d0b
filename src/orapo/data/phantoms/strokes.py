"""Drawing primitives on a square canvas; every one returns coverage in [0, 1] with a soft edge.

Coordinates and lengths are fractions of the canvas: x grows to the right, y downwards.
"""

from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]
Grid = tuple[Plane, Plane]


@lru_cache(maxsize=8)
def unit_grid(size: int) -> Grid:
    """Pixel centres x [1, size] and y [size, 1] of a canvas, broadcasting to [size, size]."""
    centres = ((np.arange(size) + 0.5) / size).astype(np.float32)
    return centres[None, :], centres[:, None]


def disc(grid: Grid, x: float, y: float, rx: float, ry: float, softness: float = 0.1) -> Plane:
    """An ellipse; ``softness`` is the width of its edge as a fraction of the radius."""
    radius = np.sqrt(((grid[0] - x) / rx) ** 2 + ((grid[1] - y) / ry) ** 2)
    return np.clip((1.0 - radius) / softness + 0.5, 0.0, 1.0)


def haze(grid: Grid, x: float, y: float, rx: float, ry: float) -> Plane:
    """A cloud without an edge: a Gaussian with these standard deviations."""
    across = np.exp(-0.5 * ((grid[0] - x) / rx) ** 2)
    down = np.exp(-0.5 * ((grid[1] - y) / ry) ** 2)
    return np.asarray(down * across, dtype=np.float32)


def block(grid: Grid, x: float, y: float, rx: float, ry: float, softness: float = 0.15) -> Plane:
    """A rounded box (superellipse of order 4)."""
    radius = (((grid[0] - x) / rx) ** 4 + ((grid[1] - y) / ry) ** 4) ** 0.25
    return np.clip((1.0 - radius) / softness + 0.5, 0.0, 1.0)


def stick(grid: Grid, x0: float, y0: float, x1: float, y1: float, width: float) -> Plane:
    """A straight line between two points; ``width`` is its full width."""
    dx, dy = x1 - x0, y1 - y0
    along = np.clip(((grid[0] - x0) * dx + (grid[1] - y0) * dy) / (dx * dx + dy * dy + 1e-9), 0.0, 1.0)
    distance = np.sqrt((grid[0] - x0 - along * dx) ** 2 + (grid[1] - y0 - along * dy) ** 2)
    return np.clip((0.5 * width - distance) / 0.006 + 0.5, 0.0, 1.0)


def path(grid: Grid, points: list[tuple[float, float]], width: float) -> Plane:
    """Straight lines from point to point."""
    parts = [stick(grid, *start, *end, width) for start, end in pairwise(points)]
    return np.asarray(np.maximum.reduce(parts), dtype=np.float32)


def stripes(grid: Grid, period: float, phase: float, slope: float) -> Plane:
    """Parallel waves across the canvas, 1 on the crests and 0 in the troughs; ``slope`` tilts them."""
    return np.asarray(0.5 + 0.5 * np.sin((grid[1] + slope * grid[0]) * (6.2831853 / period) + phase), dtype=np.float32)
