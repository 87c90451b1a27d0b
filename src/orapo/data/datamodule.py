"""The data module: chooses the balanced training subset and serves training, validation and test batches."""

import math
from collections.abc import Callable, Sequence
from itertools import islice

import torch
from lightning.pytorch import LightningDataModule
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch.utils.data import DataLoader, Dataset, Subset

from orapo.batches import StudyBatch
from orapo.data.balanced_subset import BalancedSubset, SubsetManifest
from orapo.data.collate import Collate, StudyWithImages
from orapo.data.loader import ResumableLoader, StreamBatches
from orapo.data.phantoms.source import PhantomSource
from orapo.data.shard import Shard
from orapo.data.shuffled import derangement
from orapo.data.source import LeftOut, StudySource
from orapo.errors import DataError, SettingError
from orapo.records import Split, Study
from orapo.settings import settings


class StudyImages(Dataset[StudyWithImages]):
    """Studies with their images, opened when asked for."""

    def __init__(self, source: StudySource, studies: Sequence[Study], images_of: Sequence[int] | None = None) -> None:
        """Lists studies, opens nothing.

        Args:
            source: opens the images.
            studies: the rows.
            images_of: per row, the row whose images it shows instead of its own (the shuffled-image control).
        """
        self._source = source
        self._studies = studies
        self._images_of = images_of

    def __len__(self) -> int:
        return len(self._studies)

    def __getitem__(self, index: int) -> StudyWithImages:
        shown = self._studies[index if self._images_of is None else self._images_of[index]]
        return self._studies[index], self._source.load_images(shown)


@settings
class BatchSettings:
    """How studies are served.

    Attributes:
        batch_size: B, studies per training step over all processes; at least 1.
        num_steps: training steps (batches of studies), or None when ``num_passes`` is given.
        num_passes: passes over the training subset, > 0, or None when ``num_steps`` is given.
        eval_batch_size: studies a process generates for at a time in validation and test; at least 1.
        max_validate_studies: the first so many validation studies are used; None uses all.
        max_test_studies: the first so many test studies are used; None uses all.
        num_workers: processes that open images; 0 opens them in the training process.
        seed: of the order of training studies and of the shuffled images.
    """

    batch_size: PositiveInt
    num_steps: PositiveInt | None
    num_passes: PositiveFloat | None
    eval_batch_size: PositiveInt
    max_validate_studies: PositiveInt | None
    max_test_studies: PositiveInt | None
    num_workers: NonNegativeInt
    seed: NonNegativeInt


