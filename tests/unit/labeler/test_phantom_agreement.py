"""The labeler reads from phantom reports exactly what the phantoms were drawn with."""

import pytest

from orapo.chexpert import OBSERVATIONS
from orapo.data.phantoms import PhantomSource
from orapo.labeler import Certainty, Labeler, Place, Severity, Side
from orapo.records import Split

NUM_STUDIES = 1_000


@pytest.mark.parametrize("prevalence", ["natural", "balanced"])
@pytest.mark.parametrize("quirks", ["none", "original"])
def test_labels_of_phantom_reports_are_read_back(prevalence: str, quirks: str) -> None:
    source = PhantomSource(seed=11, num_train=NUM_STUDIES, train_prevalence=prevalence)
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
def test_attributes_of_phantom_reports_are_read_back(prevalence: str) -> None:
    source = PhantomSource(seed=11, num_train=2 * NUM_STUDIES, train_prevalence=prevalence)
    labeler = Labeler()
    disagreements, seen = [], set()
    for index, study in enumerate(source.studies(Split.TRAIN)):
        read = {(m.observation, m.state, m.attributes, m.sentence_index) for m in labeler.mentions(study.oracle_report)}
        stated = set(source.statements(Split.TRAIN, index))
        disagreements += [(study.oracle_report, read ^ stated)] * (read != stated)
        seen |= {value for statement in stated for value in statement.attributes}
    assert disagreements == []
    assert seen == {*Side, *Severity, *Certainty, None, Place.APEX, Place.UPPER, Place.MID, Place.LOWER, Place.BASE} - {
        Severity.TRACE,
        Certainty.UNLIKELY,
    }
