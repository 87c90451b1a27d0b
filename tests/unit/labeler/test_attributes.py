"""What is stated of a mention beside its state, on sentences of our own: attributes.txt, labelled by hand."""

import pickle
import time
from pathlib import Path

import pytest

from orapo.chexpert import OBSERVATIONS, Observation
from orapo.labeler import Attributes, Certainty, Labeler, Mention, Severity
from orapo.labeler.modifiers import find_modifiers, load_modifiers
from orapo.labeler.scanner import mask_digits

_CODES = dict(
    zip(
        OBSERVATIONS,
        ["NF", "EC", "CM", "LL", "LO", "ED", "CO", "PN", "AT", "PT", "PE", "PO", "FX", "SD"],
        strict=True,
    )
)
_LINES = Path(__file__).with_name("attributes.txt").read_text(encoding="utf-8").splitlines()
STATEMENTS = [line.split(" | ") for line in _LINES if line and not line.startswith("#")]
LABELER = Labeler()


def told(mention: Mention) -> frozenset[str]:
    certainty, *others, size_mm, change = mention.attributes
    words = [_CODES[mention.observation], *([] if certainty == "certain" else [certainty])]
    words += [value.replace(" ", "-") for value in (*others, change) if value]
    return frozenset(words if size_mm is None else [*words, f"{size_mm:g}mm"])


@pytest.mark.parametrize(("text", "expected"), STATEMENTS, ids=[text for text, _ in STATEMENTS])
def test_statement(text: str, expected: str) -> None:
    mentions = [mention for mention in LABELER.mentions(text) if mention.observation is not Observation.NO_FINDING]
    assert [set(told(mention)) for mention in mentions] == [set(words.split()) for words in expected.split("; ")]


def test_every_family_of_modifiers_is_needed_by_a_statement() -> None:
    sentences = {mask_digits(mention.sentence) for text, _ in STATEMENTS for mention in LABELER.mentions(text)}
    met = {word.modifier for sentence in sentences for word in find_modifiers(sentence)}
    assert [modifier.name for modifier in load_modifiers()[1] if modifier not in met] == []


def test_the_statements_are_many_and_distinct() -> None:
    assert len({text for text, _ in STATEMENTS}) == len(STATEMENTS) >= 160


def test_attributes_are_read_alike_in_both_modes_and_travel_between_processes() -> None:
    original = Labeler("original")
    for text, _ in STATEMENTS:
        mentions = LABELER.mentions(text)
        travelled = pickle.loads(pickle.dumps(mentions))
        assert travelled == mentions
        assert len({*travelled, *mentions}) == len(set(mentions))
        read = {(m.observation, m.start): m.attributes for m in original.mentions(text)}
        for mention, other in zip(mentions, travelled, strict=True):
            assert other.attributes == mention.attributes == read[mention.observation, mention.start]


def test_nothing_is_stated_of_an_accident_of_the_original_labeler() -> None:
    """Its hits inside other words are none of the phrases that modifiers are dealt out to."""
    (mention,) = Labeler("original").mentions("The left trachea is midline in position.")
    assert (mention.observation, mention.attributes) == (Observation.SUPPORT_DEVICES, Attributes(Certainty.CERTAIN))


@pytest.mark.parametrize(
    ("text", "severity", "size_mm", "change"),
    [
        ("Large left effusion.", "severe", None, None),
        ("No large left effusion.", None, None, None),
        ("No new left effusion.", None, None, None),
        ("No 8 mm left nodule.", None, None, None),
        ("New large left effusion.", "severe", None, "new"),
        ("Increased large left port.", None, None, None),
    ],
)
def test_only_resolved_is_said_of_what_is_denied_and_a_device_has_no_size(
    text: str, severity: str | None, size_mm: float | None, change: str | None
) -> None:
    (mention,) = LABELER.mentions(text)
    assert mention.attributes[1:] == ("left", None, severity, size_mm, change)


def test_severities_are_in_order() -> None:
    texts = (
        "Trace effusion.",
        "Trace to small effusion.",
        "Small to moderate effusion.",
        "Moderate to large effusion.",
    )
    assert [m.attributes.severity for text in texts for m in LABELER.mentions(text)] == list(Severity)


@pytest.mark.parametrize(
    "word", ["effusion, left ", "small and ", "left or right ", "in the left lung there is ", "5 mm "]
)
def test_the_time_of_a_degenerate_sentence_is_small(word: str) -> None:
    """Sentences are cut at 1,500 characters; one that is all modifiers or all mentions must not cost more than it."""
    started = time.process_time()
    for mention in LABELER.mentions("effusion " + word * 1_000 + "effusion"):
        assert mention.attributes.certainty
    assert time.process_time() - started < 2.0
