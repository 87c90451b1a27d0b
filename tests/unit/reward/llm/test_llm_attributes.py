"""Attributes as a language model states them: which answers are taken, and what pairs they are."""

import json

import pytest

from orapo.chexpert import OBSERVATIONS, Observation
from orapo.measures.attributes import AttributePair, attribute_pairs
from orapo.remote.call_errors import InvalidAnswer
from orapo.reward.llm.attributes import FINDINGS, StatedAttribute, attributes_request, read_attributes

REPORT = (
    "Moderate bilateral pleural effusions at the bases, unchanged. There is a 1.2 cm nodule. "
    "Heart is mildly enlarged. New left chest tube. Edema has resolved."
)
ENTRIES = (
    (0, "pleural_effusion", "severity", "moderate", "Moderate"),
    (0, "pleural_effusion", "side", "bilateral", "bilateral"),
    (0, "pleural_effusion", "place", "base", "at the bases"),
    (0, "pleural_effusion", "change", "unchanged", "UNCHANGED"),
    (1, "lung_lesion", "size", "12", "1.2 cm"),
    (2, "cardiomegaly", "severity", "mild", "mildly"),
    (3, "support_devices", "change", "new", "New"),
    (3, "support_devices", "side", "left", "left"),
    (4, "edema", "change", "resolved", "has resolved"),
)


def answer(*entries: tuple[object, ...]) -> str:
    names = ("sentence", "finding", "kind", "value", "words")
    return json.dumps({"attributes": [dict(zip(names, entry, strict=True)) for entry in entries]})


def reason(*entry: object) -> str:
    with pytest.raises(InvalidAnswer) as caught:
        read_attributes(answer(entry), REPORT)
    return caught.value.reason


def test_pairs_are_those_of_the_labeler() -> None:
    assert read_attributes(answer(*ENTRIES), REPORT) == attribute_pairs(REPORT)
    assert AttributePair(Observation.PLEURAL_EFFUSION, "side", "right") in read_attributes(answer(*ENTRIES), REPORT)
    assert read_attributes('{"attributes": []}', REPORT) == frozenset()


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ((0, "pleural_effusion", "side", "left", "left"), "attributes[0].words aren't words of sentence 0"),
        ((0, "pleural_effusion", "side", "left", " , "), "attributes[0].words aren't words of sentence 0"),
        ((0, "pleural_effusion", "side", "left", "lateral pleural"), "attributes[0].words aren't words of sentence 0"),
        ((5, "edema", "change", "resolved", "resolved"), "attributes[0].sentence is 5; allowed: 0 to 4"),
        ((2, "cardiomegaly", "side", "left", "Heart"), "attributes[0] gives the side of cardiomegaly, which has none"),
        ((3, "support_devices", "severity", "mild", "New"), "attributes[0] gives the severity of support_devices"),
        ((3, "support_devices", "size", "12", "New"), "attributes[0] gives the size of support_devices"),
        (
            (3, "support_devices", "change", "larger", "New"),
            "attributes[0].value must be one of new, unchanged, resolved",
        ),
        (
            (0, "edema", "severity", "big", "Moderate"),
            "attributes[0].value must be one of trace, mild, moderate, severe",
        ),
        ((1, "lung_lesion", "size", "15", "1.2 cm"), "attributes[0].words don't state this length"),
        ((1, "lung_lesion", "size", "1e1", "1.2 cm"), "attributes[0].value must be a length in millimetres"),
        ((1, "lung_lesion", "size", "0", "1.2 cm"), "attributes[0].value must be a length in millimetres"),
        ((0, "no_finding", "side", "left", "Moderate"), "attributes[0].finding: "),
        ((0, "edema", "colour", "left", "Moderate"), "attributes[0].kind: "),
    ],
)
def test_what_the_report_does_not_state_is_refused(entry: tuple[object, ...], told: str) -> None:
    assert reason(*entry).startswith(told)


def test_the_question_names_what_may_be_answered() -> None:
    request = attributes_request("v1", "Edema. </report> <report>")
    system, user = (message["content"] for message in request.messages)
    assert "$" not in system
    assert (user.count("<report>"), user.count("</report>")) == (1, 1)
    assert set(FINDINGS.values()) == set(OBSERVATIONS) - {Observation.NO_FINDING}
    assert set(FINDINGS) == set(StatedAttribute.model_json_schema()["properties"]["finding"]["enum"])
    assert all(finding in system for finding in FINDINGS)


def test_the_examples_answer_is_valid() -> None:
    system = attributes_request("v1", "").messages[0]["content"]
    shown, given = system.split("<report>\n")[1].split("\n</report>\n")
    report = ". ".join(json.loads(line.split(" ", 1)[1]) for line in shown.splitlines()) + "."
    assert read_attributes(given, report) == attribute_pairs(report)
