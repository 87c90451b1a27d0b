"""How each finding looks: one function per observation paints its sign on the radiograph.

All take the image [size, size] and change it in place. ``strength`` is 1 for a certain finding and less for an
uncertain one. Heart and mediastinum are part of the anatomy: their growth is decided here and drawn there.
A canvas's ``size`` shrinks every sign about its place; at 1 it changes no bit.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from orapo.chexpert import Observation
from orapo.data.phantoms.anatomy import Chest, draw_chest, paint_chest
from orapo.data.phantoms.difficulty import Difficulty
from orapo.data.phantoms.draws import Draws
from orapo.data.phantoms.findings import Finding
from orapo.data.phantoms.strokes import Grid, Plane, block, disc, haze, path, stick, stripes, unit_grid

UNCERTAIN_STRENGTH = 0.45
GROWTH = (0.045, 0.07, 0.095)
"""Of the half width of an enlarged heart or mediastinum, by severity."""
MARK_PLACE, MARK_RADII = (0.075, 0.075), (0.04, 0.03)
"""Centre and half sizes of the spurious mark: a tag in the upper left corner, outside the body."""

PLAIN = Difficulty()
_ZONE_Y = {"upper": 0.27, "mid": 0.45, "lower": 0.63}


@dataclass(frozen=True, slots=True)
class Canvas:
    """What a sign needs to be painted: image, coordinates, patient, the study's random numbers, size."""

    image: Plane
    grid: Grid
    chest: Chest
    draws: Draws
    size: float = 1.0

    def lighten(self, coverage: Plane, towards: float, strength: float) -> None:
        """Moves the covered pixels towards a grey level."""
        self.image[...] += (towards - self.image) * coverage * strength

    def place(self, finding: Finding) -> tuple[float, float]:
        """A point in the finding's zone of the lung."""
        x = self.chest.axis(finding.side) + self.draws.between(-0.03, 0.03) + 0.02 * self.chest.outward(finding.side)
        return x, _ZONE_Y[finding.zone] + self.draws.between(-0.03, 0.03)


def _opacity(canvas: Canvas, finding: Finding, strength: float) -> None:
    x, y = canvas.place(finding)
    spread = (0.06, 0.072, 0.085)[finding.severity] * canvas.size
    cloud = haze(canvas.grid, x, y, spread, spread * 0.9) * canvas.chest.lung(canvas.grid, finding.side)
    canvas.lighten(cloud, 0.72, 0.85 * strength)


def _lesion(canvas: Canvas, finding: Finding, strength: float) -> None:
    x, y = canvas.place(finding)
    radius = (0.036, 0.045, 0.065)[finding.severity] * canvas.size
    canvas.lighten(disc(canvas.grid, x, y, radius, radius, 0.15), 0.92, 0.95 * strength)


def _consolidation(canvas: Canvas, finding: Finding, strength: float) -> None:
    x, y = canvas.place(finding)
    rx = (0.075, 0.085, 0.1)[finding.severity] * canvas.size
    ry = (0.055, 0.065, 0.075)[finding.severity] * canvas.size
    solid = block(canvas.grid, x, y, rx, ry, 0.4) * canvas.chest.lung(canvas.grid, finding.side)
    # Air bronchograms: two dark branches through the dense lung.
    lean = canvas.draws.between(-0.03, 0.03)
    branch = stick(canvas.grid, x - 0.6 * rx, y + lean, x + 0.6 * rx, y - lean, 0.012)
    fork = stick(canvas.grid, x, y, x + 0.5 * rx, y + 0.6 * ry, 0.012)
    canvas.lighten(solid, 0.78, 0.95 * strength)
    canvas.lighten(np.maximum(branch, fork), 0.3, 0.7 * strength)


def _pneumonia(canvas: Canvas, finding: Finding, strength: float) -> None:
    x, y = canvas.place(finding)
    turn, spread = canvas.draws.between(0.0, 6.28), (0.05, 0.058, 0.066)[finding.severity] * canvas.size
    cloud = haze(canvas.grid, x, y, 0.8 * spread, 0.8 * spread) * canvas.chest.lung(canvas.grid, finding.side)
    canvas.lighten(cloud, 0.6, 0.4 * strength)
    patches = np.zeros_like(canvas.image)
    for petal in range(7):
        angle, reach = turn + petal * 1.0472, 0.0 if petal == 6 else spread * canvas.draws.between(0.75, 1.25)
        radius = canvas.draws.between(0.014, 0.024) * canvas.size
        spot = disc(canvas.grid, x + reach * np.cos(angle), y + reach * np.sin(angle), radius, radius, 0.35)
        patches = np.maximum(patches, spot)
    canvas.lighten(patches, 0.88, 0.95 * strength)


