import hashlib
import time
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from orapo.chexpert import OBSERVATIONS, LabelState, Observation, positive_observations
from orapo.data.phantoms import PhantomSource
from orapo.data.phantoms.draws import Draws
from orapo.data.phantoms.findings import FINDINGS, Finding
from orapo.data.phantoms.signs import paint_study
from orapo.data.source import StudySource
from orapo.errors import DataError, SettingError
from orapo.records import Split, Study

SOURCE = PhantomSource(num_train=3000, num_validate=140, num_test=280)


def pixels(study: Study, source: PhantomSource = SOURCE) -> np.ndarray:
    return np.asarray(source.load_images(study)[0])


def test_is_a_study_source_with_one_grey_image_per_study():
    assert isinstance(SOURCE, StudySource)
    study = SOURCE.studies(Split.TRAIN)[7]
    image = SOURCE.load_images(study)[0]
    assert isinstance(image, Image.Image)
    assert (image.mode, image.size) == ("L", (112, 112))
    assert study.image_paths == ("phantom:train/000007",)
    assert len(study.views) == 1
    assert set(study.labels) == set(OBSERVATIONS)


def test_same_seed_same_study_in_any_order():
    again = PhantomSource(num_train=3000, num_validate=140, num_test=280)
    for index in (40, 3, 17):
        assert again.study(Split.TEST, index) == SOURCE.studies(Split.TEST)[index]
        np.testing.assert_array_equal(
            pixels(again.study(Split.TEST, index), again), pixels(SOURCE.studies(Split.TEST)[index])
        )


def test_reports_ids_and_labels_of_a_seed_stay_what_they_were():
    """Runs, subsets and published numbers name seeds: a new wording or draw is a new data set."""
    told = hashlib.sha256()
    for study in (study for split in Split for study in SOURCE.studies(split)):
        states = " ".join(state.value for state in study.labels.values())
        told.update(f"{study.study_id}|{study.patient_id}|{study.oracle_report}|{states}\n".encode())
    assert told.hexdigest() == "2a73fea4a3fda59b1b40d60e0ba1c2f41650698832fcfa12d641b167ffbb81f0"


def test_statements_are_of_the_report_and_give_its_labels():
    for split in Split:
        for index, study in enumerate(SOURCE.studies(split)[:100]):
            statements = SOURCE.statements(split, index)
            assert {s.observation: s.state for s in statements} == {
                observation: state
                for observation, state in study.labels.items()
                if state is not LabelState.UNMENTIONED and observation is not Observation.NO_FINDING
            }
            assert all(s.sentence_index < study.oracle_report.count(".") for s in statements)


def test_seed_changes_reports_and_pixels():
    other = PhantomSource(seed=1, num_test=50)
    pairs = zip(other.studies(Split.TEST), SOURCE.studies(Split.TEST), strict=False)
    assert sum(a.oracle_report == b.oracle_report for a, b in pairs) < 15
    difference = pixels(other.study(Split.TEST, 0), other).astype(int) - pixels(SOURCE.study(Split.TEST, 0))
    assert np.abs(difference).max() > 10


def test_splits_share_no_study_and_no_image():
    ids = [study.study_id for split in Split for study in SOURCE.studies(split)]
    patients = [study.patient_id for split in Split for study in SOURCE.studies(split)]
    assert len(set(ids)) == len(ids) == len(set(patients)) == 3000 + 140 + 280
    images = {pixels(SOURCE.study(split, index)).tobytes() for split in Split for index in range(30)}
    assert len(images) == 90


def test_natural_prevalence_has_a_long_tail():
    studies = SOURCE.studies(Split.TRAIN)
    counts = Counter(o for s in studies for o in positive_observations(s.labels, uncertain_is_positive=False))
    assert 0.40 < counts[Observation.NO_FINDING] / 3000 < 0.52
    assert 0.10 < counts[Observation.PLEURAL_EFFUSION] / 3000 < 0.20
    assert 0.004 < counts[Observation.PLEURAL_OTHER] / 3000 < 0.03
    uncertain = sum(state is LabelState.UNCERTAIN for s in studies for state in s.labels.values())
    counted = set(FINDINGS) - {Observation.SUPPORT_DEVICES}
    stated = sum(len(counted & positive_observations(s.labels, uncertain_is_positive=True)) for s in studies)
    assert 0.05 < uncertain / stated < 0.11


