"""The JSON object in what a language model wrote: tolerant of what stands around it, strict about the object.

What a model thinks before it answers is told from the answer by the marks around it: ``<think>``, ``[/THINK]``,
``<|end_of_thought|>``, the channels of gpt-oss, and others like them. An end without its beginning is common, since
many chat templates write the beginning into the prompt: all before it is thought.
"""

import json
import re
from collections.abc import Collection

from orapo.remote.call_errors import InvalidAnswer

LONGEST_ANSWER = 60_000
"""Characters; a longer answer isn't looked into."""
MOST_STARTS = 200
"""JSON objects looked at, whole or not; an answer needs one. Both bounds keep garbage from taking seconds."""

_WORD = r"(?:think|thought|reason|rationale|reflect|analysis|scratchpad|monologue|deliberat|cot\b)"
_NAME = rf"[\w:.-]{{0,12}}?{_WORD}[^<>\[\]\n]{{0,60}}?\|?(?:>|&gt;|\]|▷)"
_OPENER = r"(?:<|&lt;|\[|◁)\|?\s*"
_END = rf"{_OPENER}(?:/|end[_ ]?(?:of[_ ])?)\s*\|?{_NAME}"
_CHANNEL_END = r"<\|channel\|>\s*final|<channel\|>|assistantfinal"
_CHANNEL_BEGIN = r"<\|?channel\|?>\s*(?:analysis|commentary|thought)"
MARK = re.compile(
    rf"(?P<end>{_END}|{_CHANNEL_END}|<unused95>)|(?P<begin>{_OPENER}{_NAME}|{_CHANNEL_BEGIN}|<unused94>)", re.IGNORECASE
)
"""A mark; its group "end" or "begin" is what it does. MedGemma's are <unused94> and <unused95>."""

_STRING_OR_COMMA = re.compile(r'("(?:[^"\\]|\\.)*+"?)|,(?=\s*[}\]])', re.DOTALL)
_OBJECT_OR_MARK = re.compile(rf"(?P<object>\{{)|{MARK.pattern}", re.IGNORECASE)


def without_thoughts(text: str) -> str:
    """What the model says aloud: all but what stands between marks, before a bare end, or after a bare beginning."""
    said: list[str] = []
    at: int | None = 0
    for mark in MARK.finditer(text):
        if mark["begin"]:
            said += [] if at is None else [text[at : mark.start()]]
            at = None
        else:
            said = said if at is None else []
            at = mark.end()
    return "".join([*said, "" if at is None else text[at:]])


def read_object(answer: str | None, keys: Collection[str]) -> dict[str, object]:
    """The one JSON object with all of ``keys`` in an answer.

    Allowed around it: white space, a code fence, other text, and thoughts between their marks
    (``without_thoughts``), whose objects don't count; allowed in it: a comma before a closing bracket.

    Raises:
        InvalidAnswer: no answer, too long, no such object or several, a key given twice, NaN or Infinity.
    """
    if answer is None or not answer.strip():
        raise InvalidAnswer("the answer is empty; give the JSON object")
    if len(answer) > LONGEST_ANSWER:
        raise InvalidAnswer(f"the answer has more than {LONGEST_ANSWER} characters; give the JSON object only")
    found = _objects(answer, keys) or _objects(_STRING_OR_COMMA.sub(lambda match: match[1] or "", answer), keys)
    wanted = " and ".join(sorted(keys))
    if len(found) > 1:
        raise InvalidAnswer(f"the answer holds {len(found)} JSON objects with {wanted}; give one")
    if not found:
        cut = "it may be cut off" if "{" in without_thoughts(answer) else "it has no JSON"
        raise InvalidAnswer(f"the answer holds no complete JSON object with {wanted}: {cut}; give this object only")
    return found[0]


def _objects(text: str, keys: Collection[str]) -> list[dict[str, object]]:
    """The outermost JSON objects said aloud in ``text`` that have all of ``keys``, in order; raises the first mistake.

    A mark within an object is a part of its strings, and no mark.
    """
    found: list[dict[str, object]] = []
    mistakes: list[InvalidAnswer] = []
    is_thought, num_starts, at = False, 0, 0
    while piece := _OBJECT_OR_MARK.search(text, at):
        at = piece.end()
        if not piece["object"]:
            if piece["end"] and not is_thought:
                found.clear()
                mistakes.clear()
            is_thought = bool(piece["begin"])
        elif not is_thought:
            num_starts += 1
            if num_starts > MOST_STARTS:
                raise InvalidAnswer(
                    f"the answer holds more than {MOST_STARTS} pieces of JSON, cut off or not; give one JSON object"
                )
            value, at = _decoded(text, piece.start())
            if isinstance(value, InvalidAnswer):
                mistakes.append(value)
            elif value is not None and all(key in value for key in keys):
                found.append(value)
    if mistakes:
        raise mistakes[0]
    return found


def _decoded(text: str, start: int) -> tuple[dict[str, object] | InvalidAnswer | None, int]:
    """The object that begins at ``start``, or its mistake, and where to read on; None where no object begins."""
    value: dict[str, object] | InvalidAnswer | None
    try:
        value, end = _DECODER.raw_decode(text, start)
    except InvalidAnswer as mistake:
        return mistake, start + 1
    except (ValueError, RecursionError):
        return None, start + 1
    return value, end


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise InvalidAnswer("a JSON object gives a key twice; give each key once")
    return value


def _refuse_constant(name: str) -> object:
    raise InvalidAnswer("NaN and Infinity aren't allowed; give whole numbers")


_DECODER = json.JSONDecoder(object_pairs_hook=_without_repeats, parse_constant=_refuse_constant)
