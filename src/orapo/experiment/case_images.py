"""The case page with its images: from a saved config to its data source, if that can be opened here."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from orapo.comparison.cases import THUMBNAIL_PIXELS, Cases, CaseSystem, ImagesOf, case_page
from orapo.comparison.evaluation_folder import Evaluation
from orapo.comparison.run_folder import EVALUATION, Run, read_summary
from orapo.data.source import LeftOut, StudySource
from orapo.errors import DataError, OrapoError
from orapo.experiment.finished_run import CONFIG_FILE, read_saved

if TYPE_CHECKING:
    from PIL.Image import Image


def page_with_images(
    systems: tuple[CaseSystem, ...],
    source: Callable[[], StudySource],
    *,
    is_private: bool,
    shows_private: bool,
    uncertain_is_positive: bool,
) -> str:
    """The case page, with images where they may be shown and ``source`` opens; why it doesn't stands on the page."""
    images, reason = None, ""
    if shows_private or not is_private:
        try:
            images = _images_of(source())
        except OrapoError as error:
            reason = str(error)
    return case_page(Cases(systems, is_private, shows_private, uncertain_is_positive, images, reason))


def _images_of(source: StudySource) -> ImagesOf:
    def images_of(study_id: str) -> "Sequence[Image]":
        study = source.read(study_id)
        if isinstance(study, LeftOut):
            raise DataError(f"study {study_id}: {study.reason}")
        return source.load_images(study, 4 * THUMBNAIL_PIXELS)

    return images_of


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
