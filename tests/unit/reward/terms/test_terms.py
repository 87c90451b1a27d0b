"""Each built-in term by hand, on one generated report beside one oracle report."""

import math

import pytest
from tests.conftest import make_study

from orapo.chexpert import LabelState
from orapo.data.phantoms import PhantomSource
from orapo.records import Split
from orapo.reward import WeightedReward

ORACLE = "Small left pleural effusion. No pneumothorax is seen."
"""Eight words; one finding with a side and a severity."""

ALL = ("facts", "accuracy", "attributes", "rouge_l", "bleu", "chrf", "length", "no_repetition")


def value(term: str, report: str, oracle: str = ORACLE, **settings: int) -> float | None:
    reward = WeightedReward({"facts": 1, term: 1}, term_settings={term: settings} if settings else None)
    return reward.score([report], [make_study("a", oracle)])[0].terms[term]


@pytest.mark.parametrize(
    ("term", "report", "expected"),
    [
        *((term, ORACLE, 1.0) for term in ALL[2:]),
        # Six of six words in order beside eight: P 1, R 6/8.
        ("rouge_l", "small left effusion no pneumothorax seen", 2 * 6 / 14),
        ("rouge_l", "edema", 0.0),
        # "small left pleural effusion" and "no": 5, 3, 2 and 1 runs of 5, 4, 3 and 2; brevity exp(1 - 8/5).
        ("bleu", "small left pleural effusion no", math.exp(1 - 8 / 5)),
        ("bleu", "small left effusion no edema is seen", 0.0),
        ("length", "small left pleural effusion", 4 / 8),
        ("length", "no " * 16, 8 / 16),
        ("no_repetition", "no no no no no", 1 / 2),
        ("no_repetition", "", 0.0),
        ("attributes", "Small right pleural effusion.", 1 / 2),
        ("attributes", "Pleural effusion.", 0.0),
        *((term, "", 0.0) for term in ALL[2:]),
    ],
)
def test_by_hand(term: str, report: str, expected: float) -> None:
    assert value(term, report) == pytest.approx(expected, abs=1e-6)


def test_the_length_of_what_may_not_repeat_is_a_setting() -> None:
    assert value("no_repetition", "no no no no no", num_words=1) == pytest.approx(1 / 5)


@pytest.mark.parametrize("term", ["attributes", "rouge_l", "bleu", "chrf", "length"])
def test_a_study_without_a_report_leaves_what_compares_undefined(term: str) -> None:
    assert value(term, ORACLE, oracle="N/A") is None


def test_the_oracles_own_reports_earn_everything_on_phantoms() -> None:
    studies = PhantomSource(num_train=60).studies(Split.TRAIN)
    terms = dict.fromkeys(ALL, 1.0)
    # A template may say the same four words twice.
    del terms["no_repetition"]
    studies = [study for study in studies if LabelState.POSITIVE in study.labels.values()]
    for found in WeightedReward(terms).score([study.oracle_report for study in studies], studies):
        assert all(value == pytest.approx(1.0, abs=1e-6) for value in found.terms.values() if value is not None)
        assert found.total == pytest.approx(1.0, abs=1e-6)
