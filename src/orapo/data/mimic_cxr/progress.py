"""How far a pass over the data set is, for someone who watches a terminal."""

import sys
from collections.abc import Iterable, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def watched(items: Sequence[Item], doing: str) -> Iterable[Item]:
    """The items, with a bar on standard error while they are gone through; none where no terminal watches."""
    if not sys.stderr.isatty():
        return items
    from rich.console import Console
    from rich.progress import track

    return track(items, description=doing, console=Console(stderr=True), transient=True)
