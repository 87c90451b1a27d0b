"""Batches of a user's own images, opened one by one; a study that can't be read is set aside with the reason."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch.utils.data import Dataset

from orapo.batches import StudyBatch
from orapo.data.collate import Collate, StudyImages, StudyWithImages
from orapo.errors import DataError


@dataclass(frozen=True, slots=True)
class OpenedStudies:
    """The studies of one batch.

    Attributes:
        batch: of those that can be read, in order; None where there are none.
        unreadable: of each of the others why not, in one line with study and file; in order.
    """

    batch: StudyBatch | None
    unreadable: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class ReadableStudies(Dataset[StudyWithImages | str]):
    """The rows of a dataset; in place of one that can't be read, why not."""

    rows: StudyImages

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> StudyWithImages | str:
        try:
            return self.rows[index]
        except DataError as error:
            return str(error)


@dataclass(frozen=True)
class CollateReadable:
    """Collates the studies that could be read; ``collate`` builds their batch."""

    collate: Collate

    def __call__(self, rows: Sequence[StudyWithImages | str]) -> OpenedStudies:
        readable = [row for row in rows if not isinstance(row, str)]
        unreadable = tuple(row for row in rows if isinstance(row, str))
        return OpenedStudies(self.collate(readable) if readable else None, unreadable)
