"""A phantom's normal chest: body, lungs, ribs, clavicles, mediastinum, heart and diaphragm, each a bit different."""

from dataclasses import dataclass

import numpy as np

from orapo.data.phantoms.draws import Draws
from orapo.data.phantoms.strokes import Grid, Plane, disc

SOFT_TISSUE = 0.55
AIR = 0.24
HEART = 0.74
MEDIASTINUM = 0.70
ABDOMEN = 0.68


@dataclass(frozen=True, slots=True)
class Chest:
    """Where things are in one patient; fractions of the image.

    Attributes:
        middle: x of the spine.
        apart: distance of each lung's axis from the spine.
        half_width: of each lung.
        top: y of the lung tops.
        domes: y of the right and left diaphragm dome.
        heart_half_width: includes cardiomegaly.
        mediastinum_half_width: of the upper mediastinum, includes its enlargement.
    """

    middle: float
    apart: float
    half_width: float
    top: float
    domes: tuple[float, float]
    heart_half_width: float
    mediastinum_half_width: float

    def axis(self, side: str) -> float:
        """The x of one lung's axis; the patient's right is on the image's left."""
        return self.middle + self.outward(side) * self.apart

    def outward(self, side: str) -> int:
        """Direction of x from the spine to this side."""
        return -1 if side == "right" else 1

    def dome(self, side: str) -> float:
        """The y of this side's diaphragm."""
        return self.domes[0 if side == "right" else 1]

    def lung(self, grid: Grid, side: str, shrink: float = 0.0) -> Plane:
        """Coverage of one lung [size, size]; ``shrink`` pulls its outer wall and top inwards (a collapsed lung)."""
        x = self.axis(side) - self.outward(side) * shrink * 0.7
        rx = self.half_width - shrink * 0.7
        top, bottom = self.top + shrink * 1.2, self.dome(side) + 0.1
        middle, ry = 0.5 * (top + bottom), 0.5 * (bottom - top)
        radius = (np.abs((grid[0] - x) / rx) ** 2.6 + np.abs((grid[1] - middle) / ry) ** 2.6) ** (1 / 2.6)
        inside = np.clip((1.0 - radius) / 0.06 + 0.5, 0.0, 1.0)
        floor = self.dome(side) + 1.6 * (grid[0] - x) ** 2
        return np.asarray(inside * np.clip((floor - grid[1]) / 0.015 + 0.5, 0.0, 1.0), dtype=np.float32)


def draw_chest(draws: Draws, heart_growth: float, mediastinum_growth: float) -> Chest:
    """One patient's proportions; the growths are added to the half widths of heart and mediastinum."""
    return Chest(
        middle=draws.between(0.485, 0.515),
        apart=draws.between(0.195, 0.215),
        half_width=draws.between(0.15, 0.17),
        top=draws.between(0.09, 0.13),
        domes=(draws.between(0.74, 0.79), draws.between(0.76, 0.81)),
        heart_half_width=draws.between(0.105, 0.125) + heart_growth,
        mediastinum_half_width=draws.between(0.05, 0.06) + mediastinum_growth,
    )


def paint_chest(grid: Grid, chest: Chest, draws: Draws) -> Plane:
    """The radiograph [size, size] of the patient without signs: 0 black (air) to 1 white (metal)."""
    body = disc(grid, chest.middle, 0.62, 0.47, 0.62, 0.04)
    image = 0.04 + (SOFT_TISSUE - 0.04) * body
    image += (ABDOMEN - SOFT_TISSUE) * body * np.clip((grid[1] - 0.78) / 0.05, 0.0, 1.0)
    lungs = np.maximum(chest.lung(grid, "right"), chest.lung(grid, "left"))
    image += (AIR - image) * lungs
    image += _ribs(grid, chest, draws.between(0.0, 6.28)) * draws.between(0.05, 0.08) * lungs
    image += (MEDIASTINUM - image) * _mediastinum(grid, chest)
    heart_x = chest.middle + 0.025 + 0.3 * (chest.heart_half_width - 0.115)
    heart = disc(grid, heart_x, 0.655, chest.heart_half_width, 0.135, 0.08)
    image += (HEART - image) * heart
    return np.asarray(image, dtype=np.float32)


def _ribs(grid: Grid, chest: Chest, phase: float) -> Plane:
    bow = 1.1 * (np.abs(grid[0] - chest.middle) - chest.apart) ** 2
    waves = np.sin((grid[1] - bow - 0.25 * np.abs(grid[0] - chest.middle)) * 6.2831853 / 0.105 + phase)
    collar = np.abs(grid[1] - 0.14 - 0.35 * np.abs(np.abs(grid[0] - chest.middle) - 0.2)) < 0.014
    return np.asarray(np.clip(2.5 * waves - 1.0, 0.0, 1.0) + 1.2 * collar, dtype=np.float32)


def _mediastinum(grid: Grid, chest: Chest) -> Plane:
    lower = np.clip((grid[1] - 0.46) / 0.08, 0.0, 1.0)
    width = chest.mediastinum_half_width + (0.055 - chest.mediastinum_half_width) * lower
    # Widest at the aortic arch, so that an enlarged one reads as a bulge and not as a darker lung.
    width = width * (1.0 - 0.35 * np.clip((0.2 - grid[1]) / 0.2, 0.0, 1.0))
    edge = np.clip((width - np.abs(grid[0] - chest.middle)) / 0.015 + 0.5, 0.0, 1.0)
    return np.asarray(edge, dtype=np.float32)
