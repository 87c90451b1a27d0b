"""What can be set of the annotation source, checked when given."""

from dataclasses import dataclass
from pathlib import Path

from orapo.bounds import require_whole
from orapo.data.images import check_longest_side
from orapo.errors import DataError, SettingError

_ALLOWED = {"labels": ("labeler", "table"), "shared_patients": ("leave_out", "refuse")}


@dataclass(frozen=True)
class AnnotationSettings:
    """The settings of ``AnnotationSource``, as documented there; all are part of its digest."""

    labels: str
    shared_patients: str
    max_images: int | None
    longest_side: int

    def __post_init__(self) -> None:
        for key, allowed in _ALLOWED.items():
            if getattr(self, key) not in allowed:
                raise SettingError(f"{key} is {getattr(self, key)!r}; it must be {' or '.join(map(repr, allowed))}")
        if self.max_images is not None:
            require_whole("max_images", self.max_images, 1)
        check_longest_side(self.longest_side)

    def check_label_table(self, label_table: str | None) -> None:
        """Raises SettingError unless a table is given where, and only where, labels come from one."""
        if (self.labels == "table") != (label_table is not None):
            raise SettingError(
                f"label_table is {label_table!r} with labels {self.labels!r}; a table must be given with labels "
                "'table' and with nothing else"
            )


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
