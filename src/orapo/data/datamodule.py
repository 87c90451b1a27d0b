"""The data module: chooses the balanced training subset and serves training, validation and test batches."""

import math
from collections.abc import Sequence

from lightning.pytorch import LightningDataModule
from pydantic import PositiveFloat, PositiveInt
from torch.utils.data import DataLoader, Subset

from orapo.data.arithmetic import Arithmetic
from orapo.data.balanced_subset import BalancedSubset, SubsetManifest
from orapo.data.collate import Collate, StudyWithImages
from orapo.data.loader import ResumableLoader, StreamBatches
from orapo.data.phantom_questions import PhantomQuestions
from orapo.data.phantoms.source import PhantomSource
from orapo.data.shard import Shard
from orapo.data.shuffled import derangement
from orapo.data.source import LeftOut, StudySource
from orapo.data.study_reader import OnBadImage, StudyReader
from orapo.errors import DataError, SettingError
from orapo.records import Split, Study
from orapo.settings import Count, NumWorkers, Seed, settings


@settings
class BatchSettings:
    """How studies are served.

    Attributes:
        batch_size: B, studies per training step over all processes; at least 1.
        num_steps: training steps (batches of studies), or None when ``num_passes`` is given.
        num_passes: passes over the training subset, > 0, or None when ``num_steps`` is given.
        eval_batch_size: studies a process generates for at a time in validation and test; at least 1.
        max_validate_studies: use at most this many validation studies, the first ones; None uses all.
        max_test_studies: use at most this many test studies, the first ones; None uses all.
        num_workers: processes that open images; 0 opens them in the training process.
        seed: of the order of training studies and of the shuffled images.
        on_bad_image: what happens to a study with an unreadable image; None where no image is used.
        looks_ahead: whether a training batch is made while the one before it is used.
    """

    batch_size: Count
    num_steps: PositiveInt | None
    num_passes: PositiveFloat | None
    eval_batch_size: Count
    max_validate_studies: PositiveInt | None
    max_test_studies: PositiveInt | None
    num_workers: NumWorkers
    seed: Seed
    on_bad_image: OnBadImage | None = "refuse"
    looks_ahead: bool = False


class ReportDataModule(LightningDataModule):
    """Builds the balanced subset and its batches; validation and test come with the shuffled-image control beside them,
    where there are images.

    Attributes:
        manifest: which studies train, and why.
        left_out: every study found unusable, with the reason: those that the tables rule out, those whose report, once
            opened, lacks what the settings ask for, and those with an image that can't be read. Reports and images of
            studies that were never considered stay unopened.
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
        self._reader = StudyReader(source, settings.on_bad_image)
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
        """Sets how the policy makes batches.

        Args:
            collate: of the policy.
            shard: which part of every batch and split is served here; None serves all.

        Raises:
            SettingError: there are more processes than studies in a batch, or the prompt is to tell what no training
                study has.
        """
        if unfilled := collate.prompt.unfilled(self.train_studies):
            asked = "; data.source.prior=true reads prior studies" if any("prior" in name for name in unfilled) else ""
            raise SettingError(
                f"prompt.context asks for {', '.join(unfilled)}, which none of the {len(self.train_studies):,} "
                f"training studies of {self._source.name} has; leave it out, or choose data that has it{asked}"
            )
        self._collate = collate
        self._shard = shard or Shard()
        if self._settings.batch_size < self._shard.size:
            raise SettingError(
                f"training.batch_size is {self._settings.batch_size}; it must be at least the number of processes, "
                f"{self._shard.size}, since each of them works on its share of the studies of a step"
            )

    @property
    def is_synthetic(self) -> bool:
        """Whether the studies are generated here, drawings or sums, so that there are no patients."""
        return isinstance(self._source, PhantomSource | PhantomQuestions | Arithmetic)

    @property
    def asks_questions(self) -> bool:
        """Whether answers are wanted instead of reports."""
        return self.train_studies[0].question is not None

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
        settings, collate = self._settings, self._collate_function()
        batches = StreamBatches(
            len(self.train_studies), settings.batch_size, self.num_steps, settings.seed, self._shard
        )
        return ResumableLoader(
            collate.rows(self._source.load_images, self.train_studies),
            batches,
            looks_ahead=settings.looks_ahead,
            collate_fn=collate,
            num_workers=settings.num_workers,
            persistent_workers=settings.num_workers > 0,
        )

    def val_dataloader(self) -> list[DataLoader[StudyWithImages]]:
        """The validation studies, and the same with their images shuffled among them."""
        return self._with_shuffled(self.validate_studies)

    def test_dataloader(self) -> list[DataLoader[StudyWithImages]]:
        """The test studies, and the same with their images shuffled among them."""
        return self._with_shuffled(self.test_studies)

    def load_images(self, study: Study) -> StudyWithImages:
        """A study with the images that its prompt shows."""
        return self._collate_function().rows(self._source.load_images, [study])[0]

    def _with_shuffled(self, studies: Sequence[Study]) -> list[DataLoader[StudyWithImages]]:
        collate, load_images = self._collate_function(), self._source.load_images
        rows = [collate.rows(load_images, studies)]
        if len(studies) > 1 and any(study.image_paths for study in studies):
            rows.append(collate.rows(load_images, studies, derangement(len(studies), self._settings.seed)))
        # A process without a study of its own generates for the first one again, which is counted once: Lightning
        # would skip the whole evaluation in a process without a batch, and the others would wait for it.
        own = self._shard.of(len(studies)) or range(1)
        return [
            DataLoader(
                Subset(row, own),
                batch_size=self._settings.eval_batch_size,
                collate_fn=collate,
                num_workers=self._settings.num_workers,
            )
            for row in rows
        ]

    def _collate_function(self) -> Collate:
        if self._collate is None:
            raise RuntimeError("attach(collate) must be called before batches are asked for")
        return self._collate

    def _refuse_shared_patients(self) -> None:
        trained = {study.patient_id: study.study_id for study in self.train_studies}
        for study in (*self.validate_studies, *self.test_studies):
            if study.patient_id in trained:
                raise DataError(
                    f"a patient has study {trained[study.patient_id]} in train and study {study.study_id} in "
                    f"{study.split}; a patient must be in one split only"
                )
