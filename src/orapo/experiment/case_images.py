"""The images of a case page: from a saved config to its data source, if that can be opened here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from orapo.comparison.cases import THUMBNAIL_PIXELS, ImagesOf
from orapo.comparison.evaluation_folder import EVALUATION, Evaluation
from orapo.comparison.run_folder import Run, read_summary
from orapo.data.source import LeftOut, StudySource
from orapo.errors import DataError, OrapoError
from orapo.experiment.finished_run import CONFIG_FILE, read_saved
from orapo.experiment.targets import build

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class CaseImages:
    """Images by study, or why there are none.

    Attributes:
        images_of: None without images.
        reason: why; "" with them.
    """

    images_of: ImagesOf | None
    reason: str = ""

    @classmethod
    def of_source(cls, source: StudySource) -> "CaseImages":
        """Images of an open source."""

        def images_of(study_id: str) -> "Sequence[Image]":
            study = source.read(study_id)
            if isinstance(study, LeftOut):
                raise DataError(f"study {study_id}: {study.reason}")
            return source.load_images(study, 4 * THUMBNAIL_PIXELS)

        return cls(images_of)

    @classmethod
    def of_config(cls, data: DictConfig) -> "CaseImages":
        """From the section ``data`` of a config; what can't be opened here is a reason, no error."""
        try:
            return cls.of_source(build(data.source, "data.source"))
        except OrapoError as error:
            return cls(None, str(error))


def data_section(run: Run) -> DictConfig:
    """The section ``data`` of a run's config, or of an evaluation's.

    Raises:
        CheckpointError: the file can't be read.
    """
    if isinstance(run, Evaluation):
        content = read_summary(run.folder / EVALUATION) or {}
        config = OmegaConf.create({"data": content["settings"]["data"]})
    else:
        config = read_saved(run.folder / CONFIG_FILE)
    data: DictConfig = config.data
    return data
