"""What can be set of the source of radiologists' labels, checked when given."""

from dataclasses import asdict, dataclass

from orapo.bounds import require_whole
from orapo.data.chexpert_plus.settings import IMAGES, SECTIONS_OF, VIEWS, check_word
from orapo.data.gold_labels.files import PARTS
from orapo.data.images import check_longest_side
from orapo.errors import SettingError


@dataclass(frozen=True)
class GoldSettings:
    """The settings of ``GoldSource``, as documented there."""

    part: str
    reports: str | None
    sections: str
    images: str
    views: str
    max_images: int | None
    longest_side: int

    def __post_init__(self) -> None:
        check_word("part", self.part, PARTS)
        check_word("sections", self.sections, tuple(SECTIONS_OF))
        check_word("images", self.images, IMAGES)
        check_word("views", self.views, VIEWS)
        if self.max_images is not None:
            require_whole("max_images", self.max_images, 1)
        check_longest_side(self.longest_side)
        if self.reports is not None and self.part == "test":
            raise SettingError(
                f"reports is {self.reports!r}, but reports of the test part are private; it must be null"
            )

    def to_dict(self) -> dict[str, object]:
        """Plain values for the digest: without the folder of reports, whose table's bytes count instead."""
        return {key: value for key, value in asdict(self).items() if key != "reports"}
