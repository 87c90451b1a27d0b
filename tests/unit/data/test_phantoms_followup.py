"""Phantoms of patients who were seen before; the plain ones stay what they were, to the last bit."""

import hashlib
from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest

from orapo.chexpert import LabelState, Observation
from orapo.data.phantoms import PhantomSource
from orapo.data.phantoms.difficulty import Difficulty
from orapo.data.source import load_prior_images
from orapo.errors import DataError
from orapo.labeler import Change
from orapo.records import Context, Split

SOURCE = PhantomSource(seed=3, num_train=1_500, train_prevalence="balanced", followup=True)
PLAIN = replace(SOURCE, followup=False)
STUDIES = SOURCE.studies(Split.TRAIN)


def films(index: int, source: PhantomSource = SOURCE) -> tuple[np.ndarray, np.ndarray]:
    study = source.study(Split.TRAIN, index)
    (prior,), (current,) = load_prior_images(source.load_images, study), source.load_images(study)
    return np.asarray(prior).astype(float), np.asarray(current).astype(float)


def test_images_of_plain_phantoms_stay_what_they_were() -> None:
    told = hashlib.sha256()
    for index in range(60):
        study = PLAIN.study(Split.TEST, index)
        assert study.context == Context()
        told.update(PLAIN.load_images(study)[0].tobytes())
    assert told.hexdigest() == "122021a0fbe252baed32c2ca6968c28f09156901efd7e5229bfbaf8c0f05813c"


def test_every_study_has_a_prior_an_indication_and_its_patients_own_labels() -> None:
    for study, plain in zip(STUDIES, PLAIN.studies(Split.TRAIN), strict=True):
        context = study.context
        assert context.prior is not None
        assert context.indication
        assert context.sex in ("F", "M")
        assert 20 <= (context.age_years or 0) < 90
        assert 1 <= (context.prior.days_before or 0) <= 30
        assert context.prior.report
        assert study.patient_id == plain.patient_id, "a prior study is no study of its own: no split can hold it"
        assert study.study_id == plain.study_id
    assert len({study.context.indication for study in STUDIES}) > 10


def test_what_is_drawn_now_is_what_plain_phantoms_show() -> None:
    assert all(SOURCE.findings(Split.TRAIN, i) == PLAIN.findings(Split.TRAIN, i) for i in range(100))


def test_the_report_states_the_change_of_every_finding_that_is_certain() -> None:
    seen: Counter[Change] = Counter()
    for index in range(len(STUDIES)):
        course, findings = SOURCE.course(Split.TRAIN, index), SOURCE.findings(Split.TRAIN, index)
        assert course is not None
        stated = {s.observation: s.attributes.change for s in SOURCE.statements(Split.TRAIN, index)}
        for observation, finding in findings.items():
            before, change = course.prior.get(observation), stated[observation]
            if finding.uncertain:
                assert (before, change) == (finding, None)
                continue
            severities = (
                None if before is None else (before.severity > finding.severity) - (before.severity < finding.severity)
            )
            expected = {None: Change.NEW, 0: Change.UNCHANGED, -1: Change.LARGER, 1: Change.SMALLER}[severities]
            assert change is expected
            assert before is None or replace(before, severity=finding.severity) == finding
            seen[expected] += 1
        for observation in course.resolved:
            assert observation not in findings
            assert stated[observation] is Change.RESOLVED
            seen[Change.RESOLVED] += 1
    assert min(seen[change] for change in Change) > 100, seen


def test_the_current_film_hardly_tells_the_change() -> None:
    """All changes that can lead to a severity are equally common: without the prior film, guessing is all there is."""
    changes: dict[int, Counter[Change]] = defaultdict(Counter)
    for index in range(len(STUDIES)):
        course = SOURCE.course(Split.TRAIN, index)
        assert course is not None
        for observation, finding in SOURCE.findings(Split.TRAIN, index).items():
            if observation is Observation.PLEURAL_EFFUSION and not finding.uncertain:
                changes[finding.severity][course.changes[observation]] += 1
    for counts in changes.values():
        assert max(counts.values()) < 0.55 * counts.total(), changes


def test_both_films_are_of_one_patient_and_differ_where_something_changed() -> None:
    blurred = lambda film: film.reshape(16, 7, 16, 7).mean(axis=(1, 3))  # noqa: E731
    for index in range(60):
        course, (prior, current) = SOURCE.course(Split.TRAIN, index), films(index)
        assert course is not None
        assert not np.array_equal(prior, current), "another film has another noise"
        difference = np.abs(np.subtract(*(blurred(film) - np.median(film) for film in (prior, current))))
        if set(course.changes.values()) <= {Change.UNCHANGED}:
            assert difference.max() < 45, (index, course)
        if any(c in (Change.NEW, Change.RESOLVED) for c in course.changes.values()):
            assert difference.max() > 15, (index, course)


def test_difficulty_mixes_with_it() -> None:
    noisy = replace(SOURCE, difficulty=Difficulty(train_noise_rate=1.0))
    assert all(
        a.oracle_report != b.oracle_report for a, b in zip(noisy.studies(Split.TRAIN)[:50], STUDIES, strict=False)
    )
    assert np.array_equal(films(0, noisy)[0], films(0)[0])


def test_plain_phantoms_have_no_prior_film() -> None:
    study = STUDIES[0]
    assert load_prior_images(SOURCE.load_images, replace(study, context=Context())) == ()
    with pytest.raises(DataError, match=r"allowed: phantom:<split>/<number>$"):
        load_prior_images(PLAIN.load_images, study)
    with pytest.raises(DataError, match=r"or phantom-prior:<split>/<number>$"):
        SOURCE.load_images(replace(study, image_paths=("phantom-prior:train/x",)))
    with pytest.raises(DataError, match="no phantom"):
        SOURCE.read(study.context.prior.study_id)  # type: ignore[union-attr]


def test_the_digest_tells_them_apart() -> None:
    assert SOURCE.digest() != PLAIN.digest()


def test_what_a_wrong_report_makes_up_is_never_positive_and_resolved() -> None:
    source = replace(SOURCE, difficulty=Difficulty(train_noise_rate=1.0))
    stated = [one for index in range(1_500) for one in source.statements(Split.TRAIN, index)]
    assert not [one for one in stated if one.state is LabelState.POSITIVE and one.attributes.change is Change.RESOLVED]
