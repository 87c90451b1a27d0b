"""How far a pass over a data set is, for someone who watches a terminal."""

import sys
from collections.abc import Iterable, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def watched(items: Sequence[Item], told: str) -> Iterable[Item]:
    """The items, with a bar on standard error while they are gone through; no bar where no terminal watches."""
    if not sys.stderr.isatty():
        return items
    from rich.console import Console
    from rich.progress import track

    return track(items, description=told, console=Console(stderr=True), transient=True)
