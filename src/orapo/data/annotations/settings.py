"""What can be set of the annotation source, checked when given."""

from dataclasses import asdict
from pathlib import Path
from typing import Literal

from pydantic import PositiveInt

from orapo.data.images import LongestSide
from orapo.errors import DataError, SettingError
from orapo.settings import settings

Labels = Literal["labeler", "table"]
"""The values of ``labels``."""

SharedPatients = Literal["leave_out", "refuse"]
"""The values of ``shared_patients``."""


@settings
class AnnotationSettings:
    """The settings of ``AnnotationSource``, as documented there; in its digest."""

    labels: Labels
    shared_patients: SharedPatients
    max_images: PositiveInt | None
    longest_side: LongestSide
    label_table: str | None = None

    def __post_init__(self) -> None:
        if (self.labels == "table") != (self.label_table is not None):
            raise SettingError(
                f"label_table is {self.label_table!r} with labels {self.labels!r}; a table must be given with labels "
                "'table' and with nothing else"
            )

    def to_dict(self) -> dict[str, object]:
        """Plain values for the digest: without the path of the label table, whose bytes count instead."""
        return {key: value for key, value in asdict(self).items() if key != "label_table"}


def require_files(annotation: str | None, root: str | None) -> tuple[Path, Path]:
    """The file and the folder of the images.

    Raises:
        DataError: one isn't given or isn't there.
    """
    if not annotation:
        raise DataError("annotation: no file given; set data.annotation to the annotation.json")
    if not root:
        raise DataError("annotation: no folder given; set data.root to the one that the image paths start from")
    if not Path(annotation).is_file():
        raise DataError(f"there is no annotation {annotation}")
    if not Path(root).is_dir():
        raise DataError(f"root {root} is not a folder; it must be the one that the image paths start from")
    return Path(annotation), Path(root)
