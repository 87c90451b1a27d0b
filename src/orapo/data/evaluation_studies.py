"""Studies for evaluating alone: the test split without a training subset beside it, and the training studies apart."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch.utils.data import DataLoader

from orapo.data.balanced_subset import BalancedSubset
from orapo.data.collate import Collate, StudyWithImages
from orapo.data.source import LeftOut, StudySource
from orapo.data.study_reader import OnBadImage, StudyReader
from orapo.data.subset_manifest import SubsetManifest
from orapo.errors import DataError
from orapo.records import Split, Study


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
    def read(
        cls, source: StudySource, at_most: int | None, on_bad_image: OnBadImage | None = "refuse"
    ) -> "EvaluationStudies":
        """Reads the test split of a source.

        Args:
            source: lists and reads studies.
            at_most: read only this many usable studies, the first ones, at least 1; None reads all.
            on_bad_image: what happens to a study with an unreadable image; None where images aren't used.

        Raises:
            DataError: no test study is left, or an image can't be read and isn't to be dropped.
        """
        reader = StudyReader(source, on_bad_image)
        studies = reader.read_first(Split.TEST, at_most)
        return cls(source, studies, (*source.left_out(Split.TEST), *reader.left_out))

    def loader(
        self, collate: Collate, *, batch_size: int, num_workers: int, images_of: Sequence[int] | None
    ) -> DataLoader[StudyWithImages]:
        """Batches in order; ``images_of`` as in ``StudyImages``."""
        rows = collate.rows(self.source.load_images, self.studies, images_of)
        return DataLoader(rows, batch_size=batch_size, collate_fn=collate, num_workers=num_workers)


def read_training_studies(
    source: StudySource, subset: BalancedSubset, manifest: SubsetManifest | None, on_bad_image: OnBadImage = "refuse"
) -> tuple[Study, ...]:
    """The reports and labels that a run on this source trains on, by its manifest or by the rule of choice.

    Images are looked at only where the choice depends on them: without a manifest, and where bad ones are dropped.

    Raises:
        DataError: the source has no training studies, or lacks one of the manifest.
    """
    entries = source.entries(Split.TRAIN)
    if not entries:
        raise DataError(f"{source.name} has no training studies")
    reader = StudyReader(source, on_bad_image if on_bad_image == "drop" and manifest is None else None)
    if manifest is None:
        manifest = subset.choose(entries, is_usable=reader.is_usable, source_digest=source.digest())
    else:
        manifest.check_source({entry.study_id for entry in entries}, source.digest())
    read = (reader.read(study_id) for study_id in manifest.study_ids)
    return tuple(study for study in read if study is not None)
