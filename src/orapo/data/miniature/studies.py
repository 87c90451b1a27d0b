"""The made-up studies that every miniature is written from: phantoms, dealt out to patients, each with a trait."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from PIL import Image
from pydantic import Field

from orapo.chexpert import OBSERVATIONS, LabelState, LabelStates, Observation
from orapo.data.phantoms import PhantomSource
from orapo.data.phantoms.findings import Finding
from orapo.data.phantoms.wordings import PHRASES, fill, forms, phrases_of
from orapo.records import Split
from orapo.settings import Seed, checked

IMAGE_SIZE = 112
"""Pixels per side."""

FEWEST_PATIENTS = 10
"""Fewer would leave a split without usable studies."""

NumPatients = Annotated[int, Field(ge=FEWEST_PATIENTS, le=100_000)]

NOTHING_FOUND = "No acute cardiopulmonary abnormality."


class Trait(StrEnum):
    """What is special about a study; real data sets have all of these."""

    PLAIN = "one frontal image, both sections"
    WITH_LATERAL = "a frontal and a lateral image"
    NUMBERED = "sections are numbered lists"
    NO_FINDINGS = "no findings section"
    TWO_FRONTALS = "two frontal images and a lateral one"
    BLANK_FINDINGS = "a findings section of white space"
    LATERAL_ONLY = "no frontal image"
    NO_IMPRESSION = "no impression section"
    ADDENDUM = "an addendum stands above the report"
    NO_LABELS = "left out of the tables of labels"


_TURN = (
    *(Trait.WITH_LATERAL, Trait.PLAIN, Trait.NO_FINDINGS, Trait.NUMBERED, Trait.LATERAL_ONLY, Trait.TWO_FRONTALS),
    *(Trait.BLANK_FINDINGS, Trait.PLAIN, Trait.ADDENDUM, Trait.NO_IMPRESSION, Trait.NO_LABELS, Trait.PLAIN),
)
_VIEWS: Mapping[Trait, tuple[str, ...]] = {
    Trait.WITH_LATERAL: ("PA", "LATERAL"),
    Trait.TWO_FRONTALS: ("AP", "PA", "LATERAL"),
    Trait.LATERAL_ONLY: ("LATERAL",),
}
_SPLIT_IN_TURN = (Split.TRAIN, Split.TRAIN, Split.VALIDATE, Split.TRAIN, Split.TEST)


@dataclass(frozen=True, slots=True)
class MadeUpStudy:
    """One study of a miniature.

    Attributes:
        patient: number of the patient, from 1.
        number: of the study among the patient's, from 1.
        serial: of the study among all, from 1.
        split: of the patient.
        trait: what is special about it.
        views: projection of each image, ``"PA"``, ``"AP"`` or ``"LATERAL"``.
        findings: sentences of the findings section; "" without one.
        impression: sentences of the impression section; "" without one.
        findings_labels: what the findings state; all unmentioned without them.
        impression_labels: what the impression states; all unmentioned without it.
        drawn: what the frontal images show, hedged or not.
        picture: the frontal image, 8-bit grey.
    """

    patient: int
    number: int
    serial: int
    split: Split
    trait: Trait
    views: tuple[str, ...]
    findings: str
    impression: str
    findings_labels: LabelStates
    impression_labels: LabelStates
    drawn: frozenset[Observation]
    picture: Image.Image

    @property
    def images(self) -> tuple[Image.Image, ...]:
        """One picture per view; a lateral one is the frontal one, squeezed."""
        return tuple(_squeezed(self.picture) if view == "LATERAL" else self.picture for view in self.views)

    @property
    def sides(self) -> tuple[str, ...]:
        """``"Frontal"`` or ``"Lateral"`` for each view."""
        return tuple("Lateral" if view == "LATERAL" else "Frontal" for view in self.views)

    @property
    def age(self) -> int:
        """Of the patient, in years."""
        return 20 + self.patient % 60

    @property
    def sex(self) -> str:
        """``"Female"`` or ``"Male"``."""
        return ("Female", "Male")[self.patient % 2]

    def paragraphs(self, text: str, gap: str) -> list[str]:
        """A section's sentences as one paragraph, or numbered, each its own, with ``gap`` after the number."""
        sentences = [f"{sentence.removesuffix('.')}." for sentence in text.split(". ")]
        if self.trait is Trait.NUMBERED:
            return [f"{number}.{gap}{sentence}" for number, sentence in enumerate(sentences, start=1)]
        return ["  ".join(sentences)]

    @property
    def states_nothing_found(self) -> bool:
        """Whether the pictures show nothing but, perhaps, devices."""
        return self.drawn <= {Observation.SUPPORT_DEVICES}


