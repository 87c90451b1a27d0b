"""Reads what litellm raises."""

from orapo.remote.call_errors import CallError, CallErrorKind, kind_of, quotable, retry_after

_CONTENT_FILTER = ("content_filter", "content management policy", "content policy", "safety system")


def call_error(error: Exception, private: tuple[str, ...]) -> CallError:
    """Reads an exception of litellm.

    Args:
        error: what ``acompletion`` raised; its text may quote keys, headers, addresses and the prompt.
        private: texts that must not be quoted: the key, and what is judged.
    """
    status = getattr(error, "status_code", None)
    status = status if isinstance(status, int) else 500
    headers = getattr(error, "litellm_response_headers", None)
    named = retry_after(headers) if headers is not None else None
    quoted = provider_reason(str(getattr(error, "message", "")), private)
    kind = kind_of(status)
    if kind is CallErrorKind.REJECTED:
        if any(mark in _all_text(error).lower() for mark in _CONTENT_FILTER) or "ContentPolicy" in type(error).__name__:
            return CallError(f"refused by a content filter (status {status})", CallErrorKind.REFUSED)
        return CallError(f"status {status}{quoted and f': {quoted}'}", CallErrorKind.REJECTED)
    timed_out = status in (408, 504)
    what = "no answer in time" if timed_out else "rate limited" if status == 429 else "not available"
    # A broken connection has no response and comes as 500 as well.
    seen = "no response" if headers is None and status != 429 else f"status {status}"
    return CallError(f"{what} ({seen})", kind, named, may_be_billed=timed_out)


def provider_reason(message: str, private: tuple[str, ...]) -> str:
    """What may be quoted of a message of litellm, which stands behind the names of its exceptions."""
    return quotable(message.rpartition("Exception - ")[2], private)


def _all_text(error: Exception) -> str:
    return f"{getattr(error, 'message', '')} {getattr(error, 'body', '')}"
