"""Scenes of shapes with captions: what the base learns to see instead of radiology.

Thirteen shapes stand on random backdrops (gradients, waves, or a chest without any sign). They are drawn with the
same primitives as the phantoms' signs, so the base has features for such forms, but never reads a radiology word there.
Positions are named by compass, so that "left" and "right" keep the radiologist's meaning.
"""

from collections.abc import Callable, Mapping

import numpy as np

from orapo.data.phantoms.anatomy import draw_chest, paint_chest
from orapo.data.phantoms.draws import Draws
from orapo.data.phantoms.strokes import Grid, Plane, block, disc, haze, path, stick, stripes, unit_grid

INSTRUCTION = "List the shapes."
SIZE = 112
CELLS = 4
CHEST_BACKDROP_FRACTION = 0.5
"""Share of scenes whose backdrop is a chest without any sign."""

Painter = Callable[[Grid, Draws, float, float, float], Plane]


def _cluster(grid: Grid, draws: Draws, x: float, y: float, size: float) -> Plane:
    turn, spots = draws.between(0.0, 6.28), np.zeros((SIZE, SIZE), dtype=np.float32)
    for petal in range(7):
        reach = 0.0 if petal == 6 else size * draws.between(0.55, 0.85)
        angle, radius = turn + petal * 1.0472, draws.between(0.013, 0.024)
        spots = np.maximum(
            spots, disc(grid, x + reach * np.cos(angle), y + reach * np.sin(angle), radius, radius, 0.35)
        )
    return spots


def _bars(grid: Grid, draws: Draws, x: float, y: float, size: float) -> Plane:
    tilt = draws.between(-0.03, 0.03)
    rows = [stick(grid, x - size, y + k * 0.04 + tilt, x + size, y + k * 0.04 - tilt, 0.017) for k in (-1, 0, 1)]
    return np.maximum.reduce(rows[: draws.pick((2, 3))])


def _line(grid: Grid, draws: Draws, x: float, y: float, size: float) -> Plane:
    bend = draws.between(-0.1, 0.1)
    course = [(x + bend, y - 2.5 * size), (x, y - 0.5 * size), (x - 0.5 * bend, y + 2.0 * size)]
    return path(grid, course, draws.between(0.011, 0.016))


def _arch(grid: Grid, draws: Draws, x: float, y: float, size: float) -> Plane:
    outer = disc(grid, x, y, 1.6 * size, 2.4 * size, 0.06)
    shift = draws.pick((-1, 1)) * 0.5 * size
    return np.clip(outer - disc(grid, x + shift, y + 0.5 * size, 1.2 * size, 2.2 * size, 0.06), 0.0, 1.0)


def _rim(grid: Grid, draws: Draws, x: float, y: float, size: float) -> Plane:
    bow = draws.pick((-1, 1)) * draws.between(0.0, 0.03)
    course = [(x, y - 2.0 * size), (x + bow, y), (x, y + 2.0 * size)]
    return path(grid, course, draws.between(0.026, 0.045))


def _pool(grid: Grid, draws: Draws, x: float, y: float, size: float) -> Plane:
    level = y - draws.pick((-1, 1)) * 0.6 * (grid[0] - x) - 3.0 * (grid[0] - x) ** 2
    below = np.clip((grid[1] - level) / 0.02 + 0.5, 0.0, 1.0)
    return below * block(grid, x, y + size, 1.7 * size, 1.6 * size, 0.08)


def _wings(grid: Grid, draws: Draws, x: float, y: float, size: float) -> Plane:
    apart, wave = draws.between(0.12, 0.18), stripes(grid, 0.05, draws.between(0.0, 6.28), 0.0)
    both = haze(grid, x - apart, y, size, 1.7 * size) + haze(grid, x + apart, y, size, 1.7 * size)
    return np.clip(both, 0.0, 1.0) * (0.35 + 0.65 * wave)


def _broken(grid: Grid, draws: Draws, x: float, y: float, size: float) -> Plane:
    way, step = draws.pick((-1, 1)), draws.between(0.026, 0.042)
    inner = stick(grid, x - way * 0.085, y - 0.045, x - way * 0.008, y - 0.008, 0.024)
    return np.maximum(inner, stick(grid, x + way * 0.008, y + step, x + way * 0.085, y + step + 0.045, 0.024))


