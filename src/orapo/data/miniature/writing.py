"""Files of a miniature: the same bytes for the same studies, whenever and wherever they are written."""

import csv
import gzip
import io
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from orapo.chexpert import LabelStates, Observation, label_state_to_code
from orapo.data.miniature.studies import MadeUpStudy, make_studies
from orapo.errors import DataError

_LONG_AGO = (1980, 1, 1, 0, 0, 0)


def begin(folder: str | Path, num_patients: int, seed: int) -> tuple[Path, Sequence[MadeUpStudy]]:
    """Makes the folder a miniature goes to, and its studies by ``make_studies``.

    Raises:
        SettingError: a number out of range.
        DataError: the folder holds something already, or can't be made.
    """
    studies, path = make_studies(num_patients, seed), Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        if any(path.iterdir()):
            raise DataError(f"{path} is not empty; a miniature goes to a folder of its own")
    except OSError as error:
        raise DataError(f"{folder} can't be made a folder: {error.strerror}") from error
    return path, studies


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Writes a CSV, compressed if it is to end in .gz; None becomes a blank cell."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    content = text.getvalue().encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def write_images(
    folder: Path, studies: Sequence[MadeUpStudy], paths_of: Callable[[MadeUpStudy], Sequence[str]]
) -> None:
    """Writes the images of each study to its paths below the folder: 8-bit grey as PNG or JPEG, by the ending."""
    for study in studies:
        for path, image in zip(paths_of(study), study.images, strict=True):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            image.save(folder / path, quality=95)  # PNG has no quality and passes it over


def write_texts(folder: Path, texts: Mapping[str, str], *, archive: str | None = None) -> None:
    """Writes texts by their paths: below the folder, or into one zip file there."""
    if archive is None:
        for name, text in texts.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
        return
    with zipfile.ZipFile(folder / archive, "w", zipfile.ZIP_DEFLATED) as file:
        for name, text in texts.items():
            file.writestr(zipfile.ZipInfo(name, _LONG_AGO), text, zipfile.ZIP_DEFLATED)


def codes(labels: LabelStates, order: Sequence[Observation]) -> list[str]:
    """Codes as the tables write them: ``"1.0"``, ``"0.0"``, ``"-1.0"`` or blank."""
    return [f"{code}.0" if (code := label_state_to_code(labels[observation])) else "" for observation in order]
