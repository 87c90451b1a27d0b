"""What a language model reads of a report's findings beyond their presence, as pairs of finding and attribute."""

import math
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Literal

from orapo.chexpert import OBSERVATIONS, Observation
from orapo.labeler import Change, Place, Severity, Side
from orapo.measures.attributes import AttributePair
from orapo.remote.call_errors import InvalidAnswer
from orapo.reward.llm.answers import StrictAnswer, check_sentence, key_of, parse
from orapo.reward.llm.grounding import sentences_of
from orapo.reward.llm.prompts import Request, StagePrompt, numbered, stage_prompt

STAGE = "attributes"
FINDINGS = {key_of(each): each for each in OBSERVATIONS if each is not Observation.NO_FINDING}
UNSIDED = (Observation.CARDIOMEGALY, Observation.ENLARGED_CARDIOMEDIASTINUM)
_VALUES = {"side": tuple(Side), "place": tuple(Place), "severity": tuple(Severity), "change": tuple(Change)}
_OF_DEVICES = {**_VALUES, "severity": (), "size": (), "change": (Change.NEW, Change.UNCHANGED, Change.RESOLVED)}
_WORD = re.compile(r"\d+(?:\.\d+)?|[^\W\d_]+")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


class StatedAttribute(StrictAnswer):
    """One attribute of one finding, and the words of the sentence that states it."""

    sentence: int
    finding: Literal[
        "enlarged_cardiomediastinum",
        "cardiomegaly",
        "lung_lesion",
        "lung_opacity",
        "edema",
        "consolidation",
        "pneumonia",
        "atelectasis",
        "pneumothorax",
        "pleural_effusion",
        "pleural_other",
        "fracture",
        "support_devices",
    ]
    kind: Literal["side", "place", "severity", "size", "change"]
    value: str
    words: str


class StatedAttributes(StrictAnswer):
    """The answer to ``attributes_request``."""

    attributes: list[StatedAttribute]


@lru_cache
def _prompt(version: str) -> StagePrompt:
    parts = {
        "findings": ", ".join(FINDINGS),
        "unsided": " or ".join(map(key_of, UNSIDED)),
        "places": " | ".join(Place),
    }
    return stage_prompt(version, STAGE, StatedAttributes, parts)


def attributes_request(version: str, report: str) -> Request:
    """Asks for the attributes of a report's findings; ``read_attributes`` reads the answer."""
    return _prompt(version).request(numbered(sentences_of(report)))


def read_attributes(answer: str | None, report: str) -> frozenset[AttributePair]:
    """The pairs of an answer, as ``measures.attributes.attribute_pairs`` has them: what is bilateral is left and right.

    Raises:
        InvalidAnswer: not such an object, a sentence that the report doesn't have, words that it doesn't have,
            or a value that the finding can't have.
    """
    sentences = sentences_of(report)
    pairs: set[AttributePair] = set()
    for number, stated in enumerate(parse(StatedAttributes, answer).attributes):
        place = f"attributes[{number}]"
        check_sentence(f"{place}.sentence", stated.sentence, len(sentences))
        words, sentence = _words(stated.words), _words(sentences[stated.sentence])
        if not words or not any(sentence[at : at + len(words)] == words for at in range(len(sentence))):
            raise InvalidAnswer(
                f"{place}.words aren't words of sentence {stated.sentence}; copy them letter for letter"
            )
        pairs.update(AttributePair(FINDINGS[stated.finding], stated.kind, each) for each in _values(stated, place))
    return frozenset(pairs)


def _values(stated: StatedAttribute, place: str) -> Iterator[str | float]:
    finding = FINDINGS[stated.finding]
    values = _OF_DEVICES if finding is Observation.SUPPORT_DEVICES else _VALUES
    if (stated.kind in ("side", "place") and finding in UNSIDED) or not values.get(stated.kind, True):
        raise InvalidAnswer(f"{place} gives the {stated.kind} of {stated.finding}, which has none; leave it out")
    if stated.kind == "size":
        yield _length(stated, place)
    elif stated.value not in values[stated.kind]:
        raise InvalidAnswer(f"{place}.value must be one of {', '.join(values[stated.kind])}")
    elif stated.value == Side.BILATERAL:
        yield from (Side.LEFT.value, Side.RIGHT.value)
    else:
        yield stated.value


def _length(stated: StatedAttribute, place: str) -> float:
    """Millimetres; the sentence has the number, in millimetres or centimetres."""
    length = float(stated.value) if _NUMBER.fullmatch(stated.value) else 0.0
    if length <= 0:
        raise InvalidAnswer(f"{place}.value must be a length in millimetres, a number above 0")
    written = [float(number) for number in _NUMBER.findall(stated.words)]
    if not any(math.isclose(length, factor * number) for number in written for factor in (1, 10)):
        raise InvalidAnswer(f"{place}.words don't state this length; copy the number with its unit")
    return length


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())
