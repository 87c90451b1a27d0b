"""One rule for reports that say nothing, and that scores and judges keep to it."""

import time

import pytest
from tests.unit.evaluation.scores import clinical_scores

from orapo.chexpert import OBSERVATIONS, LabelState, Observation
from orapo.empty_reports import says_nothing
from orapo.evaluation.report_pairs import Written, pair_reports
from orapo.evaluation.text_measures import length_measures, overlap_measures
from orapo.experiment.report_reading import ReportReader
from orapo.labeler import Labeler
from orapo.records import Judgement, Split, Study

NOTHING = (
    "",
    " \n\t",
    "-",
    ".",
    "___",
    "\u200b",
    "N/A",
    "n.a.",
    "na",
    "None.",
    "null",
    "nan",
    "Not applicable.",
    "See impression.",
    "See the findings above",
    "FINDINGS: None. IMPRESSION: None.",
    "**IMPRESSION:**",
    "[REDACTED]",
    "Report pending.",
    "No report available",
    "As above.",
    "Not recorded.",
    "Awaiting report.",
    "See comments.",
    "Refer to report",
    "#REF!",
    "error",
    "x",
    "TBC",
)
SOMETHING = (
    "Normal.",
    "No findings.",
    "Unremarkable.",
    "None of the lines has moved.",
    "Not enlarged.",
    "N",
    "無異常",
    "As before.",
)


@pytest.mark.parametrize("report", NOTHING)
def test_nothing_is_said(report: str) -> None:
    assert says_nothing(report)


@pytest.mark.parametrize("report", SOMETHING)
def test_something_is_said(report: str) -> None:
    assert not says_nothing(report)


def test_a_long_text_takes_no_longer_than_it_is() -> None:
    began = time.process_time()
    assert not says_nothing("see the findings none n a " * 4_000 + "edema")
    assert says_nothing("none " * 20_000)
    assert time.process_time() - began < 1.0


@pytest.mark.parametrize("report", ["", "N/A", "None.", "See impression."])
def test_scores_and_the_offline_judge_agree_that_it_is_not_normal(report: str) -> None:
    normal = dict.fromkeys(OBSERVATIONS, LabelState.UNMENTIONED) | {Observation.NO_FINDING: LabelState.POSITIVE}
    study = Study("s", "p", Split.TEST, ("a.png",), ("PA",), "Normal.", normal)
    (pair,) = pair_reports([study], Written((report,)), Labeler())
    scores = clinical_scores([pair.generated_states], [pair.oracle_states])
    assert scores.per_observation[Observation.NO_FINDING].recall == 0
    reading = ReportReader(Labeler(), uncertain_is_positive=False).read(report, is_finished=True)
    for name in OBSERVATIONS:
        observation = reading.observations[name]
        assert (observation.state, observation.judgement) == (LabelState.UNMENTIONED, Judgement.NOT_MENTIONED)


def test_text_measures_take_it_for_an_empty_report_on_both_sides() -> None:
    assert length_measures(["N/A", "Edema."]).values()["empty_report_fraction"] == 0.5
    assert length_measures(["N/A", "-"]).values()["empty_report_fraction"] == 1
    ours = ["small edema", "none", "clear"]
    some = overlap_measures(ours, ["small edema", "n/a", "clear lungs"])
    assert some.values() == overlap_measures([ours[0], ours[2]], ["small edema", "clear lungs"]).values()
