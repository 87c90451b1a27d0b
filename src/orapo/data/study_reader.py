"""Reads the studies that are used, each once, and remembers which of them can't be."""

import logging
from collections.abc import Sequence
from itertools import islice
from typing import Literal

from orapo.data.image_check import check_image
from orapo.data.source import LeftOut, StudySource
from orapo.errors import DataError
from orapo.records import Split, Study

log = logging.getLogger(__name__)

OnBadImage = Literal["refuse", "drop"]
"""What happens to a study with an unreadable image: an error at the start, or it is left out and listed."""

BAD_IMAGE = "an image can't be read"


class StudyReader:
    """Studies of one source with all that the settings ask for: their sections, and images that can be read.

    Images are looked at by ``check_image``: a file that is truncated is found here, not in the middle of a run.
    """

    def __init__(self, source: StudySource, on_bad_image: OnBadImage | None = "refuse") -> None:
        """Reads nothing yet; for None no image is looked at, where only reports and labels are used."""
        self._source = source
        self._on_bad_image = on_bad_image
        self._found: dict[str, Study | LeftOut] = {}

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """What was read and can't be used, in the order of reading."""
        return tuple(found for found in self._found.values() if isinstance(found, LeftOut))

    def read(self, study_id: str) -> Study | None:
        """The study, None when it can't be used; raises DataError for an image that can't be read and isn't dropped."""
        found = self._find(study_id)
        return None if isinstance(found, LeftOut) else found

    def is_usable(self, study_id: str) -> bool:
        """Whether ``read`` succeeds for the study."""
        return self.read(study_id) is not None

    def read_all(self, study_ids: Sequence[str]) -> tuple[Study, ...]:
        """The studies of a subset; raises DataError when one can't be used."""
        studies = []
        for study_id in study_ids:
            found = self._find(study_id)
            if isinstance(found, LeftOut):
                raise DataError(f"{self._source.name}: study {study_id} of the subset can't be used: {found.reason}")
            studies.append(found)
        return tuple(studies)

    def read_first(self, split: Split, at_most: int | None) -> tuple[Study, ...]:
        """The first usable studies of a split, all of them for None; raises DataError when there is none."""
        usable = (study for entry in self._source.entries(split) if (study := self.read(entry.study_id)) is not None)
        studies = tuple(islice(usable, at_most))
        if not studies:
            raise DataError(f"{self._source.name}: no {split} study is left after filtering; at least one is needed")
        return studies

    def _find(self, study_id: str) -> Study | LeftOut:
        if study_id not in self._found:
            self._found[study_id] = self._with_images(self._source.read(study_id))
        return self._found[study_id]

    def _with_images(self, read: Study | LeftOut) -> Study | LeftOut:
        if isinstance(read, LeftOut) or self._on_bad_image is None:
            return read
        prior = read.context.prior
        try:
            for path in (*read.image_paths, *(prior.image_paths if prior else ())):
                check_image(path, study_id=read.study_id)
        except DataError as error:
            if self._on_bad_image == "refuse":
                raise DataError(f"{error}; data.on_bad_image=drop leaves such studies out and lists them") from error
            log.warning("left out: %s", error)
            return LeftOut(read.study_id, BAD_IMAGE)
        return read
