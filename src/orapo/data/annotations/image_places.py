"""Where the images of an annotation lie below the folder that the user names."""

import os
from collections.abc import Sequence
from pathlib import Path

from orapo.errors import DataError

PREFIXES = ("", "images", "files", "PNG", "PNG/PNG")
"""Folders below the root that image paths may start from; annotations leave them out."""

_OTHER_ENDING = {".jpg": ".png", ".png": ".jpg"}


class ImagePlaces:
    """Finds image files; the folder that held the last one is tried first."""

    def __init__(self, root: Path) -> None:
        """Looks at nothing yet."""
        self._root = root
        self._prefixes = list(PREFIXES)

    def find(self, image_path: str) -> str | None:
        """The file of a path of the annotation, with its own ending or else the other of .jpg and .png; or None."""
        stem, ending = os.path.splitext(image_path)
        for name in (image_path, f"{stem}{_OTHER_ENDING.get(ending, ending)}"):
            for number, prefix in enumerate(self._prefixes):
                path = os.path.join(self._root, prefix, name)
                if os.path.isfile(path):
                    self._prefixes.insert(0, self._prefixes.pop(number))
                    return path
        return None

    def require(self, image_path: str, *, study_id: str) -> str:
        """Same, raising DataError when there is no such file."""
        path = self.find(image_path)
        if path is None:
            below = ", ".join(prefix or "." for prefix in PREFIXES)
            raise DataError(f"study {study_id}: there is no image {image_path} below {self._root} (tried {below})")
        return path


def views_of(image_paths: Sequence[str]) -> tuple[str, ...]:
    """The projection that each file's name tells, ``"FRONTAL"`` or ``"LATERAL"``; "" where it doesn't."""
    stems = [path.rpartition("/")[2].rpartition(".")[0] for path in image_paths]
    return tuple(next((v.upper() for v in ("frontal", "lateral") if stem.endswith(f"_{v}")), "") for stem in stems)