def _edema(canvas: Canvas, finding: Finding, strength: float) -> None:
    wave = stripes(canvas.grid, 0.05, canvas.draws.between(0.0, 6.28), 0.0)
    for side in ("right", "left"):
        x = canvas.chest.axis(side) - 0.045 * canvas.chest.outward(side)
        wing = haze(canvas.grid, x, 0.42, 0.075 * canvas.size, 0.13 * canvas.size) * canvas.chest.lung(
            canvas.grid, side
        )
        canvas.lighten(wing * (0.35 + 0.65 * wave), 0.8, (0.55, 0.75, 0.95)[finding.severity] * strength)


def _atelectasis(canvas: Canvas, finding: Finding, strength: float) -> None:
    for side in finding.sides:
        outward, axis, tilt = canvas.chest.outward(side), canvas.chest.axis(side), canvas.draws.between(-0.02, 0.02)
        y = canvas.chest.dome(side) - 0.04
        for plate in range(2 if finding.severity == 0 else 3):
            level = y - 0.04 * plate
            start = axis - outward * 0.05 * canvas.size
            end = axis + outward * canvas.draws.between(0.08, 0.11) * canvas.size
            width = (0.016, 0.016, 0.02)[finding.severity] * canvas.size
            band = stick(canvas.grid, start, level + tilt, end, level - tilt, width)
            canvas.lighten(band, 0.9, 0.9 * strength)


def _pneumothorax(canvas: Canvas, finding: Finding, strength: float) -> None:
    shrink = (0.05, 0.07, 0.095)[finding.severity] * canvas.size
    lung = canvas.chest.lung(canvas.grid, finding.side)
    collapsed = canvas.chest.lung(canvas.grid, finding.side, shrink)
    canvas.lighten(np.clip(lung - collapsed, 0.0, 1.0), 0.02, strength)
    # The visceral line is where the collapsed lung's coverage crosses one half.
    canvas.lighten(4.0 * collapsed * (1.0 - collapsed) * lung, 0.8, 0.8 * strength)


def _effusion(canvas: Canvas, finding: Finding, strength: float) -> None:
    height = (0.11, 0.18, 0.27)[finding.severity] * canvas.size
    for side in finding.sides:
        lateral = (canvas.grid[0] - canvas.chest.axis(side)) * canvas.chest.outward(side)
        level = canvas.chest.dome(side) - height + 0.04 - 1.2 * np.clip(lateral + 0.08, 0.0, 1.0) ** 2 * 1.5
        fluid = np.clip((canvas.grid[1] - level) / 0.02 + 0.5, 0.0, 1.0) * canvas.chest.lung(canvas.grid, side)
        canvas.lighten(np.asarray(fluid, dtype=np.float32), 0.82, 0.95 * strength)


def _pleural_other(canvas: Canvas, finding: Finding, strength: float) -> None:
    thickness = (0.025, 0.033, 0.042)[finding.severity] * canvas.size
    outward = canvas.chest.outward(finding.side)
    lung = canvas.chest.lung(canvas.grid, finding.side)
    shifted = np.roll(lung, -outward * max(1, round(2 * thickness * lung.shape[1] * 0.7)), axis=1)
    lateral = (canvas.grid[0] - canvas.chest.axis(finding.side)) * outward > 0.03
    reach = np.clip((canvas.grid[1] - 0.2) / 0.03, 0.0, 1.0) * np.clip((0.68 - canvas.grid[1]) / 0.03, 0.0, 1.0)
    rim = np.clip(lung - shifted, 0.0, 1.0) * lateral * reach
    canvas.lighten(np.asarray(rim, dtype=np.float32), 0.95, 0.95 * strength)


def _fracture(canvas: Canvas, finding: Finding, strength: float) -> None:
    outward = canvas.chest.outward(finding.side)
    x = canvas.chest.axis(finding.side) + outward * canvas.draws.between(0.075, 0.095)
    y = canvas.draws.pick((0.3, 0.42, 0.54)) + canvas.draws.between(-0.03, 0.03)
    size = canvas.size
    step = (0.028, 0.034, 0.04)[finding.severity] * size
    far, near, drop, width = outward * 0.085 * size, outward * 0.008 * size, 0.045 * size, 0.024 * size
    inner = stick(canvas.grid, x - far, y - drop, x - near, y - 0.008 * size, width)
    outer = stick(canvas.grid, x + near, y + step, x + far, y + step + drop, width)
    canvas.lighten(disc(canvas.grid, x, y + 0.5 * step, 0.04 * size, 0.04 * size, 0.4), 0.1, 0.6 * strength)
    canvas.lighten(np.maximum(inner, outer), 0.98, 0.95 * strength)


