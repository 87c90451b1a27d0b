"""The labeler reads from phantom reports exactly what the phantoms were drawn with."""

import pytest

from orapo.chexpert import OBSERVATIONS
from orapo.data.phantoms import PhantomSource
from orapo.labeler import Certainty, Change, Labeler, Place, Severity, Side
from orapo.records import Split

NUM_STUDIES = 1_000
KINDS = {"plain": {}, "followup": {"followup": True}, "rich": {"wording": "rich", "num_train": 4 * NUM_STUDIES}}


def phantoms(kind: str, prevalence: str, num_train: int) -> PhantomSource:
    settings = {"num_train": num_train, "train_prevalence": prevalence, **KINDS[kind]}
    return PhantomSource(seed=11, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("prevalence", ["natural", "balanced"])
@pytest.mark.parametrize("quirks", ["none", "original"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.slow
def test_labels_of_phantom_reports_are_read_back(prevalence: str, quirks: str, kind: str) -> None:
    source = phantoms(kind, prevalence, NUM_STUDIES)
    labeler = Labeler(quirks)
    disagreements = [
        (study.oracle_report, observation.value, study.labels[observation].value, states[observation].value)
        for study in source.studies(Split.TRAIN)
        for states in [labeler.label(study.oracle_report).states]
        for observation in OBSERVATIONS
        if states[observation] is not study.labels[observation]
    ]
    assert disagreements == []


@pytest.mark.parametrize("prevalence", ["natural", "balanced"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.slow
def test_attributes_of_phantom_reports_are_read_back(prevalence: str, kind: str) -> None:
    source = phantoms(kind, prevalence, 2 * NUM_STUDIES)
    labeler = Labeler()
    disagreements, seen = [], set()
    for index, study in enumerate(source.studies(Split.TRAIN)):
        read = {(m.observation, m.state, m.attributes, m.sentence_index) for m in labeler.mentions(study.oracle_report)}
        stated = set(source.statements(Split.TRAIN, index))
        disagreements += [(study.oracle_report, read ^ stated)] * (read != stated)
        seen |= {value for statement in stated for value in statement.attributes}
    assert disagreements == []
    changes = set(Change) if kind == "followup" else set()
    assert seen == {
        *Side,
        *Severity,
        *Certainty,
        *changes,
        None,
        Place.APEX,
        Place.UPPER,
        Place.MID,
        Place.LOWER,
        Place.BASE,
    } - {
        Severity.TRACE,
        Certainty.UNLIKELY,
    }
