"""Which studies of the table can be used as the settings ask, in which split, and why the others are left out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from orapo.chexpert import LabelStates
from orapo.data.chexpert_plus.image_names import StudyName
from orapo.data.chexpert_plus.label_choice import LabelStudy
from orapo.data.chexpert_plus.settings import PlusSettings
from orapo.data.chexpert_plus.table import PlusImage, PlusStudy, PlusTable
from orapo.data.progress import watched
from orapo.data.report_sections import MissingSection, Wanted, choose_sections
from orapo.data.source import LeftOut
from orapo.data.splits import seeded_rank
from orapo.data.views import is_frontal
from orapo.errors import DataError
from orapo.records import Split

_NUM_SHOWN = 3


class UsableStudy(NamedTuple):
    """A study with all that the settings ask for.

    Attributes:
        study_id: patient and study, ``"patient42142/study5"``.
        name: its folders.
        split: the part of the data set it belongs to.
        images: those of the views asked for, at most so many as asked for, at least one.
        report: the chosen sections.
        labels: state of all 14 observations.
    """

    study_id: str
    name: StudyName
    split: Split
    images: tuple[PlusImage, ...]
    report: str
    labels: LabelStates

    @property
    def patient_id(self) -> str:
        """The patient's folder; with ``study_id`` and ``labels`` it makes this a ``StudyEntry``."""
        return self.name.patient


@dataclass(frozen=True, slots=True)
class Selection:
    """All studies of a table, sorted out.

    Attributes:
        usable: by study id, in the order of the table.
        left_out: of each split, in the order of the table.
    """

    usable: dict[str, UsableStudy]
    left_out: dict[Split, list[LeftOut]]

    def of(self, split: Split) -> list[UsableStudy]:
        """The usable studies of one split."""
        return [study for study in self.usable.values() if study.split is split]


def select_studies(
    table: PlusTable, settings: PlusSettings, label: LabelStudy, gold: Mapping[str, LabelStates] | None
) -> Selection:
    """Sorts all studies out.

    Args:
        table: the studies.
        settings: what they must have.
        label: gives a study its labels.
        gold: labels of TEST studies by "valid/patient64541/study1", instead of those of ``label``; None for none.

    Raises:
        DataError: no more training patients than are to be held out, or TEST studies that ``gold`` lacks.
    """
    held_out = _patients_held_out(table, settings.num_validate_patients, settings.seed)
    selection = Selection({}, {split: [] for split in Split})
    without_gold: list[str] = []
    is_slow = settings.labels == "labeler"
    for study in watched(table.studies, "labelling reports") if is_slow else table.studies:
        split = _split(study, held_out)
        found = _report_and_images(study, settings)
        if isinstance(found, LeftOut):
            selection.left_out[split].append(found)
            continue
        report, images = found
        by_gold = gold is not None and split is Split.TEST
        labels = gold.get(study.name.key) if gold is not None and by_gold else label(study, report)
        if labels is not None:
            usable = UsableStudy(study.study_id, study.name, split, images, report, labels)
            selection.usable[study.study_id] = usable
        elif by_gold:
            without_gold.append(study.name.key)
        else:
            selection.left_out[split].append(LeftOut(study.study_id, "no labels"))
    if without_gold:
        shown = ", ".join(without_gold[:_NUM_SHOWN])
        raise DataError(
            f"gold_labels has no row for {len(without_gold)} of the TEST studies that can be used ({shown}"
            f"{', ...' if len(without_gold) > _NUM_SHOWN else ''}); is it the file of the validation part?"
        )
    return selection


def images_of_views(images: Sequence[PlusImage], views: str, max_images: int | None) -> tuple[PlusImage, ...]:
    """The first ``max_images`` (all when None) of the images that are frontal, or of all with views "all"."""
    return tuple(image for image in images if views == "all" or is_frontal(image.view))[:max_images]


def _report_and_images(study: PlusStudy, settings: PlusSettings) -> tuple[str, tuple[PlusImage, ...]] | LeftOut:
    try:
        report = choose_sections(study.sections, Wanted(settings.sections))
    except MissingSection as missing:
        return LeftOut(study.study_id, missing.reason)
    images = images_of_views(study.images, settings.views, settings.max_images)
    return (report, images) if images else LeftOut(study.study_id, "no frontal image")


def _patients_held_out(table: PlusTable, num_patients: int, seed: int) -> frozenset[str]:
    patients = {study.name.patient for study in table.studies if study.name.part == "train"}
    if len(patients) < 2:
        raise DataError(f"the table has {len(patients)} training patients; two at least are needed, to hold one out")
    # Where patients are few, as in a part of the data set, most of them still train.
    num_held_out = min(num_patients, max(1, len(patients) // 5))
    return frozenset(sorted(patients, key=lambda patient: seeded_rank(patient, seed, "validate"))[:num_held_out])


def _split(study: PlusStudy, held_out: frozenset[str]) -> Split:
    if study.name.part == "valid":
        return Split.TEST
    return Split.VALIDATE if study.name.patient in held_out else Split.TRAIN
