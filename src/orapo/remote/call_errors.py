"""What goes wrong in a call, in our own words: an error never holds a key, header, address or report."""

import email.utils
import math
import re
import time
from collections.abc import Mapping
from enum import Enum

_LONGEST_REASON = 160
_LONGEST_READ = 2000
"""Characters of a service's message that are looked at: it may be a page of megabytes."""
_KEY_LIKE = re.compile(
    r"(?i)\bbearer\s+\S+|\b(?:sk|pk|rk|gsk|xai|key|token|api)[-_][\w*.-]{4,}|\bAIza[\w-]{8,}"
    r"|(?:api[-_ ]?key|authorization|token|secret|password)\"?\s*[=:]\s*(?:bearer\s+)?\S+|\S*\*{3,}\S*|\b[\w-]{24,}\b"
)
_ADDRESS = re.compile(r"\bhttps?://\S+")
_WORD = re.compile(r"\w+")
_LATER = {408: "UNAVAILABLE", 409: "UNAVAILABLE", 425: "UNAVAILABLE", 429: "RATE_LIMITED"}


class CallErrorKind(Enum):
    """The kind of failure that a call ended with, which decides what happens next."""

    RATE_LIMITED = "rate limited"
    """Asked again after a while, not before the time that the provider named."""
    UNAVAILABLE = "unavailable"
    """No answer: a server error, a broken connection, a timeout. Asked again; several in a row open the breaker."""
    REFUSED = "refused"
    """A content filter stopped this request."""
    REJECTED = "rejected"
    """A setting is wrong (key, model, parameter): no further request can succeed, so that everything stops."""


class CallError(Exception):
    """A call without an answer.

    Attributes:
        reason: one line for the user.
        kind: what to do about it.
        retry_after_seconds: how long the provider asked to wait, None where it didn't.
        may_be_billed: the provider may have worked for it all the same (a timeout).
    """

    def __init__(
        self,
        reason: str,
        kind: CallErrorKind,
        retry_after_seconds: float | None = None,
        *,
        may_be_billed: bool = False,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.kind = kind
        self.retry_after_seconds = retry_after_seconds
        self.may_be_billed = may_be_billed


class InvalidAnswer(Exception):
    """An answer that isn't of the form asked for.

    Attributes:
        reason: what to correct, short, without a word of the report or of the answer: it may be logged, and shown to
            the model when asking again.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def kind_of(status: int) -> CallErrorKind:
    """What to do about an HTTP error status."""
    if status < 500 and status not in _LATER:
        return CallErrorKind.REJECTED
    return CallErrorKind[_LATER.get(status, "UNAVAILABLE")]


def quotable(message: str, private: tuple[str, ...]) -> str:
    """A service's own reason cut to a short line, keys and addresses masked; "" where it quotes what's private."""
    text = " ".join(without_lone_surrogates(message[:_LONGEST_READ]).split())
    for hidden in private:
        if hidden and (hidden in text or _share_words(hidden, text)):
            return ""
    text = _KEY_LIKE.sub("[masked]", _ADDRESS.sub("[address]", text))
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}..."


def _share_words(hidden: str, text: str, run: int = 3) -> bool:
    """True where ``run`` words in a row (all of them, where there are fewer) stand in both."""
    words, found = _WORD.findall(hidden.lower()), f" {' '.join(_WORD.findall(text.lower()))} "
    starts = range(max(1, len(words) - run + 1)) if words else range(0)
    return any(f" {' '.join(words[start : start + run])} " in found for start in starts)


def without_lone_surrogates(text: str) -> str:
    """The text with U+FFFD for each half of a surrogate pair, which no file can hold."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait: ``retry-after-ms``, or ``retry-after`` in seconds or as a date."""
    try:
        if "retry-after-ms" in headers:
            return _finite(float(headers["retry-after-ms"]) / 1000)
        return _finite(float(headers["retry-after"])) if "retry-after" in headers else None
    except ValueError:
        pass
    try:
        return _finite(email.utils.parsedate_to_datetime(headers["retry-after"]).timestamp() - time.time())
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def _finite(seconds: float) -> float | None:
    return max(0.0, seconds) if math.isfinite(seconds) else None