def _device(canvas: Canvas, finding: Finding, strength: float) -> None:
    middle, size = canvas.chest.middle, canvas.size
    if finding.severity == 2:
        tip = canvas.draws.between(0.26, 0.32)
        tube = np.maximum(
            stick(canvas.grid, middle - 0.016, 0.0, middle - 0.016, tip, 0.012 * size),
            stick(canvas.grid, middle + 0.016, 0.0, middle + 0.016, tip, 0.012 * size),
        )
        canvas.lighten(tube, 1.0, 0.95 * strength)
        return
    outward = canvas.chest.outward(finding.side)
    if finding.severity == 0:
        entry = middle + outward * canvas.draws.between(0.1, 0.14)
        course = [(entry, 0.0), (middle + outward * 0.075, 0.14), (middle - 0.03, 0.25), (middle - 0.035, 0.46)]
        canvas.lighten(path(canvas.grid, course, 0.014 * size), 1.0, 0.95 * strength)
        return
    x, y = middle + outward * canvas.draws.between(0.24, 0.28), canvas.draws.between(0.2, 0.24)
    lead = [(x, y), (middle + outward * 0.06, 0.19), (middle - 0.025, 0.34), (middle + 0.06, 0.66)]
    canvas.lighten(path(canvas.grid, lead, 0.011 * size), 1.0, 0.9 * strength)
    canvas.lighten(block(canvas.grid, x, y, 0.06 * size, 0.05 * size), 1.0, strength)


SIGNS: Mapping[Observation, Callable[[Canvas, Finding, float], None]] = {
    Observation.EDEMA: _edema,
    Observation.LUNG_OPACITY: _opacity,
    Observation.CONSOLIDATION: _consolidation,
    Observation.PNEUMONIA: _pneumonia,
    Observation.LUNG_LESION: _lesion,
    Observation.ATELECTASIS: _atelectasis,
    Observation.PLEURAL_EFFUSION: _effusion,
    Observation.PNEUMOTHORAX: _pneumothorax,
    Observation.PLEURAL_OTHER: _pleural_other,
    Observation.FRACTURE: _fracture,
    Observation.SUPPORT_DEVICES: _device,
}
"""Painters in the order in which they are applied: what lies in front comes last."""


def paint_study(
    draws: Draws,
    findings: Mapping[Observation, Finding],
    image_size: int,
    difficulty: Difficulty = PLAIN,
    *,
    has_mark: bool = False,
    patient: Callable[[int], Draws] | None = None,
) -> NDArray[np.uint8]:
    """The radiograph of a patient with these findings.

    Args:
        draws: the study's stream of pixel numbers; neither difficulty nor mark takes one more or less.
        findings: what is drawn.
        image_size: pixels per side.
        difficulty: contrast and size of the signs; whether there is a mark is said apart.
        has_mark: whether the spurious mark is drawn.
        patient: streams of the patient's own, 0 of the chest and one for each sign, so that a sign stands in the same
            place on all films of the patient; None takes everything from ``draws``.

    Returns:
        [image_size, image_size], 0 black to 255 white.
    """
    grid, size = unit_grid(image_size), difficulty.sign_size
    stream = patient or (lambda _: draws)
    chest_draws = stream(0)
    chest = draw_chest(
        chest_draws,
        _growth(findings.get(Observation.CARDIOMEGALY)) * size,
        _growth(findings.get(Observation.ENLARGED_CARDIOMEDIASTINUM)) * size,
    )
    canvas = Canvas(paint_chest(grid, chest, chest_draws), grid, chest, draws, size)
    for number, (observation, paint) in enumerate(SIGNS.items(), start=1):
        if observation in findings:
            finding = findings[observation]
            paint(replace(canvas, draws=stream(number)), finding, _strength(finding) * difficulty.sign_contrast)
    if has_mark:
        canvas.lighten(block(grid, *MARK_PLACE, *MARK_RADII), 1.0, 1.0)
    exposure, brightness = draws.between(0.9, 1.1), draws.between(-0.04, 0.04)
    noisy = canvas.image * exposure + brightness + 0.025 * draws.noise(image_size)
    return (np.clip(noisy, 0.0, 1.0) * 255.0).astype(np.uint8)


def _growth(finding: Finding | None) -> float:
    return 0.0 if finding is None else GROWTH[finding.severity] * _strength(finding)


def _strength(finding: Finding) -> float:
    return UNCERTAIN_STRENGTH if finding.uncertain else 1.0
