"""Batches of one's own images, opened one by one; a study that can't be read is set aside with the reason."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch.utils.data import Dataset

from orapo.batches import StudyBatch
from orapo.data.collate import Collate, StudyWithImages
from orapo.data.own_images import open_own_images
from orapo.errors import DataError
from orapo.records import Study


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A study one of whose images can't be read.

    Attributes:
        study_id: of the study.
        reason: in one line, with the file.
    """

    study_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class OpenedStudies:
    """The studies of one batch.

    Attributes:
        batch: of those that can be read, in order; None where there are none.
        unreadable: the others, in order.
    """

    batch: StudyBatch | None
    unreadable: tuple[Unreadable, ...]


class ImageStudies(Dataset[StudyWithImages | Unreadable]):
    """Studies whose images are opened when asked for."""

    def __init__(self, studies: Sequence[Study], longest_side: int) -> None:
        """Opens nothing; ``longest_side`` is that of ``open_own_images``."""
        self._studies = studies
        self._longest_side = longest_side

    def __len__(self) -> int:
        return len(self._studies)

    def __getitem__(self, index: int) -> StudyWithImages | Unreadable:
        study = self._studies[index]
        try:
            return study, open_own_images(study, self._longest_side)
        except DataError as error:
            return Unreadable(study.study_id, str(error))


@dataclass(frozen=True)
class CollateReadable:
    """Collates the studies that could be read; ``collate`` builds their batch."""

    collate: Collate

    def __call__(self, rows: Sequence[StudyWithImages | Unreadable]) -> OpenedStudies:
        """Parts the rows and builds the batch."""
        readable = [row for row in rows if not isinstance(row, Unreadable)]
        unreadable = tuple(row for row in rows if isinstance(row, Unreadable))
        return OpenedStudies(self.collate(readable) if readable else None, unreadable)
