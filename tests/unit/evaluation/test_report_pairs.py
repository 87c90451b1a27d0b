"""Report pairs survive the way to test_reports.jsonl and back, and bad rows are named."""

import json
from pathlib import Path

import pytest

from orapo.chexpert import OBSERVATIONS, LabelState, LabelStates, Observation
from orapo.errors import DataError
from orapo.evaluation.report_pairs import (
    ReportPair,
    Written,
    pair_reports,
    read_report_pairs,
    write_report_pairs,
)
from orapo.evaluation.study_pictures import agreement
from orapo.labeler import Labeler
from orapo.labeler.types import LabeledReport
from orapo.records import MentionSpan, Split, Study

EDEMA, FRACTURE, DEVICES = Observation.EDEMA, Observation.FRACTURE, Observation.SUPPORT_DEVICES


def states(**given: LabelState) -> LabelStates:
    labels = dict.fromkeys(OBSERVATIONS, LabelState.UNMENTIONED)
    labels.update({Observation[name]: state for name, state in given.items()})
    return labels


class EdemaLabeler:
    """Calls edema present where the word stands; enough to see that the generated report is what gets labelled."""

    def label(self, text: str) -> LabeledReport:
        state = LabelState.POSITIVE if "edema" in text else LabelState.UNMENTIONED
        return LabeledReport(states=states(EDEMA=state), mentions=())


def pair(study_id: str = "s1", generated_report: str = "There is edema.") -> ReportPair:
    return ReportPair(
        study_id=study_id,
        oracle_report="Edema \u2028 of both lungs.",
        generated_report=generated_report,
        oracle_states=states(EDEMA=LabelState.POSITIVE, FRACTURE=LabelState.UNCERTAIN),
        generated_states=states(EDEMA=LabelState.POSITIVE, SUPPORT_DEVICES=LabelState.NEGATIVE),
        generated_mentions=(MentionSpan(EDEMA, LabelState.POSITIVE, 9, 14, -1, -1),),
    )


def test_rows_survive_the_file(tmp_path: Path) -> None:
    pairs = (pair(), pair("s2", 'Quote " and\nnewline, größer'), pair("s3", ""))
    write_report_pairs(tmp_path / "test_reports.jsonl", pairs)
    assert read_report_pairs(tmp_path / "test_reports.jsonl") == pairs


def test_a_row_holds_words() -> None:
    row = pair().to_row()
    assert row["oracle_states"]["Fracture"] == "uncertain"
    assert row["generated_states"]["Support Devices"] == "negative"
    assert len(row["generated_states"]) == 14
    assert json.loads(json.dumps(row)) == row


def test_bad_rows_are_named(tmp_path: Path) -> None:
    row = pair().to_row()
    row["generated_states"]["Edema"] = "maybe"
    with pytest.raises(DataError, match=r"'s1'.*Edema is 'maybe', allowed are positive"):
        ReportPair.from_row(row)
    for broken in ({"state": "maybe"}, {"start": "first"}, {"cue_end": None}):
        row = pair().to_row()
        row["generated_mentions"][0] |= broken
        with pytest.raises(DataError, match="'s1': one of generated_mentions"):
            ReportPair.from_row(row)
    with pytest.raises(DataError, match=r"'s1'.*lacks generated_report"):
        ReportPair.from_row({key: value for key, value in pair().to_row().items() if key != "generated_report"})
    path = tmp_path / "test_reports.jsonl"
    path.write_text(json.dumps(pair().to_row()) + "\n{truncated")
    with pytest.raises(DataError, match=r"test_reports.jsonl, line 2") as caught:
        read_report_pairs(path)
    assert "truncated" not in str(caught.value), "the message repeats what may be a report"
    path.write_text("[1]")
    with pytest.raises(DataError, match=r"line 1"):
        read_report_pairs(path)
    with pytest.raises(DataError, match="no such file"):
        read_report_pairs(tmp_path / "absent.jsonl")


def test_pairing_takes_the_truth_from_the_study_and_labels_the_generated_report() -> None:
    study = Study("s1", "p1", Split.TEST, ("a.png",), ("PA",), "A broken rib.", states(FRACTURE=LabelState.POSITIVE))
    (made,) = pair_reports([study], Written(("There is edema.",)), EdemaLabeler())
    assert made.oracle_states[FRACTURE] is LabelState.POSITIVE
    assert made.generated_states[EDEMA] is LabelState.POSITIVE
    assert made.generated_states[FRACTURE] is LabelState.UNMENTIONED
    assert (made.oracle_report, made.generated_report) == ("A broken rib.", "There is edema.")
    with pytest.raises(DataError, match="2 generated reports for 1 studies"):
        pair_reports([study], Written(("a", "b")), EdemaLabeler())


def test_mentions_say_where_the_written_report_was_read() -> None:
    report = "FINDINGS:\n- NO  Pneumothorax;\n* the <b>Heart</b>\nis Enlarged"
    study = Study("s1", "p1", Split.TEST, ("a.png",), ("PA",), "A broken rib.", states())
    (made,) = pair_reports([study], Written((report,)), Labeler())
    row = json.loads(json.dumps(made.to_row()))
    written = row["generated_report"]
    assert [
        (m["observation"], m["state"], written[m["start"] : m["end"]], written[m["cue_start"] : m["cue_end"]])
        for m in row["generated_mentions"]
    ] == [
        ("Pneumothorax", "negative", "Pneumothorax", "NO"),
        ("Cardiomegaly", "positive", "the <b>Heart", "Enlarged"),
    ]
    assert ReportPair.from_row(row) == made
    del row["generated_mentions"]  # as in files of earlier versions
    assert ReportPair.from_row(row).generated_mentions == ()


def test_agreement() -> None:
    mixed = ReportPair(
        study_id="s1",
        oracle_report="a",
        generated_report="b",
        oracle_states=states(EDEMA=LabelState.POSITIVE, FRACTURE=LabelState.POSITIVE),
        generated_states=states(EDEMA=LabelState.POSITIVE, SUPPORT_DEVICES=LabelState.UNCERTAIN),
    )
    strict, lenient = agreement(mixed), agreement(mixed, uncertain_is_positive=True)
    assert strict == ([EDEMA], [FRACTURE], [])
    assert lenient == ([EDEMA], [FRACTURE], [DEVICES])
