"""What can be set of the CheXpert Plus source, checked when given."""

from dataclasses import asdict
from typing import Literal

from pydantic import NonNegativeInt, PositiveInt

from orapo.data.images import LongestSide
from orapo.data.report_sections import Sections
from orapo.data.views import Views
from orapo.errors import SettingError
from orapo.settings import settings

SECTIONS_OF = {
    "findings": ("findings",),
    "impression": ("impression",),
    "findings_and_impression": ("findings", "impression"),
}
"""The sections that each value of ``sections`` asks for."""

Images = Literal["auto", "png", "jpg", "dicom"]
"""The values of ``images``."""

Labels = Literal["chexbert", "labeler", "table"]
"""The values of ``labels``."""


@settings
class PlusSettings:
    """The settings of ``ChexpertPlusSource``, as documented there; in its digest."""

    sections: Sections
    images: Images
    views: Views
    max_images: PositiveInt | None
    labels: Labels
    label_table: str | None
    num_validate_patients: PositiveInt
    longest_side: LongestSide
    seed: NonNegativeInt

    def __post_init__(self) -> None:
        if (self.labels == "table") != (self.label_table is not None):
            raise SettingError(
                f"label_table is {self.label_table!r} and labels is {self.labels!r}; labels 'table' needs a "
                "label_table (written by python -m orapo.labeler), and nothing else takes one"
            )

    def to_dict(self) -> dict[str, object]:
        """Plain values for the digest: without the path of the label table, whose bytes count instead."""
        return {key: value for key, value in asdict(self).items() if key != "label_table"}
