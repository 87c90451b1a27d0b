"""What a look at a data set found, before anyone waits for a run: files, counts, problems."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CheckReport:
    """The result of ``orapo data check``.

    Attributes:
        data_set: its name.
        found: one line per file or folder that is there, with its size or number of rows.
        counts: what a user should see, in the order to print: studies per split, images, views, sections, labels ...
        problems: one line each, naming file, line or study and what to do; empty when the data set can be used.
        notes: worth knowing, but no obstacle: optional files that aren't there, studies that are left out and why.
    """

    data_set: str
    found: tuple[str, ...]
    counts: Mapping[str, int]
    problems: tuple[str, ...]
    notes: tuple[str, ...] = ()