SHAPES: Mapping[str, Painter] = {
    "disc": lambda g, d, x, y, s: disc(g, x, y, 0.7 * s, 0.7 * s, 0.15),
    "cloud": lambda g, d, x, y, s: haze(g, x, y, s, 0.9 * s),
    "brick": lambda g, d, x, y, s: block(g, x, y, 1.2 * s, 0.9 * s, 0.3),
    "cluster": _cluster,
    "bars": _bars,
    "thread": _line,
    "arch": _arch,
    "strip": _rim,
    "pool": _pool,
    "egg": lambda g, d, x, y, s: disc(g, x, y, 2.4 * s, 1.8 * s, 0.08),
    "column": lambda g, d, x, y, s: block(g, x, y, s, 3.0 * s, 0.08),
    "wings": _wings,
    "twig": _broken,
}
NAMES = tuple(SHAPES)
_SIZES = (("little", 0.055), ("medium", 0.07), ("big", 0.09))
_ROWS, _COLUMNS = ("top", "middle", "bottom"), ("west", "centre", "east")


def draw_scene(draws: Draws) -> tuple[Plane, str, Plane]:
    """One scene.

    Returns:
        The image [112, 112] in [0, 1]; its caption; and for each of the 4 x 4 image tokens which shapes touch its
        28 x 28 pixels, [16, 13] of 0 and 1.
    """
    grid = unit_grid(SIZE)
    image = _backdrop(grid, draws)
    touched = np.zeros((CELLS * CELLS, len(NAMES)), dtype=np.float32)
    sentences, places = [], [(row, column) for row in range(3) for column in range(3)]
    for _ in range(draws.pick((1, 2, 2, 3))):
        row, column = places.pop(int(draws.uniform() * len(places)))
        kind, (size_name, size) = int(draws.uniform() * len(NAMES)), draws.pick(_SIZES)
        x = 0.24 + 0.26 * column + draws.between(-0.05, 0.05)
        y = 0.24 + 0.26 * row + draws.between(-0.05, 0.05)
        coverage = SHAPES[NAMES[kind]](grid, draws, x, y, size)
        # Dark arches look like air; the other shapes are mostly bright, as most signs are.
        dark = draws.happens(0.7 if NAMES[kind] == "arch" else 0.1)
        image = image + ((0.02 if dark else draws.between(0.72, 1.0)) - image) * coverage * draws.between(0.75, 1.0)
        cells = (coverage > 0.4).reshape(CELLS, SIZE // CELLS, CELLS, SIZE // CELLS).mean(axis=(1, 3))
        touched[:, kind] = np.maximum(touched[:, kind], (cells > 0.02).reshape(-1))
        sentences.append(((row, column), f"{size_name} {NAMES[kind]} at the {_ROWS[row]} {_COLUMNS[column]}."))
    caption = " ".join(text[0].upper() + text[1:] for _, text in sorted(sentences))
    noisy = image * draws.between(0.9, 1.1) + draws.between(-0.04, 0.04) + 0.025 * draws.noise(SIZE)
    return np.clip(noisy, 0.0, 1.0), caption, touched


def all_words() -> str:
    """A text with every word of the captions."""
    sizes = [name for name, _ in _SIZES]
    first = " ".join(f"{name.capitalize()}. {name}" for name in sizes)
    return f"{first} {' '.join(NAMES)} at the {' '.join(_ROWS)} {' '.join(_COLUMNS)}."


def _backdrop(grid: Grid, draws: Draws) -> Plane:
    if draws.happens(CHEST_BACKDROP_FRACTION):
        return paint_chest(grid, draw_chest(draws, 0.0, 0.0), draws)
    level, across, down = draws.between(0.1, 0.5), draws.between(-0.3, 0.3), draws.between(-0.3, 0.3)
    image = level + across * (grid[0] - 0.5) + down * (grid[1] - 0.5)
    if draws.happens(0.5):
        waves = stripes(grid, draws.between(0.08, 0.2), draws.between(0.0, 6.28), draws.between(-0.6, 0.6))
        image = image + draws.between(0.02, 0.08) * waves
    return np.asarray(np.clip(image, 0.0, 1.0), dtype=np.float32)
