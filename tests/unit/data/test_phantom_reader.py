"""The strict parser reads every phantom as its labels say, and nothing that is not of the grammar."""

import pytest
from benchmarks.second_reader import agreement

from orapo.chexpert import OBSERVATIONS, LabelState, Observation
from orapo.data.phantom_reader import PhantomReader
from orapo.data.phantoms.source import PhantomSource
from orapo.records import Split

EDEMA, EFFUSION, DEVICES, NORMAL = (
    Observation.EDEMA,
    Observation.PLEURAL_EFFUSION,
    Observation.SUPPORT_DEVICES,
    Observation.NO_FINDING,
)


def mentioned(report: str) -> dict[Observation, LabelState]:
    return {o: state for o, state in PhantomReader().read(report).states.items() if state is not LabelState.UNMENTIONED}


@pytest.mark.parametrize("split", Split)
def test_every_phantom_reads_as_its_labels(split: Split) -> None:
    source = PhantomSource()
    for index in range(300):
        study = source.study(split, index)
        read = PhantomReader().read(study.oracle_report)
        assert read.num_refused == 0, study.study_id
        assert read.states == study.labels, study.study_id


def test_every_follow_up_reads_as_its_labels() -> None:
    source = PhantomSource(followup=True)
    for index in range(600):
        study = source.study(Split.TRAIN, index)
        assert study.context.prior is not None
        assert PhantomReader().read(study.oracle_report) == (study.labels, 0), study.study_id
        assert PhantomReader().read(study.context.prior.report).num_refused == 0, study.study_id


def test_what_sentences_state() -> None:
    assert mentioned("Mild pulmonary edema.") == {EDEMA: LabelState.POSITIVE}
    assert mentioned("Possible mild pulmonary edema.") == {EDEMA: LabelState.UNCERTAIN}
    assert mentioned("No pulmonary edema.") == {EDEMA: LabelState.NEGATIVE, NORMAL: LabelState.POSITIVE}
    assert mentioned("There is an endotracheal tube.") == {
        DEVICES: LabelState.POSITIVE,
        NORMAL: LabelState.POSITIVE,
    }
    # Positive before uncertain before negative, in any order.
    both = "No pulmonary edema. Possible mild pulmonary edema. Severe pulmonary edema."
    assert mentioned(both) == mentioned(" ".join(reversed(both.split(". ")))) == {EDEMA: LabelState.POSITIVE}


@pytest.mark.parametrize(
    "report",
    [
        "edema",  # words that the labeler takes
        "Mild pulmonary edema",  # no end
        "Mild mild pulmonary edema.",
        "Mild edema pulmonary.",
        "Pulmonary edema.",
        "mild pulmonary edema.",
        "Heart failure with edema.",
    ],
)
def test_what_is_no_sentence_of_the_grammar_states_nothing(report: str) -> None:
    read = PhantomReader().read(report)
    assert read.num_refused == 1
    assert set(read.states.values()) == {LabelState.UNMENTIONED}


def test_a_refused_sentence_leaves_the_others_and_forbids_no_finding() -> None:
    read = PhantomReader().read("Gibberish here. No pleural effusion.")
    assert read.num_refused == 1
    assert {o for o in OBSERVATIONS if read.states[o] is not LabelState.UNMENTIONED} == {EFFUSION}
    assert set(PhantomReader().read("").states.values()) == {LabelState.UNMENTIONED}


def test_the_benchmark_counts_where_both_agree() -> None:
    shares, differ = agreement(["No pulmonary edema.", "Pulmonary edema."])
    assert shares["reports read as a whole"] == shares["equal reports"] == 0.5
    assert differ == {("positive", "unmentioned"): 1}
