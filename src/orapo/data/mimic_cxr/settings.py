"""What can be set of the MIMIC-CXR source, checked when given."""

from dataclasses import asdict
from typing import Literal

from pydantic import PositiveInt

from orapo.data.images import LongestSide
from orapo.data.report_sections import Sections
from orapo.data.views import Views
from orapo.errors import SettingError
from orapo.settings import settings

Labels = Literal["chexpert", "negbio", "labeler", "table"]
"""The values of ``labels``."""

TestStudies = Literal["all", "radiologist"]
"""The values of ``test_studies``."""


@settings
class MimicSettings:
    """The settings of ``MimicCxrSource``, as documented there; in its digest."""

    sections: Sections
    views: Views
    max_images: PositiveInt | None
    labels: Labels
    label_table: str | None
    radiologist_test_labels: bool
    test_studies: TestStudies
    longest_side: LongestSide

    def __post_init__(self) -> None:
        if (self.labels == "table") != (self.label_table is not None):
            raise SettingError(
                f"label_table is {self.label_table!r} and labels is {self.labels!r}; labels 'table' needs a "
                "label_table (written by python -m orapo.labeler), and nothing else takes one"
            )

    def to_dict(self) -> dict[str, object]:
        """Plain values for the digest: without the path of the label table, whose states count instead."""
        return {key: value for key, value in asdict(self).items() if key != "label_table"}
