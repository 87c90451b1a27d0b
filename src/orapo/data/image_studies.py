"""Batches of a user's own images, opened one by one; a study that can't be read is set aside with the reason."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from torch.utils.data import Dataset

from orapo.batches import StudyBatch
from orapo.data.collate import Collate, StudyWithImages
from orapo.data.images import load_study_images
from orapo.data.source import load_prior_images
from orapo.errors import DataError
from orapo.records import Study


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A study with an image that can't be read.

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
    """A dataset of studies whose images are opened on access."""

    def __init__(
        self,
        studies: Sequence[Study],
        longest_side: int | None = None,
        max_pixels: int | None = None,
        *,
        with_priors: bool = False,
    ) -> None:
        """Stores the studies; opens no image.

        Args:
            studies: the rows.
            longest_side: as for ``load_image``.
            max_pixels: as for ``load_image``.
            with_priors: whether the images of prior studies are opened too.
        """
        self._studies = studies
        self._open = partial(load_study_images, longest_side=longest_side, max_pixels=max_pixels)
        self._with_priors = with_priors

    def __len__(self) -> int:
        return len(self._studies)

    def __getitem__(self, index: int) -> StudyWithImages | Unreadable:
        study = self._studies[index]
        try:
            prior_images = load_prior_images(self._open, study) if self._with_priors else ()
            return StudyWithImages(study, self._open(study), prior_images)
        except DataError as error:
            return Unreadable(study.study_id, str(error))


@dataclass(frozen=True)
class CollateReadable:
    """Collates the studies that could be read; ``collate`` builds their batch."""

    collate: Collate

    def __call__(self, rows: Sequence[StudyWithImages | Unreadable]) -> OpenedStudies:
        readable = [row for row in rows if not isinstance(row, Unreadable)]
        unreadable = tuple(row for row in rows if isinstance(row, Unreadable))
        return OpenedStudies(self.collate(readable) if readable else None, unreadable)
