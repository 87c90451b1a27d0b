"""Which findings a phantom study has: how common they are, on which side, in which zone, how severe."""

from bisect import bisect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

from orapo.chexpert import OBSERVATIONS, Observation
from orapo.data.phantoms.draws import Draws

NORMAL_FRACTION = 0.45
"""Share of studies of natural prevalence that have no finding (but perhaps a device)."""

NATURAL_WEIGHTS: Mapping[Observation, float] = {
    Observation.PLEURAL_EFFUSION: 0.19,
    Observation.LUNG_OPACITY: 0.15,
    Observation.CARDIOMEGALY: 0.13,
    Observation.EDEMA: 0.11,
    Observation.ATELECTASIS: 0.11,
    Observation.CONSOLIDATION: 0.07,
    Observation.PNEUMOTHORAX: 0.06,
    Observation.PNEUMONIA: 0.055,
    Observation.LUNG_LESION: 0.045,
    Observation.ENLARGED_CARDIOMEDIASTINUM: 0.035,
    Observation.FRACTURE: 0.03,
    Observation.PLEURAL_OTHER: 0.015,
}
"""Long tail of the observations when a study has findings; devices are drawn apart."""

DEVICE_FRACTION = 0.2
UNCERTAIN_FRACTION = 0.08
"""Share of findings that the report hedges and the image shows faintly."""

FINDINGS = tuple(o for o in OBSERVATIONS if o is not Observation.NO_FINDING)
_TAIL = tuple(NATURAL_WEIGHTS)
_CUMULATIVE = tuple(accumulate(NATURAL_WEIGHTS.values()))
_SIDES = ("right", "left")
_ZONES = ("upper", "mid", "lower")

# The parts of one lung that a sign needs for itself, so that one sign never hides another.
_REGIONS_OF: Mapping[Observation, tuple[str, ...]] = {
    Observation.ATELECTASIS: ("base",),
    Observation.PLEURAL_EFFUSION: ("base", "lower"),
    Observation.PNEUMOTHORAX: ("upper", "wall"),
    Observation.PLEURAL_OTHER: ("wall",),
    Observation.FRACTURE: ("wall",),
}
_FOCAL = frozenset(
    (Observation.LUNG_OPACITY, Observation.LUNG_LESION, Observation.CONSOLIDATION, Observation.PNEUMONIA)
)
_TWO_SIDED = frozenset((Observation.ATELECTASIS, Observation.PLEURAL_EFFUSION))
_MIDLINE = frozenset((Observation.ENLARGED_CARDIOMEDIASTINUM, Observation.CARDIOMEGALY, Observation.EDEMA))


Prevalence = Literal["natural", "balanced"]
"""How the findings of a split are distributed."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding of a study.

    Attributes:
        observation: never No Finding.
        severity: 0 slight, 1 moderate, 2 marked; for devices 0 catheter, 1 pacemaker, 2 endotracheal tube.
        side: "right", "left", "both", or "" where a side means nothing. The patient's right is on the image's left.
        zone: "upper", "mid", "lower" of the lung, or "".
        uncertain: hedged in the report and drawn faintly.
    """

    observation: Observation
    severity: int
    side: str
    zone: str
    uncertain: bool

    @property
    def sides(self) -> tuple[str, ...]:
        """Each side that it is on."""
        return _SIDES if self.side == "both" else (self.side,)


def draw_findings(draws: Draws, prevalence: Prevalence, index: int) -> dict[Observation, Finding]:
    """The findings of one study, each in a place of its own.

    Args:
        draws: the study's stream of decisions.
        prevalence: natural long tail, or balanced: study ``index`` has observation ``index % 14`` for certain.
        index: number of the study in its split.
    """
    target: Observation | None = None
    if prevalence == "balanced":
        target = OBSERVATIONS[index % len(OBSERVATIONS)]
        chosen = _balanced_observations(draws, target)
    else:
        chosen = _natural_observations(draws)
    taken: set[tuple[str, str]] = set()
    return {o: _place(draws, o, taken, certain=o is target) for o in chosen}


def misreported(draws: Draws, findings: Mapping[Observation, Finding]) -> dict[Observation, Finding]:
    """The findings that a wrong report states: one is left out, or one that is not drawn is added.

    Args:
        draws: a stream of its own, so that the true findings stay what they are.
        findings: what is drawn; without any, one is added.
    """
    if findings and draws.happens(0.5):
        left_out = draws.pick(list(findings))
        return {observation: finding for observation, finding in findings.items() if observation is not left_out}
    added = draws.pick([observation for observation in FINDINGS if observation not in findings])
    return {**findings, added: _place(draws, added, set(), certain=True)}


def added_finding(draws: Draws, observation: Observation, findings: Mapping[Observation, Finding]) -> Finding:
    """A finding of this observation, certain, in a place that those others leave free."""
    taken: set[tuple[str, str]] = set()
    for finding in findings.values():
        regions = (finding.zone,) if finding.zone else _REGIONS_OF.get(finding.observation, ())
        taken.update((side, region) for side in finding.sides for region in regions)
    return _place(draws, observation, taken, certain=True)


def _natural_observations(draws: Draws) -> list[Observation]:
    count = 0 if draws.happens(NORMAL_FRACTION) else 1 + bisect((0.55, 0.87), draws.uniform())
    chosen: list[Observation] = []
    _fill_up(chosen, count, lambda: _from_tail(draws))
    if draws.happens(DEVICE_FRACTION):
        chosen.append(Observation.SUPPORT_DEVICES)
    return chosen


def _balanced_observations(draws: Draws, target: Observation) -> list[Observation]:
    extra = bisect((0.5, 0.85), draws.uniform())
    if target is Observation.NO_FINDING:
        return [Observation.SUPPORT_DEVICES] if extra == 2 else []
    chosen: list[Observation] = [target]
    _fill_up(chosen, 1 + extra, lambda: draws.pick(FINDINGS))
    return chosen


def _from_tail(draws: Draws) -> Observation:
    return _TAIL[min(bisect(_CUMULATIVE, draws.uniform() * _CUMULATIVE[-1]), len(_TAIL) - 1)]


def _fill_up(chosen: list[Observation], count: int, draw: Callable[[], Observation]) -> None:
    """Draws until there are so many different ones."""
    while len(chosen) < count:
        if (other := draw()) not in chosen:
            chosen.append(other)


def _place(draws: Draws, observation: Observation, taken: set[tuple[str, str]], *, certain: bool) -> Finding:
    severity = int(draws.uniform() * 3)
    if observation is Observation.SUPPORT_DEVICES:
        return Finding(observation, severity, "" if severity == 2 else draws.pick(_SIDES), "", False)
    uncertain = draws.happens(UNCERTAIN_FRACTION) and not certain
    if observation in _MIDLINE:
        return Finding(observation, severity, "", "", uncertain)
    if observation in _FOCAL:
        places = [(side, zone) for side in _SIDES for zone in _ZONES]
        side, zone = draws.pick([place for place in places if place not in taken] or places)
        taken.add((side, zone))
        return Finding(observation, severity, side, zone, uncertain)
    regions = _REGIONS_OF[observation]
    free = [side for side in _SIDES if not any((side, region) in taken for region in regions)]
    is_on_both = observation in _TWO_SIDED and len(free) == 2 and draws.happens(0.25)
    finding = Finding(observation, severity, "both" if is_on_both else draws.pick(free or _SIDES), "", uncertain)
    taken.update((side, region) for side in finding.sides for region in regions)
    return finding
