"""The phantom report: findings in anatomical order, negated statements between them, and what the text states.

Every sentence is one well-formed statement. No sentence uses a word that a CheXpert-style labeler would read as
another observation, so "wall thickening", "plate-like" or "vascular congestion" don't occur, and "heart size" or
"contours" occur only where the label says so.
"""

from collections.abc import Mapping
from typing import NamedTuple

from orapo.chexpert import OBSERVATIONS, LabelState, LabelStates, Observation
from orapo.data.phantoms.draws import Draws
from orapo.data.phantoms.findings import Finding
from orapo.data.phantoms.wordings import fill, wordings_of
from orapo.labeler import Attributes, Certainty

_O = Observation
_PARENCHYMAL = (_O.EDEMA, _O.CONSOLIDATION, _O.LUNG_OPACITY, _O.PNEUMONIA, _O.LUNG_LESION, _O.ATELECTASIS)
_HEART_SIZE = ("Heart size is normal.", "The heart is normal in size.", "The heart size is normal.")
_CONTOURS = (
    "Cardiomediastinal contours are normal.",
    "Normal cardiomediastinal contours.",
    "The mediastinum is normal.",
)
_CLEAR = ("The lungs are clear.", "Lungs are clear.", "Clear lungs.")
_NO_EDEMA = ("No pulmonary edema.", "There is no pulmonary edema.")
_NO_CONSOLIDATION = ("No focal consolidation.", "There is no focal consolidation.")
_NO_PNEUMONIA = ("No evidence of pneumonia.", "No pneumonia.")
_NO_LESION = ("No pulmonary nodule.", "No lung nodule or mass.")
_NO_PLEURA = (
    "No pneumothorax or pleural effusion.",
    "No pleural effusion or pneumothorax.",
    "There is no pleural effusion or pneumothorax.",
)
_NO_TRIPLE = ("No focal consolidation, pleural effusion, or pneumothorax.",)
_NO_PNEUMOTHORAX = ("No pneumothorax.", "There is no pneumothorax.")
_NO_EFFUSION = ("No pleural effusion.", "There is no pleural effusion.")
_NO_FRACTURE = ("No acute fracture.", "No rib fracture.", "No displaced rib fracture.")
_BONES = ("The bones are intact.", "Bones are intact.", "No acute osseous abnormality.")
_NORMAL = (
    "No acute cardiopulmonary process.",
    "No acute cardiopulmonary abnormality.",
    "There is no acute cardiopulmonary process.",
)

_HEDGES = (
    (0.4, "Possible {bare}.", Certainty.POSSIBLE),
    (0.7, "Suspected {bare}.", Certainty.LIKELY),
    (1.0, "Findings may represent {phrase}.", Certainty.POSSIBLE),
)
"""Up to which drawn number, the sentence, and what it states."""


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

    def __init__(self, draws: Draws, findings: Mapping[Observation, Finding]) -> None:
        self.draws = draws
        self.findings = findings
        self.sentences: list[str] = []
        self.statements: list[Statement] = []
        # Long reports would slow every rollout: many findings leave room for few negated sentences.
        self.negations_left = max(1, 3 - max(0, len(findings) - 1))

    def affirm(self, *observations: Observation) -> None:
        """States those of the observations that the study has."""
        for observation in observations:
            finding = self.findings.get(observation)
            if finding is not None:
                sentence, attributes = _sentence(self.draws, finding)
                self.sentences.append(sentence)
                self._add(observation, LabelState.UNCERTAIN if finding.uncertain else LabelState.POSITIVE, attributes)

    def deny(self, probability: float, sentences: tuple[str, ...], *denied: Observation) -> bool:
        """With this probability adds a sentence that denies observations which the study doesn't have."""
        if self.negations_left == 0 or any(o in self.findings for o in denied) or not self.draws.happens(probability):
            return False
        self.negations_left -= 1
        self.sentences.append(self.draws.pick(sentences))
        for observation in denied:
            self._add(observation, LabelState.NEGATIVE, Attributes(Certainty.DENIED))
        return True

    def names(self, observation: Observation) -> bool:
        """Whether a sentence states anything of the observation so far."""
        return any(statement.observation is observation for statement in self.statements)

    def report(self) -> Report:
        """What was written, No Finding where nothing but devices was found."""
        labels = dict.fromkeys(OBSERVATIONS, LabelState.UNMENTIONED)
        labels.update((statement.observation, statement.state) for statement in self.statements)
        if self.findings.keys() <= {_O.SUPPORT_DEVICES}:
            labels[_O.NO_FINDING] = LabelState.POSITIVE
        return Report(" ".join(self.sentences), labels, tuple(self.statements))

    def _add(self, observation: Observation, state: LabelState, attributes: Attributes) -> None:
        """Of the last sentence."""
        self.statements.append(Statement(observation, state, attributes, len(self.sentences) - 1))


