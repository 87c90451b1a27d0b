"""Studies for evaluating alone: the test split without a training subset beside it, and the training studies apart."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

from PIL import Image
from pydantic import PositiveInt
from torch.utils.data import DataLoader

from orapo.batches import StudyBatch
from orapo.data.balanced_subset import BalancedSubset
from orapo.data.collate import StudyWithImages
from orapo.data.datamodule import StudyImages
from orapo.data.source import LeftOut, StudySource
from orapo.data.subset_manifest import SubsetManifest
from orapo.errors import DataError
from orapo.records import Split, Study
from orapo.settings import checked


@dataclass(frozen=True)
class EvaluationStudies:
    """The studies that are evaluated, with or without oracle reports.

    Attributes:
        source: opens the images.
        studies: in the source's order, at least one.
        left_out: studies of the split that can't be used, and why.
    """

    source: StudySource
    studies: tuple[Study, ...]
    left_out: tuple[LeftOut, ...]

    @classmethod
    @checked
    def read(cls, source: StudySource, at_most: PositiveInt | None) -> "EvaluationStudies":
        """Reads the test split of a source.

        Args:
            source: lists and reads studies.
            at_most: the first so many usable ones, at least 1; None reads all.

        Raises:
            SettingError: ``at_most`` is below 1.
            DataError: no test study is left.
        """
        left_out = list(source.left_out(Split.TEST))
        reader = _Reader(source, left_out)
        usable = (study for entry in source.entries(Split.TEST) if (study := reader.read(entry.study_id)) is not None)
        studies = tuple(islice(usable, at_most))
        if not studies:
            raise DataError(f"{source.name}: no test study is left after filtering; at least one is needed")
        return cls(source, studies, tuple(left_out))

    def loader(
        self,
        collate: Callable[[Sequence[StudyWithImages]], StudyBatch],
        *,
        batch_size: int,
        num_workers: int,
        images_of: Sequence[int] | None,
    ) -> DataLoader[StudyWithImages]:
        """Batches in order; ``images_of`` names for each study the one whose images it is shown, None its own."""
        rows = StudyImages(self.source, self.studies, images_of)
        return DataLoader(rows, batch_size=batch_size, collate_fn=collate, num_workers=num_workers)

    def images(self, place: int) -> tuple[Image.Image, ...]:
        """Opens the images of one study."""
        return self.source.load_images(self.studies[place])


def read_training_studies(
    source: StudySource, subset: BalancedSubset, manifest: SubsetManifest | None
) -> tuple[Study, ...]:
    """The studies that a run on this source trains on, by its manifest or by the rule of choice.

    Raises:
        DataError: the source has no training studies, or lacks one of the manifest.
    """
    entries = source.entries(Split.TRAIN)
    if not entries:
        raise DataError(f"{source.name} has no training studies")
    reader = _Reader(source, [])
    if manifest is None:
        digest = source.digest()
        manifest = subset.choose(entries, is_usable=lambda i: reader.read(i) is not None, source_digest=digest)
    else:
        manifest.check_source({entry.study_id for entry in entries}, source.digest())
    read = (reader.read(study_id) for study_id in manifest.study_ids)
    return tuple(study for study in read if study is not None)


class _Reader:
    """Reads each study once and keeps what can't be used in ``left_out``."""

    def __init__(self, source: StudySource, left_out: list[LeftOut]) -> None:
        self._source = source
        self._left_out = left_out
        self._read: dict[str, Study | None] = {}

    def read(self, study_id: str) -> Study | None:
        """The study, None when it can't be used."""
        if study_id not in self._read:
            read = self._source.read(study_id)
            self._read[study_id] = None if isinstance(read, LeftOut) else read
            if isinstance(read, LeftOut):
                self._left_out.append(read)
        return self._read[study_id]