def test_balanced_studies_have_their_target():
    for index, study in enumerate(SOURCE.studies(Split.TEST)):
        assert study.labels[OBSERVATIONS[index % 14]] is LabelState.POSITIVE
    positives = [len(positive_observations(s.labels, uncertain_is_positive=False)) for s in SOURCE.studies(Split.TEST)]
    assert 1.3 < np.mean(positives) < 1.8


def test_no_finding_exactly_when_nothing_but_devices_is_stated():
    for study in SOURCE.studies(Split.TRAIN):
        stated = positive_observations(study.labels, uncertain_is_positive=True)
        found = stated - {Observation.SUPPORT_DEVICES, Observation.NO_FINDING}
        expected = LabelState.UNMENTIONED if found else LabelState.POSITIVE
        assert study.labels[Observation.NO_FINDING] is expected


@pytest.mark.parametrize("observation", FINDINGS)
@pytest.mark.parametrize("side", ["right", "left"])
def test_every_sign_is_visible_in_its_own_region(observation: Observation, side: str):
    finding = Finding(observation, 1, side, "upper", uncertain=False)
    clean = paint_study(Draws(5), {}, 112).astype(float)
    # The noise stream is drawn after the signs' own numbers, so changes are judged on blurred images.
    blur = lambda image: image.reshape(28, 4, 28, 4).mean(axis=(1, 3))  # noqa: E731
    change = np.abs(blur(paint_study(Draws(5), {observation: finding}, 112).astype(float)) - blur(clean))
    exposure = np.median(change)
    region = np.zeros((28, 28), dtype=bool)
    columns = slice(0, 14) if side == "right" else slice(14, 28)
    if observation in (Observation.CARDIOMEGALY, Observation.ENLARGED_CARDIOMEDIASTINUM, Observation.EDEMA):
        columns = slice(4, 24)
    region[:, columns] = True
    if observation is Observation.SUPPORT_DEVICES:  # its lead ends in the heart
        region[:] = True
    assert (change[region] - exposure).max() > 30
    assert region.all() or change[region].max() > 2 * (change[~region] - exposure).max()


def test_an_uncertain_sign_is_fainter():
    def contrast(*, uncertain: bool) -> float:
        finding = Finding(Observation.LUNG_LESION, 2, "left", "upper", uncertain=uncertain)
        return float(
            np.sort(paint_study(Draws(5), {finding.observation: finding}, 112)[20:45, 65:95].ravel())[-40:].mean()
        )

    assert contrast(uncertain=False) > contrast(uncertain=True) + 30


def test_listing_is_cheap_and_drawing_fast_enough():
    start = time.process_time()
    studies = SOURCE.studies(Split.TRAIN)
    assert len(studies) / (time.process_time() - start) > 4000
    start = time.process_time()
    for study in studies[:100]:
        SOURCE.load_images(study)
    assert 100 / (time.process_time() - start) > 200


def test_digest_follows_the_settings():
    code, _, settings = SOURCE.digest().partition(":")
    assert (len(code), len(settings)) == (4, 64)
    assert PhantomSource(seed=4).digest().startswith(f"{code}:"), "of the code, whatever the settings"
    assert PhantomSource(seed=3).digest() == PhantomSource(seed=3).digest()
    assert PhantomSource(seed=3).digest() != PhantomSource(seed=4).digest()


@pytest.mark.parametrize("path", ["images/a.png", "phantom:train/x", "phantom:dev/000001", "phantom:train"])
def test_foreign_image_names_are_refused(path: str):
    study = SOURCE.study(Split.TEST, 0)
    foreign = Study("s1", "p1", Split.TEST, (path,), ("PA",), "Clear lungs.", study.labels)
    with pytest.raises(DataError, match=r"s1.*phantom:<split>/<number>"):
        SOURCE.load_images(foreign)


@pytest.mark.parametrize(
    "settings",
    [{"seed": -1}, {"image_size": 20}, {"num_train": -1}, {"test_prevalence": "even"}],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object]):
    with pytest.raises(SettingError, match=next(iter(settings))):
        PhantomSource(**settings)  # type: ignore[arg-type]
