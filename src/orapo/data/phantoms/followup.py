"""Patients who were seen before: what the prior film showed, how each finding has changed, why they came again."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from orapo.chexpert import Observation
from orapo.data.phantoms.draws import Draws
from orapo.data.phantoms.findings import FINDINGS, Finding, added_finding
from orapo.labeler import Change

RESOLVED_FRACTION = 0.4
"""Share of studies whose prior film shows a finding that has resolved."""

_O = Observation
_SAME_SIZE = frozenset((_O.SUPPORT_DEVICES, _O.FRACTURE, _O.PLEURAL_OTHER))
"""Neither larger nor smaller."""
_STAYS = frozenset((_O.FRACTURE, _O.PLEURAL_OTHER, _O.LUNG_LESION))
"""Never resolves."""
_LEAST, _MOST = 0, 2
_NOT_FOLLOWED = frozenset((_O.SUPPORT_DEVICES, _O.PLEURAL_OTHER))
_SYMPTOMS = ("Cough.", "Fever.", "Shortness of breath.", "Chest pain.")


@dataclass(frozen=True, slots=True)
class Course:
    """What happened between two films of one patient.

    Attributes:
        prior: the findings of the prior film.
        changes: of the findings of either film; none of a hedged finding, which stays as it was.
    """

    prior: Mapping[Observation, Finding]
    changes: Mapping[Observation, Change]

    @property
    def resolved(self) -> dict[Observation, Finding]:
        """Findings of the prior film that are gone in this one."""
        return {o: finding for o, finding in self.prior.items() if self.changes.get(o) is Change.RESOLVED}


def draw_course(draws: Draws, findings: Mapping[Observation, Finding]) -> Course:
    """How a patient with these findings looked before.

    The current film says as little as possible about the change: all changes that can have led to a severity
    are equally likely. A finding that has changed its size was as small, or as large, as it can be.

    Args:
        draws: a stream of its own.
        findings: of the current film.
    """
    prior: dict[Observation, Finding] = {}
    changes: dict[Observation, Change] = {}
    for observation, finding in findings.items():
        if finding.uncertain:
            prior[observation] = finding
            continue
        change = changes[observation] = draws.pick(_possible(finding))
        if change is not Change.NEW:
            severity = {Change.LARGER: _LEAST, Change.SMALLER: _MOST}.get(change, finding.severity)
            prior[observation] = replace(finding, severity=severity)
    if draws.happens(RESOLVED_FRACTION):
        gone = draws.pick([o for o in FINDINGS if o not in findings and o not in _STAYS])
        prior[gone] = added_finding(draws, gone, {**findings, **prior})
        changes[gone] = Change.RESOLVED
    return Course(prior, changes)


def draw_indication(draws: Draws, prior: Mapping[Observation, Finding]) -> str:
    """Why the patient came: to follow up a finding of the prior film, or for an unspecific symptom."""
    followed = [observation for observation in prior if observation not in _NOT_FOLLOWED]
    return f"Follow-up of {draws.pick(followed).value.lower()}." if followed else draws.pick(_SYMPTOMS)


def _possible(finding: Finding) -> list[Change]:
    possible = [Change.NEW, Change.UNCHANGED]
    if finding.observation not in _SAME_SIZE:
        possible += [Change.LARGER] * (finding.severity > _LEAST) + [Change.SMALLER] * (finding.severity < _MOST)
    return possible
