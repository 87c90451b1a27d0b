import re
from collections import Counter

import pytest

from orapo.chexpert import OBSERVATIONS, LabelState, Observation
from orapo.data.miniature.studies import Trait, make_studies
from orapo.data.phantoms import PhantomSource
from orapo.errors import SettingError
from orapo.labeler import Labeler
from orapo.records import Split


@pytest.fixture(scope="module")
def studies():
    return make_studies(60, 0)


def test_arrangement(studies):
    assert len(studies) == 120
    assert Counter(study.split for study in studies) == {Split.TRAIN: 72, Split.VALIDATE: 24, Split.TEST: 24}
    assert [study.serial for study in studies] == list(range(1, 121))
    assert [(study.patient, study.number) for study in studies[:6]] == [(1, 1), (1, 2), (2, 1), (2, 2), (2, 3), (3, 1)]


def test_a_patient_is_in_one_split(studies):
    assert len({(study.patient, study.split) for study in studies}) == 60


@pytest.mark.parametrize("num_patients", [10, 60])
def test_every_split_has_usable_studies_and_train_has_every_trait(num_patients):
    made = make_studies(num_patients, 5)
    for split in Split:
        assert sum(study.split is split and bool(study.findings) and "PA" in study.views for study in made) >= 1
    assert {study.trait for study in made if study.split is Split.TRAIN} == set(Trait)


def test_traits_are_what_they_say(studies):
    lacking = {Trait.NO_FINDINGS, Trait.BLANK_FINDINGS}
    for study in studies:
        assert bool(study.findings) is (study.trait not in lacking)
        assert bool(study.impression) is (study.trait is not Trait.NO_IMPRESSION)
        assert ("LATERAL" in study.views) is (
            study.trait in (Trait.WITH_LATERAL, Trait.TWO_FRONTALS, Trait.LATERAL_ONLY)
        )
        assert len(study.images) == len(study.views)


def test_texts_and_labels_are_the_phantoms(studies):
    phantoms = PhantomSource(seed=0, train_prevalence="balanced")
    for split in Split:
        of_split = [study for study in studies if study.split is split]
        for index, study in enumerate(of_split):
            phantom = phantoms.study(split, index)
            assert study.drawn == set(phantoms.findings(split, index))
            if study.findings:
                assert (study.findings, study.findings_labels) == (phantom.oracle_report, phantom.labels)


@pytest.mark.parametrize("seed", range(4))
def test_the_labeler_reads_both_sections_as_labelled(seed):
    labeler = Labeler()
    for study in make_studies(60, seed):
        for text, labels in ((study.findings, study.findings_labels), (study.impression, study.impression_labels)):
            if text:
                assert labeler.label(text).states == labels
                assert labeler.label(text.upper()).states == labels


def test_every_observation_occurs_in_training(studies):
    trained = [study.findings_labels for study in studies if study.split is Split.TRAIN]
    for observation in OBSERVATIONS:
        assert any(labels[observation] is LabelState.POSITIVE for labels in trained)


def test_devices_alone_leave_no_finding(studies):
    only_devices = [study for study in studies if study.drawn == {Observation.SUPPORT_DEVICES} and study.impression]
    assert only_devices
    assert all(study.impression_labels[Observation.NO_FINDING] is LabelState.POSITIVE for study in only_devices)


def test_a_seed_gives_the_same_studies_and_another_one_others(studies):
    again, other = make_studies(60, 0), make_studies(60, 1)
    assert [study.findings for study in again] == [study.findings for study in studies]
    assert [study.findings for study in other] != [study.findings for study in studies]
    assert [study.trait for study in other] == [study.trait for study in studies]


@pytest.mark.parametrize(
    ("num_patients", "seed", "message"),
    [
        (9, 0, "num_patients is 9; it must be a whole number, at least 10"),
        (60, -1, "seed is -1; it must be a whole number, at least 0"),
    ],
)
def test_settings_out_of_range(num_patients, seed, message):
    with pytest.raises(SettingError, match=re.escape(message)):
        make_studies(num_patients, seed)
