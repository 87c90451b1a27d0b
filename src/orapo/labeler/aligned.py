"""A text and where each of its characters stands in the report that it was made from."""

import re
from collections.abc import Callable, Iterable, Sequence

Replacement = str | Callable[[re.Match[str]], str]


class AlignedText:
    """A rewritten report, or a part of one, that knows where its characters came from.

    Attributes:
        text: as rewritten.
        origins: for each character, and one past the last, where it stands in the report; never falling. The
            characters of a replacement are at the start of what they replace; those added after it are at its end.
    """

    __slots__ = ("origins", "text")

    def __init__(self, text: str, origins: Sequence[int] | None = None) -> None:
        """``origins`` maps each character of ``text`` to its place in the report; None where the text is the report."""
        self.text = text
        self.origins = range(len(text) + 1) if origins is None else origins

    def replace(self, pattern: re.Pattern[str], replacement: Replacement) -> "AlignedText":
        """Every match replaced; a string is taken as it is, without group references."""
        found = pattern.finditer(self.text)
        if isinstance(replacement, str):
            return self.edit((*match.span(), replacement) for match in found)
        return self.edit((*match.span(), replacement(match)) for match in found)

    def edit(self, edits: Iterable[tuple[int, int, str]]) -> "AlignedText":
        """Stretches ``[start, end)`` replaced, given in reading order and without overlaps."""
        text, origins = self.text, self.origins
        pieces: list[str] = []
        moved: list[int] = []
        at = 0
        for start, end, new in edits:
            pieces += (text[at:start], new)
            moved += origins[at:start]
            kept = max(0, new.find(text[start:end]))
            if new.startswith(text[start:end], kept):
                moved += [origins[start]] * kept + [*origins[start:end]]
                moved += [origins[end]] * (len(new) - kept - end + start)
            else:
                moved += [origins[start]] * len(new)
            at = end
        if not pieces:
            return self
        pieces.append(text[at:])
        moved += origins[at:]
        return AlignedText("".join(pieces), moved)

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where ``[start, end)`` stands in the report: first character and one past the last."""
        origins = self.origins
        if start == end:
            return origins[start], origins[start]
        last = origins[end - 1]
        if origins[end] > last:
            return origins[start], origins[end]
        while end < len(origins) - 1 and origins[end] == last:
            end += 1
        return origins[start], origins[end]
