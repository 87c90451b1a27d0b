"""Keys and passwords where they don't belong: on a command line, in a config. They stand in the environment only."""

import os
import re
from collections.abc import Iterable

from orapo.errors import SettingError

_VARIABLE = re.compile(r"[A-Za-z_]\w*")
_UNLIKE_A_VARIABLE = re.compile(r"(?=\D*\d)[A-Za-z0-9]{16,}")
_NAMES = r"(?:\w*api[-_]?key|(?:hf|auth|access|bearer)[-_]token|token|password|secret|authorization)"
_NAME = re.compile(_NAMES, re.IGNORECASE)
_SECRET = re.compile(
    r"(?<![A-Za-z0-9])(?:sk[-_](?=[^\d\s]{0,60}\d)[\w-]{16,}|(?:pk|rk)[-_](?:live|test|lf)[-_][\w-]{8,}"
    r"|(?:gsk|xai|hf|gh[opsu])[-_](?=[A-Za-z]*\d)[A-Za-z0-9]{16,}|(?:glpat|github_pat|wandb_v1)[-_][\w-]{16,}"
    r"|AIza[\w-]{20,}|AKIA[A-Z0-9]{12,}|eyJ[\w-]{10,400}\.[\w-]+)"
    r"|\bbearer\s+\S{8,}|://[^/\s@]+@"  # a user, with or without a password
    rf"|(?:[?&](?:key|sig|signature)=|(?:^|[?&{{,'\"]\s*){_NAMES}['\"]?\s*[:=]\s*(?!null\b))['\"]?[^\s'\",}}]",
    re.IGNORECASE,
)
_FROM_ENVIRONMENT = re.compile(r"\$\{oc\.env:\s*['\"]?(\w+)")
_HOLDS_SECRET = ("_KEY", "_TOKEN", "_SECRET", "_PASSWORD")
_SHORTEST_SECRET = 12


def refuse_keys(arguments: Iterable[str]) -> None:
    """Refuses keys and passwords among arguments, before one of them stands in a file or a message.

    Raises:
        SettingError: names the argument without its value.
    """
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if equals or name.startswith("-"):
            refuse_key(name, value)
        elif _is_secret(argument):
            refuse_key("", argument)


def refuse_key(name: str, value: str) -> None:
    """Refuses a key or password as the value of a setting or option, or within it.

    Raises:
        SettingError: names the setting, but for one that holds a key itself.
    """
    last = name.rpartition(".")[2].lstrip("+~-")
    if last == "api_key_variable":
        odd = any(map(_is_no_variable, re.split(r"[\s'\"\[\],]+", value)))
        what = "must be the name of an environment variable, which holds the key" if odd else ""
    else:
        is_named_so = _NAME.fullmatch(last) is not None and value.strip(" '\"") != "null"
        what = "holds a key or password" if is_named_so or _is_secret(value) else ""
    if _is_secret(name):
        name, what = "the command line", "holds a key or password"
    if what:
        raise SettingError(
            f"{name or 'an argument'} {what}; keys stand in environment variables only (api_key_variable names one), "
            "as a run keeps its command line"
        )


def _is_no_variable(value: str) -> bool:
    if not value:
        return False
    is_in_use = value in os.environ
    looks_like_a_key = _UNLIKE_A_VARIABLE.fullmatch(value) or _SECRET.search(value)
    return not _VARIABLE.fullmatch(value) or (looks_like_a_key is not None and not is_in_use)


def _is_secret(text: str) -> bool:
    """Whether a text holds what looks like a key, one of the environment, or asks for one of these."""
    asked = _FROM_ENVIRONMENT.findall(text)
    held = (held for name, held in os.environ.items() if name.endswith(_HOLDS_SECRET) and len(held) >= _SHORTEST_SECRET)
    return _SECRET.search(text) is not None or any(map(_holds_secret, asked)) or any(each in text for each in held)


def _holds_secret(variable: str) -> bool:
    return variable.upper().endswith(_HOLDS_SECRET)
