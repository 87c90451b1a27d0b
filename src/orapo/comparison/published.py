"""The paper's printed rows, and whether a user's own run is comparable with them."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from pydantic import TypeAdapter

from orapo.comparison.groups import Group
from orapo.comparison.run_folder import Run

SOURCE = "data.source._target_"


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """One row; a number that the paper does not print is None.

    Attributes:
        name: of the system.
        precision: in [0, 1].
        recall: in [0, 1].
        f1: in [0, 1].
        venue: where, or in which year, it was published; empty for the paper's own.
        parameters: as printed; empty where the table has no such column.
        train_size: as printed.
        is_recomputed: the paper states it as a percentage only.
    """

    name: str
    precision: float | None = None
    recall: float | None = None
    f1: float | None = None
    venue: str = ""
    parameters: str = ""
    train_size: str = ""
    is_recomputed: bool = False


@dataclass(frozen=True)
class PublishedTable:
    """One table of the paper.

    Attributes:
        number: in the paper.
        title: in our words.
        average: "macro" or "micro", over the 14 observations.
        test_set: on which all rows were measured.
        source_classes: names of data sources whose test split can be that set.
        note: what a reader must know; may be empty.
        rows: in the paper's order.
    """

    number: int
    title: str
    average: str
    test_set: str
    source_classes: Sequence[str]
    note: str
    rows: tuple[PublishedRow, ...]


def published_tables() -> tuple[PublishedTable, ...]:
    """Tables 1, 2, 3, 5 and 7 of the paper."""
    content = tomllib.loads(files("orapo.comparison").joinpath("published.toml").read_text(encoding="utf-8"))
    return TypeAdapter(tuple[PublishedTable, ...]).validate_python(content["tables"])


def comparability(table: PublishedTable, groups: Sequence[Group]) -> str:
    """One sentence: whether these groups' scores may be read beside the table's."""
    sources = {_source_class(group.finished[0]) for group in groups if group.finished}
    if not sources:
        return f"None of your runs was tested yet; these rows are of the {table.test_set}."
    shown = ", ".join(sorted(sources))
    if sources - set(table.source_classes):
        return f"NOT COMPARABLE: your runs were tested on {shown}, these rows on the {table.test_set}."
    return (
        f"Your runs were tested on {shown}: comparable with the {table.test_set} only if the studies, the report "
        f"sections and the labeler are the same."
    )


def _source_class(run: Run) -> str:
    return str(run.settings.get(SOURCE, "an unknown source")).rpartition(".")[2]