class ReportDataModule(LightningDataModule):
    """Builds the balanced subset and its batches; validation and test come with the shuffled-image control beside them.

    Attributes:
        manifest: which studies train, and why.
        left_out: every study found unusable, with the reason: those that the tables rule out, and those whose report,
            once opened, lacks what the settings ask for. Reports that no choice came upon stay unopened.
        train_studies: the chosen subset.
        validate_studies: never used for training.
        test_studies: touched at the start (base policy) and at the end only.
    """

    def __init__(
        self,
        source: StudySource,
        subset: BalancedSubset,
        settings: BatchSettings,
        manifest: SubsetManifest | None = None,
    ) -> None:
        """Chooses the subset at once, so that a data error comes before a model is loaded.

        Args:
            source: lists, reads and opens studies.
            subset: the rule of choice.
            settings: how studies are served.
            manifest: of an earlier choice, to train on just those studies; ``subset`` isn't used then.

        Raises:
            DataError: a split has no study left, or the source lacks a study of the manifest.
        """
        super().__init__()
        self._source = source
        self._settings = settings
        self._collate: Collate | None = None
        self._shard = Shard()
        self._reader = _Reader(source)
        entries = source.entries(Split.TRAIN)
        if manifest is None:
            manifest = subset.choose(entries, is_usable=self._reader.is_usable, source_digest=source.digest())
        else:
            manifest.check_source({entry.study_id for entry in entries}, source.digest())
        self.manifest: SubsetManifest = manifest
        self.train_studies = self._reader.read_all(manifest.study_ids)
        self.validate_studies = self._reader.read_first(Split.VALIDATE, settings.max_validate_studies)
        self.test_studies = self._reader.read_first(Split.TEST, settings.max_test_studies)
        self.left_out: tuple[LeftOut, ...] = (
            *(left_out for split in Split for left_out in source.left_out(split)),
            *self._reader.left_out,
        )
        self._refuse_shared_patients()

    def attach(self, collate: Collate, shard: Shard | None = None) -> None:
        """Gives the module the policy's way of making batches; called once the policy is loaded.

        Args:
            collate: of the policy.
            shard: which part of every batch and split is served here; None serves all.

        Raises:
            SettingError: there are more processes than studies in a batch.
        """
        self._collate = collate
        self._shard = shard or Shard()
        if self._settings.batch_size < self._shard.size:
            raise SettingError(
                f"training.batch_size is {self._settings.batch_size}; it must be at least the number of processes, "
                f"{self._shard.size}, since each of them works on its share of the studies of a step"
            )

    @property
    def is_synthetic(self) -> bool:
        """Whether the studies are drawings, behind which no patient stands."""
        return isinstance(self._source, PhantomSource)

    @property
    def num_steps(self) -> int:
        """Training steps (batches of studies) of the whole run."""
        if self._settings.num_steps is not None:
            return self._settings.num_steps
        if self._settings.num_passes is None:
            raise RuntimeError("neither num_steps nor num_passes is given")
        return math.ceil(self._settings.num_passes * len(self.train_studies) / self._settings.batch_size)

    def train_dataloader(self) -> ResumableLoader:
        """One stream of ``num_steps`` batches."""
        settings = self._settings
        batches = StreamBatches(
            len(self.train_studies), settings.batch_size, self.num_steps, settings.seed, self._shard
        )
        return ResumableLoader(
            StudyImages(self._source, self.train_studies),
            batches,
            collate_fn=self._collate_function(),
            num_workers=settings.num_workers,
            persistent_workers=settings.num_workers > 0,
        )

    def val_dataloader(self) -> list[DataLoader[StudyWithImages]]:
        """The validation studies, and the same with their images shuffled among them."""
        return self._with_shuffled(self.validate_studies)

    def test_dataloader(self) -> list[DataLoader[StudyWithImages]]:
        """The test studies, and the same with their images shuffled among them."""
        return self._with_shuffled(self.test_studies)

    def transfer_batch_to_device(self, batch: StudyBatch, device: torch.device, dataloader_idx: int) -> StudyBatch:
        """Lightning can't look into a ``StudyBatch``."""
        return batch.to(device)

    def load_images(self, study: Study) -> StudyWithImages:
        """A study with its images, for pictures and tables."""
        return study, self._source.load_images(study)

    def _with_shuffled(self, studies: Sequence[Study]) -> list[DataLoader[StudyWithImages]]:
        rows = [StudyImages(self._source, studies)]
        if len(studies) > 1:
            rows.append(StudyImages(self._source, studies, derangement(len(studies), self._settings.seed)))
        # A process without a study of its own generates for the first one again, which is counted once: Lightning
        # would skip the whole evaluation in a process without a batch, and the others would wait for it.
        own = self._shard.of(len(studies)) or range(1)
        return [
            DataLoader(
                Subset(row, own),
                batch_size=self._settings.eval_batch_size,
                collate_fn=self._collate_function(),
                num_workers=self._settings.num_workers,
            )
            for row in rows
        ]

    def _collate_function(self) -> Callable[[Sequence[StudyWithImages]], StudyBatch]:
        if self._collate is None:
            raise RuntimeError("attach(collate) must be called before batches are asked for")
        return self._collate

    def _refuse_shared_patients(self) -> None:
        trained = {study.patient_id: study.study_id for study in self.train_studies}
        for study in (*self.validate_studies, *self.test_studies):
            if study.patient_id in trained:
                raise DataError(
                    f"patient {study.patient_id} has study {trained[study.patient_id]} in train and study "
                    f"{study.study_id} in {study.split}; a patient must be in one split only"
                )


class _Reader:
    """Reads studies of a source once, and remembers which can't be used."""

    def __init__(self, source: StudySource) -> None:
        self._source = source
        self._studies: dict[str, Study] = {}
        self.left_out: list[LeftOut] = []

    def is_usable(self, study_id: str) -> bool:
        """Whether the study, once read, has all that the settings ask for."""
        return self._read(study_id) is not None

    def read_all(self, study_ids: Sequence[str]) -> tuple[Study, ...]:
        """The studies of these ids; raises DataError when one can't be used."""
        studies = [self._studies.get(study_id) or self._read(study_id) for study_id in study_ids]
        for study_id, study in zip(study_ids, studies, strict=True):
            if study is None:
                reason = next(left_out.reason for left_out in self.left_out if left_out.study_id == study_id)
                raise DataError(f"{self._source.name}: study {study_id} of the subset can't be used: {reason}")
        return tuple(study for study in studies if study is not None)

    def read_first(self, split: Split, at_most: int | None) -> tuple[Study, ...]:
        """The first usable studies of a split; raises DataError when there is none."""
        entries = self._source.entries(split)
        usable = (study for entry in entries if (study := self._read(entry.study_id)) is not None)
        studies = tuple(islice(usable, at_most))
        if not studies:
            raise DataError(f"{self._source.name}: no {split} study is left after filtering; at least one is needed")
        return studies

    def _read(self, study_id: str) -> Study | None:
        read = self._source.read(study_id)
        if isinstance(read, LeftOut):
            self.left_out.append(read)
            return None
        self._studies[study_id] = read
        return read
