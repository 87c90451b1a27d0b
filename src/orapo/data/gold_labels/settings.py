"""What can be set of the source of radiologists' labels, checked when given."""

from dataclasses import asdict

from pydantic import PositiveInt

from orapo.data.chexpert_plus.settings import Images
from orapo.data.gold_labels.files import Part
from orapo.data.images import LongestSide
from orapo.data.report_sections import Sections
from orapo.data.views import Views
from orapo.errors import SettingError
from orapo.settings import settings


@settings
class GoldSettings:
    """The settings of ``GoldSource``, as documented there."""

    part: Part
    reports: str | None
    sections: Sections
    images: Images
    views: Views
    max_images: PositiveInt | None
    longest_side: LongestSide

    def __post_init__(self) -> None:
        if self.reports is not None and self.part == "test":
            raise SettingError(
                f"reports is {self.reports!r}, but reports of the test part are private; it must be null"
            )

    def to_dict(self) -> dict[str, object]:
        """Plain values for the digest: without the folder of reports, whose table's bytes count instead."""
        return {key: value for key, value in asdict(self).items() if key != "reports"}
