"""What a model thinks before it answers, told from the answer by the marks around it.

A mark begins or ends thoughts: ``<think>``, ``[/THINK]``, ``<|end_of_thought|>``, the channels of gpt-oss, and others
like them. An end without its beginning is common, since many chat templates write the beginning into the prompt: all
before it is thought.
"""

import re

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