def write_report(draws: Draws, findings: Mapping[Observation, Finding]) -> Report:
    """The oracle report of a study."""
    writer = _Writer(draws, findings)
    writer.affirm(_O.SUPPORT_DEVICES, _O.CARDIOMEGALY, _O.ENLARGED_CARDIOMEDIASTINUM)
    writer.deny(0.25, _HEART_SIZE, _O.CARDIOMEGALY)
    if _O.CARDIOMEGALY not in findings:
        writer.deny(0.2, _CONTOURS, _O.ENLARGED_CARDIOMEDIASTINUM)
    writer.affirm(*_PARENCHYMAL)
    _deny_lung_findings(writer)
    writer.affirm(_O.PLEURAL_EFFUSION, _O.PNEUMOTHORAX, _O.PLEURAL_OTHER)
    _deny_pleural_findings(writer)
    writer.affirm(_O.FRACTURE)
    if _O.FRACTURE not in findings and not writer.deny(0.15, _NO_FRACTURE, _O.FRACTURE):
        writer.deny(0.15, _BONES)
    if not findings:
        writer.deny(0.5 if writer.sentences else 1.0, _NORMAL)
    return writer.report()


def _deny_lung_findings(writer: _Writer) -> None:
    if not any(o in writer.findings for o in _PARENCHYMAL):
        if writer.deny(0.5, _CLEAR):
            return
        writer.deny(0.15, _NO_LESION, _O.LUNG_LESION)
    writer.deny(0.12, _NO_EDEMA, _O.EDEMA)
    if _O.LUNG_OPACITY not in writer.findings and not writer.deny(0.12, _NO_CONSOLIDATION, _O.CONSOLIDATION):
        writer.deny(0.1, _NO_PNEUMONIA, _O.PNEUMONIA)


def _deny_pleural_findings(writer: _Writer) -> None:
    if not writer.names(_O.CONSOLIDATION) and writer.deny(
        0.12, _NO_TRIPLE, _O.CONSOLIDATION, _O.PLEURAL_EFFUSION, _O.PNEUMOTHORAX
    ):
        return
    if writer.deny(0.4, _NO_PLEURA, _O.PLEURAL_EFFUSION, _O.PNEUMOTHORAX):
        return
    if not writer.deny(0.25, _NO_PNEUMOTHORAX, _O.PNEUMOTHORAX):
        writer.deny(0.2, _NO_EFFUSION, _O.PLEURAL_EFFUSION)


def _sentence(draws: Draws, finding: Finding) -> tuple[str, Attributes]:
    phrase, attributes = fill(draws.pick(wordings_of(finding)), finding)
    be = "are" if phrase[0] == "+" else "is"
    phrase = phrase.removeprefix("+")
    bare = phrase.removeprefix("a ").removeprefix("an ")
    style = draws.uniform()
    if finding.uncertain:
        sentence, certainty = next((sentence, certainty) for below, sentence, certainty in _HEDGES if style < below)
        return sentence.format(bare=bare, phrase=phrase), attributes._replace(certainty=certainty)
    if style < 0.6:
        return f"{_capitalised(bare)}.", attributes
    if style < 0.8:
        return f"There {be} {phrase}.", attributes
    where = "in place" if finding.observation is _O.SUPPORT_DEVICES else "seen"
    return f"{_capitalised(phrase)} {be} {where}.", attributes


def _capitalised(phrase: str) -> str:
    return phrase[0].upper() + phrase[1:]