@checked
def make_studies(num_patients: NumPatients, seed: Seed) -> Sequence[MadeUpStudy]:
    """Patients with one, two or three studies each; three fifths train, one fifth validate, one fifth test.

    Args:
        num_patients: 10 to 100,000.
        seed: from 0, below 2^32; another seed gives other phantoms in the same arrangement.

    Raises:
        SettingError: a number out of range.
    """
    counts = dict.fromkeys(Split, 0)
    phantoms = PhantomSource(seed=seed, image_size=IMAGE_SIZE, train_prevalence="balanced")
    studies: list[MadeUpStudy] = []
    for patient in range(1, num_patients + 1):
        split = _SPLIT_IN_TURN[patient % len(_SPLIT_IN_TURN)]
        for number in range(1, 2 + patient % 3):
            studies.append(_make_study(phantoms, patient, number, len(studies) + 1, split, counts[split]))
            counts[split] += 1
    return studies


def _make_study(
    phantoms: PhantomSource, patient: int, number: int, serial: int, split: Split, index: int
) -> MadeUpStudy:
    trait = _TURN[index % len(_TURN)]
    phantom = phantoms.study(split, index)
    drawn = phantoms.findings(split, index)
    impression, impression_labels = conclude(drawn)
    has_findings = trait not in (Trait.NO_FINDINGS, Trait.BLANK_FINDINGS)
    has_impression = trait is not Trait.NO_IMPRESSION
    nothing_said = dict.fromkeys(OBSERVATIONS, LabelState.UNMENTIONED)
    return MadeUpStudy(
        patient=patient,
        number=number,
        serial=serial,
        split=split,
        trait=trait,
        views=_VIEWS.get(trait, ("AP",) if serial % 2 else ("PA",)),
        findings=phantom.oracle_report if has_findings else "",
        impression=impression if has_impression else "",
        findings_labels=phantom.labels if has_findings else nothing_said,
        impression_labels=impression_labels if has_impression else nothing_said,
        drawn=frozenset(drawn),
        picture=phantoms.load_images(phantom)[0],
    )


def conclude(findings: Mapping[Observation, Finding]) -> tuple[str, LabelStates]:
    """An impression of what is drawn: a sentence for each finding, nothing denied but the whole; and its states."""
    states = dict.fromkeys(OBSERVATIONS, LabelState.UNMENTIONED)
    sentences = []
    for observation in PHRASES:
        if (finding := findings.get(observation)) is None:
            continue
        words = forms(fill(phrases_of(finding)[0], finding)[0])
        sentences.append(("Possible {bare}." if finding.uncertain else "{Bare}.").format_map(words))
        states[observation] = LabelState.UNCERTAIN if finding.uncertain else LabelState.POSITIVE
    if findings.keys() <= {Observation.SUPPORT_DEVICES}:
        sentences.append(NOTHING_FOUND)
        states[Observation.NO_FINDING] = LabelState.POSITIVE
    return " ".join(sentences), states


def _squeezed(picture: Image.Image) -> Image.Image:
    lateral = Image.new("L", picture.size)
    lateral.paste(picture.resize((picture.width * 3 // 5, picture.height)), (picture.width // 5, 0))
    return lateral
