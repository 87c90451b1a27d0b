"""What can be set of the MIMIC-CXR source, checked when given."""

from dataclasses import asdict, dataclass

from orapo.bounds import require_boolean, require_whole
from orapo.data.images import check_longest_side
from orapo.data.report_sections import Wanted
from orapo.data.views import check_views
from orapo.errors import SettingError

LABELS = ("chexpert", "negbio", "labeler", "table")
"""The values of ``labels``."""

TEST_STUDIES = ("all", "radiologist")
"""The values of ``test_studies``."""


@dataclass(frozen=True)
class MimicSettings:
    """The settings of ``MimicCxrSource``, as documented there; in its digest."""

    sections: str
    views: str
    max_images: int | None
    labels: str
    label_table: str | None
    radiologist_test_labels: bool
    test_studies: str
    longest_side: int

    def __post_init__(self) -> None:
        Wanted.from_setting(self.sections)
        check_views(self.views)
        if self.max_images is not None:
            require_whole("max_images", self.max_images, 1)
        for key, allowed in (("labels", LABELS), ("test_studies", TEST_STUDIES)):
            if getattr(self, key) not in allowed:
                raise SettingError(f"{key} is {getattr(self, key)!r}; it must be one of {', '.join(allowed)}")
        if (self.labels == "table") != (self.label_table is not None):
            raise SettingError(
                f"label_table is {self.label_table!r} and labels is {self.labels!r}; labels 'table' needs a "
                "label_table (written by python -m orapo.labeler), and nothing else takes one"
            )
        require_boolean("radiologist_test_labels", self.radiologist_test_labels)
        check_longest_side(self.longest_side)

    def to_dict(self) -> dict[str, object]:
        """Plain values for the digest: without the path of the label table, whose states count instead."""
        return {key: value for key, value in asdict(self).items() if key != "label_table"}
