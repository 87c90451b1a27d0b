"""The phantom report: findings in anatomical order, negated statements between them, and what the text states.

Every sentence is one well-formed statement. No sentence uses a word that a CheXpert-style labeler would read as
another observation, so "wall thickening", "plate-like" or "vascular congestion" don't occur, and "heart size" or
"contours" occur only where the label says so.
"""

from collections.abc import Callable, Mapping

from orapo.chexpert import OBSERVATIONS, LabelState, Observation
from orapo.data.phantoms.draws import Draws
from orapo.data.phantoms.findings import Finding

_O = Observation
_SIZE = ("small", "moderate", "large")
_DEGREE = ("mild", "moderate", "severe")
_DEGREE_ADVERB = ("mildly", "moderately", "severely")
_EXTENT = ("mild", "moderate", "marked")
_EXTENT_ADVERB = ("mildly", "moderately", "markedly")

# A noun phrase starts with "a "/"an " when it is countable and singular, with "+" when it is plural.
NounPhrases = Callable[[Finding], tuple[str, ...]]


def _mediastinum(f: Finding) -> tuple[str, ...]:
    adverb = _EXTENT_ADVERB[f.severity]
    return (
        f"a {adverb} widened mediastinum",
        f"{_EXTENT[f.severity]} widening of the mediastinum",
        f"a {adverb} enlarged cardiomediastinum",
    )


def _heart(f: Finding) -> tuple[str, ...]:
    degree = _DEGREE[f.severity]
    return (
        f"{degree} cardiomegaly",
        f"a {_DEGREE_ADVERB[f.severity]} enlarged heart",
        f"{degree} enlargement of the heart",
    )


def _edema(f: Finding) -> tuple[str, ...]:
    degree = _DEGREE[f.severity]
    return (f"{degree} pulmonary edema", f"{degree} edema in both lungs", f"{degree} bilateral pulmonary edema")


def _consolidation(f: Finding) -> tuple[str, ...]:
    lung = f"{f.side} {f.zone} lung"
    return (f"dense consolidation in the {lung}", f"focal consolidation in the {lung}", f"{lung} consolidation")


def _opacity(f: Finding) -> tuple[str, ...]:
    lung = f"{f.side} {f.zone} lung"
    return (f"a {_SIZE[f.severity]} opacity in the {lung}", f"a hazy opacity in the {lung}", f"a hazy {lung} opacity")


def _pneumonia(f: Finding) -> tuple[str, ...]:
    lung = f"{f.side} {f.zone} lung"
    return (f"pneumonia in the {lung}", f"patchy pneumonia in the {lung}", f"{lung} pneumonia")


def _lesion(f: Finding) -> tuple[str, ...]:
    lung = f"{f.side} {f.zone} lung"
    noun = "mass" if f.severity == 2 else "nodule"
    size = ("small", "round", "large")[f.severity]
    return (f"a {size} {noun} in the {lung}", f"a {lung} {noun}", f"a {size} {lung} {noun}")


def _atelectasis(f: Finding) -> tuple[str, ...]:
    degree = _DEGREE[f.severity] if f.severity < 2 else "marked"
    if f.side == "both":
        return (f"{degree} bibasilar atelectasis", "atelectasis at both lung bases", "streaky bibasilar atelectasis")
    return (
        f"{degree} {f.side} basilar atelectasis",
        f"subsegmental atelectasis at the {f.side} lung base",
        f"streaky {f.side} basilar atelectasis",
    )


def _effusion(f: Finding) -> tuple[str, ...]:
    size = _SIZE[f.severity]
    if f.side == "both":
        noun = "bilateral pleural effusions"
        return (f"+{size} {noun}", f"+{noun}", f"+layering {noun}")
    return (
        f"a {size} {f.side} pleural effusion",
        f"a {size} pleural effusion on the {f.side}",
        f"a {size} layering {f.side} pleural effusion",
    )


def _pneumothorax(f: Finding) -> tuple[str, ...]:
    size = _SIZE[f.severity]
    return (
        f"a {size} {f.side} pneumothorax",
        f"a {size} pneumothorax on the {f.side}",
        f"a {size} {f.side} apical pneumothorax",
    )


def _pleural_other(f: Finding) -> tuple[str, ...]:
    extent = _EXTENT[f.severity]
    return (
        f"{extent} {f.side} pleural thickening",
        f"{extent} pleural thickening on the {f.side}",
        f"{f.side} lateral pleural thickening",
    )


def _fracture(f: Finding) -> tuple[str, ...]:
    return (f"a displaced {f.side} rib fracture", f"an acute {f.side} rib fracture", f"a fracture of a {f.side} rib")


def _device(f: Finding) -> tuple[str, ...]:
    if f.severity == 0:
        return (
            f"a {f.side} central venous catheter",
            f"a {f.side} internal jugular catheter",
            f"a {f.side} central venous line",
        )
    if f.severity == 1:
        return (f"a {f.side} chest pacemaker", f"a pacemaker on the {f.side}", f"a {f.side} pectoral pacemaker")
    return ("an endotracheal tube", "an endotracheal tube", "an endotracheal tube")


