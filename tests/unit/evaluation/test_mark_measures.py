"""Who reads the mark is found out: worked arithmetic, and two made-up systems on phantoms with a mark."""

import numpy as np
import pytest

from orapo.chexpert import OBSERVATIONS, LabelState, Observation
from orapo.data.phantoms import PhantomSource
from orapo.data.phantoms.difficulty import Difficulty, SpuriousMark
from orapo.errors import DataError
from orapo.evaluation.mark_measures import mark_measures
from orapo.evaluation.report_pairs import ReportPair
from orapo.evaluation.resampling import Bootstrap
from orapo.records import Split

EDEMA = Observation.EDEMA
NAME = "uncertain_not_positive/mark/Edema"


def pair(called: bool, true: LabelState) -> ReportPair:
    nothing = dict.fromkeys(OBSERVATIONS, LabelState.UNMENTIONED)
    generated = nothing | {EDEMA: LabelState.POSITIVE if called else LabelState.NEGATIVE}
    return ReportPair("s", "", "", nothing | {EDEMA: true}, generated)


def test_worked_arithmetic() -> None:
    there, absent, hedged = LabelState.POSITIVE, LabelState.NEGATIVE, LabelState.UNCERTAIN
    rows = [  # mark, called, truth
        *[(True, True, there)] * 3,
        (True, False, there),
        *[(True, True, absent)] * 2,
        *[(True, False, absent)] * 2,
        (False, True, there),
        *[(False, False, there)] * 1,
        (False, True, absent),
        *[(False, False, absent)] * 3,
        (False, False, hedged),
    ]
    pairs = [pair(called, truth) for _, called, truth in rows]
    values = mark_measures(pairs, [mark for mark, _, _ in rows], EDEMA).values()
    # With the mark: TP 3, FN 1, FP 2, TN 2. Without: TP 1, FN 1, FP 1, TN 4 (the hedged one counts as absent).
    expected = {
        "with_mark": {"f1": 6 / 9, "recall": 3 / 4, "false_positive_rate": 2 / 4},
        "without_mark": {"f1": 2 / 4, "recall": 1 / 2, "false_positive_rate": 1 / 5},
        "difference": {"f1": 6 / 9 - 2 / 4, "recall": 1 / 4, "false_positive_rate": 0.3},
    }
    for side, kinds in expected.items():
        assert {kind: values[f"{NAME}/{side}/{kind}"] for kind in kinds} == pytest.approx(kinds), side
    assert values["uncertain_positive/mark/Edema/without_mark/recall"] == pytest.approx(1 / 3)


def test_a_system_that_reads_the_mark_is_told_from_one_that_looks() -> None:
    mark = SpuriousMark(EDEMA.value, 0.95, 0.05, 0.5, 0.5)
    source = PhantomSource(num_test=280, difficulty=Difficulty(mark=mark))
    studies = source.studies(Split.TEST)
    marks = [source.has_mark(study.study_id) for study in studies]
    looks = np.random.default_rng(0).random(len(studies)) < 0.9
    systems = {
        "reads": [pair(called, study.labels[EDEMA]) for called, study in zip(marks, studies, strict=True)],
        "looks": [
            pair((study.labels[EDEMA] is LabelState.POSITIVE) == bool(is_right), study.labels[EDEMA])
            for is_right, study in zip(looks, studies, strict=True)
        ],
    }
    found = {
        name: Bootstrap(num_resamples=200).estimates(mark_measures(pairs, marks, EDEMA))
        for name, pairs in systems.items()
    }
    gap = f"{NAME}/difference/false_positive_rate"
    assert found["reads"][gap].value == 1.0
    assert found["reads"][f"{NAME}/difference/recall"].value == 1.0
    assert found["looks"][gap].low < 0 < found["looks"][gap].high


def test_one_mark_a_study_is_needed() -> None:
    with pytest.raises(DataError, match="1 marks for 2 studies"):
        mark_measures([pair(True, LabelState.POSITIVE)] * 2, [True], EDEMA)
