"""What the data module needs from any source: phantoms, CheXpert Plus, MIMIC-CXR and own tables all offer it."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from PIL import Image

from orapo.records import Split, Study


@runtime_checkable
class StudySource(Protocol):
    """A data set whose studies can be listed without opening an image."""

    @property
    def name(self) -> str:
        """Short name for logs and manifests, for example ``"phantoms"``."""
        ...

    def studies(self, split: Split) -> Sequence[Study]:
        """All studies of one split, always in the same order."""
        ...

    def load_images(self, study: Study) -> tuple[Image.Image, ...]:
        """Opens the study's images, in the order of ``study.image_paths``; raises DataError when one can't be read."""
        ...

    def digest(self) -> str:
        """SHA-256 (64 hex digits) of everything that determines the studies, so that a manifest can name its source."""
        ...