NOUN_PHRASES: Mapping[Observation, NounPhrases] = {
    _O.SUPPORT_DEVICES: _device,
    _O.CARDIOMEGALY: _heart,
    _O.ENLARGED_CARDIOMEDIASTINUM: _mediastinum,
    _O.EDEMA: _edema,
    _O.CONSOLIDATION: _consolidation,
    _O.LUNG_OPACITY: _opacity,
    _O.PNEUMONIA: _pneumonia,
    _O.LUNG_LESION: _lesion,
    _O.ATELECTASIS: _atelectasis,
    _O.PLEURAL_EFFUSION: _effusion,
    _O.PNEUMOTHORAX: _pneumothorax,
    _O.PLEURAL_OTHER: _pleural_other,
    _O.FRACTURE: _fracture,
}
"""Wordings of each finding; the order of the keys is the order of the report."""

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

Report = tuple[str, dict[Observation, LabelState]]


class _Writer:
    """Collects the sentences of one report together with what they state."""

    def __init__(self, draws: Draws, findings: Mapping[Observation, Finding]) -> None:
        self.draws = draws
        self.findings = findings
        self.sentences: list[str] = []
        self.states: dict[Observation, LabelState] = dict.fromkeys(OBSERVATIONS, LabelState.UNMENTIONED)
        # Long reports would slow every rollout: many findings leave room for few negated sentences.
        self.negations_left = max(1, 3 - max(0, len(findings) - 1))

    def affirm(self, *observations: Observation) -> None:
        """States those of the observations that the study has."""
        for observation in observations:
            finding = self.findings.get(observation)
            if finding is not None:
                self.sentences.append(_statement(self.draws, finding))
                self.states[observation] = LabelState.UNCERTAIN if finding.uncertain else LabelState.POSITIVE

    def deny(self, probability: float, sentences: tuple[str, ...], *denied: Observation) -> bool:
        """With this probability adds a sentence that denies observations which the study doesn't have."""
        if self.negations_left == 0 or any(o in self.findings for o in denied) or not self.draws.happens(probability):
            return False
        self.negations_left -= 1
        self.sentences.append(self.draws.pick(sentences))
        for observation in denied:
            self.states[observation] = LabelState.NEGATIVE
        return True


def write_report(draws: Draws, findings: Mapping[Observation, Finding]) -> Report:
    """The oracle report of a study and the 14 label states that a CheXpert-style labeler should read from it."""
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
    nothing_found = all(o is _O.SUPPORT_DEVICES for o in findings)
    if nothing_found:
        writer.states[_O.NO_FINDING] = LabelState.POSITIVE
        if not findings:
            writer.deny(0.5 if writer.sentences else 1.0, _NORMAL)
    return " ".join(writer.sentences), writer.states


def _deny_lung_findings(writer: _Writer) -> None:
    if not any(o in writer.findings for o in _PARENCHYMAL):
        if writer.deny(0.5, _CLEAR):
            return
        writer.deny(0.15, _NO_LESION, _O.LUNG_LESION)
    writer.deny(0.12, _NO_EDEMA, _O.EDEMA)
    if _O.LUNG_OPACITY not in writer.findings and not writer.deny(0.12, _NO_CONSOLIDATION, _O.CONSOLIDATION):
        writer.deny(0.1, _NO_PNEUMONIA, _O.PNEUMONIA)


def _deny_pleural_findings(writer: _Writer) -> None:
    if writer.states[_O.CONSOLIDATION] is LabelState.UNMENTIONED and writer.deny(
        0.12, _NO_TRIPLE, _O.CONSOLIDATION, _O.PLEURAL_EFFUSION, _O.PNEUMOTHORAX
    ):
        return
    if writer.deny(0.4, _NO_PLEURA, _O.PLEURAL_EFFUSION, _O.PNEUMOTHORAX):
        return
    if not writer.deny(0.25, _NO_PNEUMOTHORAX, _O.PNEUMOTHORAX):
        writer.deny(0.2, _NO_EFFUSION, _O.PLEURAL_EFFUSION)


def _statement(draws: Draws, finding: Finding) -> str:
    phrase = draws.pick(NOUN_PHRASES[finding.observation](finding))
    be = "are" if phrase[0] == "+" else "is"
    phrase = phrase.removeprefix("+")
    bare = phrase.removeprefix("a ").removeprefix("an ")
    style = draws.uniform()
    if finding.uncertain:
        if style < 0.4:
            return f"Possible {bare}."
        return f"Suspected {bare}." if style < 0.7 else f"Findings may represent {phrase}."
    if style < 0.6:
        return f"{_capitalised(bare)}."
    if style < 0.8:
        return f"There {be} {phrase}."
    return f"{_capitalised(phrase)} {be} {'in place' if finding.observation is _O.SUPPORT_DEVICES else 'seen'}."


def _capitalised(phrase: str) -> str:
    return phrase[0].upper() + phrase[1:]
