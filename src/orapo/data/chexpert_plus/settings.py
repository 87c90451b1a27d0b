"""What can be set of the CheXpert Plus source, checked when given."""

from dataclasses import asdict, dataclass

from orapo.bounds import require_whole
from orapo.data.images import check_longest_side
from orapo.errors import SettingError

SECTIONS_OF = {
    "findings": ("findings",),
    "impression": ("impression",),
    "findings_and_impression": ("findings", "impression"),
}
"""The sections that each value of ``sections`` asks for."""

IMAGES = ("auto", "png", "jpg", "dicom")
"""The values of ``images``."""

VIEWS = ("frontal", "all")
"""The values of ``views``."""

_ALLOWED = {
    "sections": tuple(SECTIONS_OF),
    "images": IMAGES,
    "views": VIEWS,
    "labels": ("chexbert", "labeler", "table"),
}


@dataclass(frozen=True)
class PlusSettings:
    """The settings of ``ChexpertPlusSource``, as documented there; in its digest."""

    sections: str
    images: str
    views: str
    max_images: int | None
    labels: str
    label_table: str | None
    num_validate_patients: int
    longest_side: int
    seed: int

    def __post_init__(self) -> None:
        for key, allowed in _ALLOWED.items():
            check_word(key, getattr(self, key), allowed)
        if self.max_images is not None:
            require_whole("max_images", self.max_images, 1)
        require_whole("num_validate_patients", self.num_validate_patients, 1)
        require_whole("seed", self.seed, 0)
        check_longest_side(self.longest_side)
        if (self.labels == "table") != (self.label_table is not None):
            raise SettingError(
                f"label_table is {self.label_table!r} and labels is {self.labels!r}; labels 'table' needs a "
                "label_table (written by python -m orapo.labeler), and nothing else takes one"
            )

    def to_dict(self) -> dict[str, object]:
        """Plain values for the digest: without the path of the label table, whose bytes count instead."""
        return {key: value for key, value in asdict(self).items() if key != "label_table"}


def check_word(key: str, value: object, allowed: tuple[str, ...]) -> None:
    """Raises SettingError when the value is none of the words allowed."""
    if value not in allowed:
        raise SettingError(f"{key} is {value!r}; it must be one of {', '.join(allowed)}")
