"""MkDocs hook: a link from docs/ to a file of the checkout, which the site does not hold, becomes the file's name.

On a page of the repository such a link opens the file; the site says where it stands. A file that is not there is an
error.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
_LINK = re.compile(r"\[([^\]]*)\]\((\.\./[^)#\s]*)(?:#[^)\s]*)?\)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Replaces the links of one page.

    Raises:
        FileNotFoundError: a link's file is not there.
    """
    folder = posixpath.dirname(page.file.src_uri)

    def named(found: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join("docs", folder, found[2]))
        if path.startswith("docs/"):
            return found[0]
        if not (ROOT / path).exists():
            raise FileNotFoundError(f"{page.file.src_uri} links to {path}, which is not there")
        text = found[1].strip("`")
        return f"`{path}`" if path.rstrip("/").endswith(text.rstrip("/")) else f"{found[1]} (`{path}`)"

    return _LINK.sub(named, markdown)
