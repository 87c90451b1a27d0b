"""What the data module needs from any source: phantoms, CheXpert Plus, MIMIC-CXR and own tables all offer it.

Listing comes before reading: a balanced subset is chosen from labels alone, so that of hundreds of thousands of reports
only those of chosen studies are opened, and images only when a batch needs them.
"""

import csv
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from PIL import Image

from orapo.chexpert import LabelStates
from orapo.records import Context, Question, Split, Study

logger = logging.getLogger(__name__)


class StudyEntry(Protocol):
    """A study as a source lists it: enough to choose by. A whole ``Study`` is one too."""

    @property
    def study_id(self) -> str:
        """Unique within the source."""

    @property
    def patient_id(self) -> str:
        """Studies of one patient share it."""

    @property
    def labels(self) -> LabelStates:
        """State of all 14 observations; empty for a question."""

    @property
    def question(self) -> Question | None:
        """None where a report is asked for."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A study that can't be used as the settings ask, and why; counted and listed, never dropped in silence.

    Attributes:
        study_id: as listed.
        reason: a few fixed words, the same for all studies of one kind, for example ``"no findings section"``.
    """

    study_id: str
    reason: str


def count_reasons(left_out: Iterable[LeftOut]) -> str:
    """The counts in words, the most frequent first: ``"no findings section: 12, no frontal image: 3"``."""
    counts = Counter(study.reason for study in left_out)
    return ", ".join(f"{reason}: {count:,}" for reason, count in counts.most_common())


def write_left_out(left_out: Sequence[LeftOut], path: str | Path) -> None:
    """Writes columns study_id and reason; logs how many and why. The file is there, and empty, when there are none."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("study_id", "reason"))
        writer.writerows((study.study_id, study.reason) for study in left_out)
    if left_out:
        logger.info("%d studies left out (%s), listed in %s", len(left_out), count_reasons(left_out), path)


@runtime_checkable
class StudySource(Protocol):
    """A data set whose studies can be listed without opening a report file or an image."""

    @property
    def name(self) -> str:
        """Short name for logs and manifests, for example ``"phantoms"``."""

    def entries(self, split: Split) -> Sequence[StudyEntry]:
        """All studies of one split that the tables allow, always in the same order."""

    def left_out(self, split: Split) -> Sequence[LeftOut]:
        """The studies of one split that the tables alone rule out (no frontal image, no label, ...)."""

    def read(self, study_id: str) -> Study | LeftOut:
        """A listed study with its report; ``LeftOut`` when the report lacks what the settings ask for.

        Raises:
            DataError: no such study is listed, or its files are missing or damaged.
        """

    def load_images(self, study: Study, max_pixels: int | None = None) -> tuple[Image.Image, ...]:
        """Opens the study's images, in the order of ``study.image_paths``.

        The paths alone say what is opened, so that a prior study, which isn't listed, can be opened as well.

        Args:
            study: of this source.
            max_pixels: the most pixels, width times height, that the caller can use; None for all.

        Raises:
            DataError: an image can't be read.
        """

    def digest(self) -> str:
        """SHA-256 of everything that determines the studies, so that a manifest can name its source.

        What stands before a ":" is a version: digests of different ones can't be compared.
        """


def load_prior_images(load_images: Callable[[Study], tuple[Image.Image, ...]], study: Study) -> tuple[Image.Image, ...]:
    """Opens the images of the study's prior study by its source's ``load_images``; none where there is none."""
    prior = study.context.prior
    if prior is None:
        return ()
    shown = replace(study, study_id=prior.study_id, image_paths=prior.image_paths, views=prior.views, context=Context())
    return load_images(shown)
