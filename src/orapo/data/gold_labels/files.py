"""Where radiologists' labels and the images that they labelled may lie."""

from pathlib import Path
from typing import Literal

from orapo.data.expected_files import ExpectedFile

NAME = "chexpert_gold"
"""Name of the source in manifests."""

TITLE = "CheXpert's radiologists' labels"
"""Name of the data set in messages."""

ROOT_VARIABLE = "ORAPO_CHEXPERT_PLUS_ROOT"
"""Environment variable that names the folder: the labels may lie with CheXpert Plus, or have a folder of their own."""

Part = Literal["valid", "test"]
PARTS: tuple[Part, ...] = ("valid", "test")
"""The parts that radiologists labelled."""

OBTAIN = {
    "valid": "https://stanfordmlgroup.github.io/competitions/chexpert/ or https://aimi.stanford.edu/datasets/chexlocalize",
    "test": "https://aimi.stanford.edu/datasets/chexlocalize",
}
"""Where one gets images and labels of each part."""

_PLACES = {
    "valid": (
        "valid.csv",
        "val_labels.csv",
        "CheXpert/val_labels.csv",
        "CheXpert-v1.0/valid.csv",
        "CheXpert-v1.0-small/valid.csv",
        "CheXpert-v1.0 batch 1 (validate & csv)/valid.csv",
    ),
    "test": (
        "test_labels.csv",
        "groundtruth.csv",
        "CheXpert/test_labels.csv",
        "cheXpert-test-set-labels/groundtruth.csv",
    ),
}


def labels_file(root: Path, part: str, labels: str | None) -> ExpectedFile:
    """The file of labels: the one given, or one of the usual names below the root."""
    places = tuple(root / place for place in _PLACES[part]) if labels is None else (Path(labels),)
    return ExpectedFile(f"the labels of the {part} part", places, OBTAIN[part])
