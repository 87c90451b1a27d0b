"""The files that a data set consists of: where each may lie, and where one gets it when it isn't there."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orapo.errors import DataError


@dataclass(frozen=True, slots=True)
class ExpectedFile:
    """One file or folder of a data set.

    Attributes:
        what: in words, for example ``"the table of studies"``.
        places: where it may lie, the usual place first.
        obtain: where one gets it, for example ``"https://physionet.org/content/mimic-cxr-jpg/2.1.0/"``.
    """

    what: str
    places: tuple[Path, ...]
    obtain: str

    def find(self) -> Path | None:
        """The first place where it lies; None when it lies in none."""
        return next((place for place in self.places if place.exists()), None)

    def describe_missing(self) -> str:
        """What is missing, where it was looked for and where one gets it; one line."""
        return f"{self.what} (looked for {' and '.join(map(str, self.places))}; get it from {self.obtain})"


def find_all(data_set: str, expected: Mapping[str, ExpectedFile]) -> dict[str, Path]:
    """The place of every file.

    Args:
        data_set: its name, for the message.
        expected: by a short key of the caller's.

    Raises:
        DataError: one line that lists every missing file, not just the first.
    """
    found = {key: file.find() for key, file in expected.items()}
    missing = [expected[key].describe_missing() for key, place in found.items() if place is None]
    if missing:
        raise DataError(f"{data_set}: {len(missing)} of {len(expected)} needed are missing: {'; '.join(missing)}")
    return {key: place for key, place in found.items() if place is not None}


def require_root(root: str | Path | None, *, data_set: str, variable: str) -> Path:
    """The folder of a data set.

    Args:
        root: as configured; None when it isn't.
        data_set: its name, for the message.
        variable: environment variable that the config reads, for example ``"ORAPO_MIMIC_ROOT"``.

    Raises:
        DataError: not given, or not a folder.
    """
    if root is None or not str(root):
        raise DataError(f"{data_set}: no folder given; set data.root or the environment variable {variable}")
    if not Path(root).is_dir():
        raise DataError(f"{data_set}: {root} is not a folder; data.root or {variable} must name the data set's folder")
    return Path(root)
