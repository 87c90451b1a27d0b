"""Pages in one file: a template with the shared style, whose ``{{name}}`` are replaced once."""

import json
import re
from html import escape
from importlib.resources import files
from typing import Any


def fill(template: str, *, title: str, **parts: str) -> str:
    """The page.

    Args:
        template: file in this package.
        title: plain text.
        parts: HTML by name; may hold anything, ``{{name}}`` too.

    Raises:
        KeyError: the template has a name that is not given.
    """
    folder = files("orapo.comparison")
    style = folder.joinpath("page.css").read_text(encoding="utf-8")
    given = {"title": escape(title), "style": style, **parts}
    text = folder.joinpath(template).read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda found: given[found[1]], text)


def as_data(content: Any) -> str:
    """JSON that can stand inside of a script element, whatever its texts hold.

    Raises:
        ValueError: a number is not finite.
    """
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def paragraph(text: str, kind: str = "") -> str:
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"
