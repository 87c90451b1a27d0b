"""The phantom report: findings in anatomical order, negated statements between them, and what the text states.

Every sentence is one well-formed statement. No sentence uses a word that a CheXpert-style labeler would read as
another observation, so "wall thickening", "plate-like" or "vascular congestion" don't occur, and "heart size" or
"contours" occur only where the label says so.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from orapo.chexpert import OBSERVATIONS, LabelState, LabelStates, Observation
from orapo.data.phantoms.draws import Draws
from orapo.data.phantoms.findings import Finding
from orapo.data.phantoms.followup import Course
from orapo.data.phantoms.wordings import CHANGED, DENIED, PLAIN, REMOVED, Wording, fill, forms, phrases_of
from orapo.labeler import Attributes, Certainty, Change

_O = Observation
_PARENCHYMAL = (_O.EDEMA, _O.CONSOLIDATION, _O.LUNG_OPACITY, _O.PNEUMONIA, _O.LUNG_LESION, _O.ATELECTASIS)
_NUM_ASIDES = (1, 2, 3)
_COPY_FRACTION = 0.7
"""Share of reports whose last aside is copied from a prior report, if there is room for it."""


class Statement(NamedTuple):
    """What one sentence of a report states of one observation.

    Attributes:
        observation: never No Finding.
        state: POSITIVE, NEGATIVE or UNCERTAIN.
        attributes: as the sentence states them; a finding may have a severity that it leaves out.
        sentence_index: which sentence of the report, counted from 0.
    """

    observation: Observation
    state: LabelState
    attributes: Attributes
    sentence_index: int


class Report(NamedTuple):
    """A report and what it states.

    Attributes:
        text: the sentences.
        labels: the 14 label states that a CheXpert-style labeler should read from them.
        statements: of each observation that the report names, in reading order.
    """

    text: str
    labels: LabelStates
    statements: tuple[Statement, ...]


class _Writer:
    """Collects the sentences of one report together with what they state."""

    def __init__(
        self, draws: Draws, findings: Mapping[Observation, Finding], course: Course | None, wording: Wording
    ) -> None:
        self.draws = draws
        self.wording = wording
        self.findings = findings
        self.course = course
        self.resolved = {} if course is None else course.resolved
        self.sentences: list[str] = []
        self.statements: list[Statement] = []
        # Long reports would slow every rollout: many findings leave room for few negated sentences.
        self.negations_left = max(1, 3 - max(0, len(findings) - 1))

    def affirm(self, *observations: Observation) -> None:
        """States those of the observations that the study has, or had before."""
        for observation in observations:
            if (finding := self.findings.get(observation)) is not None:
                sentence, attributes = _sentence(self.draws, self.wording, finding, self._change(finding))
                self.sentences.append(sentence)
                self._add(observation, LabelState.UNCERTAIN if finding.uncertain else LabelState.POSITIVE, attributes)
            elif (finding := self.resolved.get(observation)) is not None:
                sentence, attributes = _sentence(self.draws, self.wording, finding, Change.RESOLVED)
                self.sentences.append(sentence)
                denied = attributes._replace(certainty=Certainty.DENIED, severity=None)
                self._add(observation, LabelState.NEGATIVE, denied)

    def deny(self, probability: float, what: str) -> bool:
        """With this probability adds a denial of this name, if the study has none of the observations it denies."""
        denied = DENIED[what]
        stated = (*self.findings, *self.resolved)
        if self.negations_left == 0 or any(o in stated for o in denied) or not self.draws.happens(probability):
            return False
        self.negations_left -= 1
        self.sentences.append(self.draws.pick(self.wording.denials[what]))
        for observation in denied:
            self._add(observation, LabelState.NEGATIVE, Attributes(Certainty.DENIED))
        return True

    def names(self, observation: Observation) -> bool:
        """Whether a sentence states anything of the observation so far."""
        return any(statement.observation is observation for statement in self.statements)

    def add_asides(self) -> None:
        """Adds what states nothing, as far as there is room for it, and puts all sentences in any order."""
        topics = self.draws.shuffled(tuple(self.wording.asides))
        num_asides = self.draws.pick(_NUM_ASIDES)
        asides = [self.draws.pick(self.wording.asides[topic]) for topic in topics[:num_asides]]
        if self.draws.happens(_COPY_FRACTION):
            copied = asides[-1]
            asides[-1] = self.draws.pick(self.wording.copies).format(copied=copied[0].lower() + copied[1:])
        length = sum(map(num_parts, self.sentences))
        for aside in asides:
            if (length := length + num_parts(aside)) <= self.wording.max_length:
                self.sentences.append(aside)
        places = self.draws.shuffled(range(len(self.sentences)))
        self.sentences = [self.sentences[place] for place in places]
        moved = (s._replace(sentence_index=places.index(s.sentence_index)) for s in self.statements)
        self.statements = sorted(moved, key=lambda statement: statement.sentence_index)

    def report(self) -> Report:
        """What was written, No Finding where nothing but devices was found."""
        labels = dict.fromkeys(OBSERVATIONS, LabelState.UNMENTIONED)
        labels.update((statement.observation, statement.state) for statement in self.statements)
        if self.findings.keys() <= {_O.SUPPORT_DEVICES}:
            labels[_O.NO_FINDING] = LabelState.POSITIVE
        return Report(" ".join(self.sentences), labels, tuple(self.statements))

    def _change(self, finding: Finding) -> Change | None:
        """Since the prior film; what a wrong report makes up was not there before."""
        if self.course is None or finding.uncertain:
            return None
        change = self.course.changes.get(finding.observation, Change.NEW)
        # A made-up finding may be one that has resolved, by its image: the report can't tell both.
        return Change.NEW if change is Change.RESOLVED else change

    def _add(self, observation: Observation, state: LabelState, attributes: Attributes) -> None:
        """Records what the last sentence states."""
        self.statements.append(Statement(observation, state, attributes, len(self.sentences) - 1))


def num_parts(text: str) -> int:
    """Words and punctuation marks."""
    return len(re.findall(r"\w+|[^\w\s]", text))


def write_report(
    draws: Draws, findings: Mapping[Observation, Finding], course: Course | None = None, wording: Wording = PLAIN
) -> Report:
    """The oracle report of a study; with a course it states how the findings have changed, in the plain wording.

    All wordings take the same numbers for what they state, so that reports of the same draws state the same.
    """
    writer = _Writer(draws, findings, course, wording)
    writer.affirm(_O.SUPPORT_DEVICES, _O.CARDIOMEGALY, _O.ENLARGED_CARDIOMEDIASTINUM)
    writer.deny(0.25, "heart size")
    if _O.CARDIOMEGALY not in findings:
        writer.deny(0.2, "contours")
    writer.affirm(*_PARENCHYMAL)
    _deny_lung_findings(writer)
    writer.affirm(_O.PLEURAL_EFFUSION, _O.PNEUMOTHORAX, _O.PLEURAL_OTHER)
    _deny_pleural_findings(writer)
    writer.affirm(_O.FRACTURE)
    if _O.FRACTURE not in findings and not writer.deny(0.15, "fracture"):
        writer.deny(0.15, "bones")
    if not findings:
        writer.deny(0.5 if writer.sentences else 1.0, "normal")
    if wording.asides:
        writer.add_asides()
    return writer.report()


def _deny_lung_findings(writer: _Writer) -> None:
    if not any(o in writer.findings for o in _PARENCHYMAL):
        if writer.deny(0.5, "clear lungs"):
            return
        writer.deny(0.15, "lesion")
    writer.deny(0.12, "edema")
    if _O.LUNG_OPACITY not in writer.findings and not writer.deny(0.12, "consolidation"):
        writer.deny(0.1, "pneumonia")


def _deny_pleural_findings(writer: _Writer) -> None:
    if not writer.names(_O.CONSOLIDATION) and writer.deny(0.12, "consolidation and pleura"):
        return
    if writer.deny(0.4, "pleura"):
        return
    if not writer.deny(0.25, "pneumothorax"):
        writer.deny(0.2, "effusion")


def _sentence(draws: Draws, wording: Wording, finding: Finding, change: Change | None) -> tuple[str, Attributes]:
    phrase, attributes = fill(draws.pick(phrases_of(finding, wording.phrases)), finding)
    words = forms(phrase)
    style = draws.uniform()
    is_device = finding.observation is _O.SUPPORT_DEVICES
    if change is not None and not finding.uncertain:
        changed = REMOVED if is_device and change is Change.RESOLVED else CHANGED[change]
        return changed[int(style * len(changed))].format_map(words), attributes._replace(change=change)
    frames = wording.device_frames if is_device else wording.frames
    if finding.uncertain:
        frames = wording.hedges
    sentence, certainty = next((sentence, certainty) for below, sentence, certainty in frames if style < below)
    return sentence.format_map(words), attributes._replace(certainty=certainty)
