"""Rules about text: identifiers of studies, pictures written as letters, and what reads like a radiology report."""

import re
from collections.abc import Iterator

from finding import Finding
from identifiers import real_identifiers
from report_rules import report_passages

_PICTURE = re.compile(
    r"data:(?:image|application/dicom)[\w/+.-]*;base64,[A-Za-z0-9+/]{40}"
    r"|(?<![A-Za-z0-9+/])(?:iVBORw0KGgo|/9j/4A|R0lGOD|UklGR|SUkqA|AAAADGpQ|H4sIA|UEsDB)[A-Za-z0-9+/\s]{200}"
)


def check_text(path: str, content: bytes) -> Iterator[Finding]:
    """Findings in a file's text; none where it isn't text, which another rule refuses."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return
    for found in _PICTURE.finditer(text):
        told = "a picture or an archive written in base64; clear the output of notebooks"
        yield Finding(path, _line(text, found.start()), "picture", told)
    for start in real_identifiers(text):
        told = "an identifier that can be a real study's; use a made-up one, such as patient90001, p20000001, s60000001"
        yield Finding(path, _line(text, start), "identifier", told)
    for line, told in report_passages(text):
        yield Finding(path, line, "report", told)


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1
