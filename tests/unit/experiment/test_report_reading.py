"""What is told of a generated report, in words and in JSON."""

import json

import pytest

from orapo.chexpert import OBSERVATIONS, LabelState, Observation
from orapo.data.own_images import find_own_images
from orapo.experiment.report_reading import (
    NOT_CLINICAL,
    GeneratedStudy,
    ReportReader,
    ReportReading,
    count_verdicts,
)
from orapo.labeler import Labeler
from orapo.records import Judgement

REPORT = "Small left pleural effusion. Possible pneumonia. No pneumothorax or edema. The heart is"


def read(report: str, *, uncertain_is_positive: bool = False, is_finished: bool = True) -> ReportReading:
    return ReportReader(Labeler(), uncertain_is_positive=uncertain_is_positive).read(report, is_finished=is_finished)


def test_labels_verdicts_and_what_they_rest_on() -> None:
    reading = read(REPORT)
    assert [fact.text for fact in reading.facts] == [
        "Small left pleural effusion",
        "Possible pneumonia",
        "No pneumothorax or edema",
    ]
    assert "no end" in reading.rejected["The heart is"]
    effusion = reading.observations[Observation.PLEURAL_EFFUSION]
    assert (effusion.state, effusion.judgement) == (LabelState.POSITIVE, Judgement.ENTAILED)
    assert effusion.supporting_facts == ("Small left pleural effusion",)
    assert effusion.evidence == ("small left pleural effusion",)
    edema = reading.observations[Observation.EDEMA]
    assert (edema.state, edema.judgement) == (LabelState.NEGATIVE, Judgement.CONTRADICTED)
    pneumonia = reading.observations[Observation.PNEUMONIA]
    assert (pneumonia.state, pneumonia.judgement) == (LabelState.UNCERTAIN, Judgement.NOT_MENTIONED)
    assert pneumonia.evidence == ("possible pneumonia",)
    assert pneumonia.is_mentioned
    assert not reading.observations[Observation.FRACTURE].is_mentioned


def test_a_hedge_counts_as_the_setting_says() -> None:
    pneumonia = read(REPORT, uncertain_is_positive=True).observations[Observation.PNEUMONIA]
    assert (pneumonia.state, pneumonia.judgement) == (LabelState.UNCERTAIN, Judgement.ENTAILED)


def test_verdicts_are_counted_over_reports() -> None:
    counts = count_verdicts([read("No edema."), read("Mild edema."), read("There is mild edema."), read("")])
    assert counts[Observation.EDEMA] == {
        Judgement.ENTAILED: 2,
        Judgement.CONTRADICTED: 1,
        Judgement.NOT_MENTIONED: 1,
    }
    assert set(counts) == set(OBSERVATIONS)


@pytest.fixture
def study(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    (found,) = find_own_images([str(tmp_path / "a.png")], "image").studies
    return found


def test_text_and_json_of_one_report(study) -> None:
    generated = GeneratedStudy(study, (read(REPORT, is_finished=False),), 0.25, "mine", NOT_CLINICAL)
    content = json.loads(generated.json_line())
    assert "\n" not in generated.json_line()
    assert (content["study"], content["images"]) == (study.study_id, list(study.image_paths))
    assert (content["report"], content["is_finished"], content["seconds_per_image"]) == (REPORT, False, 0.25)
    assert set(content["observations"]) == {observation.value for observation in OBSERVATIONS}
    assert content["observations"]["Pleural Effusion"] == {
        "label": "positive",
        "evidence": ["small left pleural effusion"],
        "verdict": "entailed",
        "supporting_facts": ["Small left pleural effusion"],
    }
    assert content["notice"] == NOT_CLINICAL
    assert "verdict_counts" not in content
    lines = generated.text().splitlines()
    assert REPORT in lines
    assert "(cut off at max_new_tokens)" in lines
    (row,) = [line for line in lines if line.startswith("Edema ")]
    assert row.split(maxsplit=3) == ["Edema", "negative", "contradicted", "No pneumothorax or edema"]
    (silent,) = [line for line in lines if line.startswith("Not mentioned: ")]
    assert "Fracture" in silent
    assert "Pneumonia" not in silent, "a hedge is told, though it is no verdict"
    assert NOT_CLINICAL in generated.text()


def test_text_and_json_of_several_reports(study) -> None:
    readings = tuple(map(read, ("Mild edema.", "No edema.", "Acute left rib fracture.")))
    generated = GeneratedStudy(study, readings, 0.25, "mine", NOT_CLINICAL)
    content = json.loads(generated.json_line())
    assert content["report"] == "Mild edema."
    assert [other["report"] for other in content["other_reports"]] == ["No edema.", "Acute left rib fracture."]
    assert content["verdict_counts"]["Edema"] == {"entailed": 1, "contradicted": 1, "not mentioned": 1}
    text = generated.text()
    assert "of 3 reports: entailed in 1, contradicted in 1, not mentioned in 1" in text
    (silent,) = [line for line in text.splitlines() if line.startswith("Not mentioned: ")]
    assert "Fracture" not in silent, "one of the others affirms it"
    assert "Report 3: Acute left rib fracture." in text


def test_an_empty_report_says_so(study) -> None:
    generated = GeneratedStudy(study, (read(""),), 0.25, "mine", NOT_CLINICAL)
    assert "(an empty report)" in generated.text()
    assert json.loads(generated.json_line())["observations"]["No Finding"]["verdict"] == "not mentioned"
