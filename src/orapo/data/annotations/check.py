"""A look at an annotation file and its images before a run."""

from orapo.data.annotations.image_places import ImagePlaces
from orapo.data.annotations.one_split import sort_out
from orapo.data.annotations.settings import require_files
from orapo.data.annotations.studies import AnnotatedStudies, read_studies
from orapo.data.check_report import CheckReport
from orapo.data.left_out import count_reasons
from orapo.errors import DataError
from orapo.records import Split

_NUM_SHOWN = 20


def check_annotation(annotation: str | None, root: str | None) -> CheckReport:
    """Reads every sample and looks for every image file; opens no image.

    Returns:
        Counts of samples, studies and patients per split, the images that aren't there, and what is left out and why.
    """
    try:
        path, folder = require_files(annotation, root)
        annotated = read_studies(path)
    except DataError as error:
        return CheckReport("annotation", (), {}, (str(error),))
    left_out = sort_out(annotated, path, shared_patients="leave_out")
    notes = list(annotated.notes())
    for split, studies in left_out.items():
        if studies:
            notes.append(f"{len(studies):,} studies of {split} are left out ({count_reasons(studies)})")
    found = (f"{path} ({path.stat().st_size / 1e6:,.1f} MB)", f"{folder} (folder of the images)")
    num_images, missing = _missing_images(annotated, ImagePlaces(folder))
    counts = _counts(annotated) | {"images": num_images, "images missing": len(missing)}
    problems = [
        f"study {study_id}: there is no image {image} below {folder}" for study_id, image in missing[:_NUM_SHOWN]
    ]
    if len(missing) > _NUM_SHOWN:
        problems.append(f"{len(missing) - _NUM_SHOWN:,} more images are missing")
    return CheckReport("annotation", found, counts, tuple(problems), tuple(notes))


def _counts(annotated: AnnotatedStudies) -> dict[str, int]:
    counts: dict[str, int] = {}
    for split in Split:
        studies = [study for study in annotated.studies.values() if study.split is split]
        counts[f"{split}: samples"] = annotated.num_samples[split]
        counts[f"{split}: studies"] = len(studies)
        counts[f"{split}: patients"] = len({study.patient_id for study in studies})
    return counts


def _missing_images(annotated: AnnotatedStudies, places: ImagePlaces) -> tuple[int, list[tuple[str, str]]]:
    """Number of images, and study and path of each that isn't there."""
    num_images = 0
    missing: list[tuple[str, str]] = []
    for study in annotated.studies.values():
        num_images += len(study.image_paths)
        missing += [(study.study_id, image) for image in study.image_paths if places.find(image) is None]
    return num_images, missing
