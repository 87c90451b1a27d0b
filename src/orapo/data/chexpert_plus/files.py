"""Which files CheXpert Plus consists of and where each may lie."""

from pathlib import Path

from orapo.data.chexpert_plus.image_folders import ImageFolders, usual_places
from orapo.data.expected_files import ExpectedFile

NAME = "chexpert_plus"
"""Name of the source in manifests."""

TITLE = "CheXpert Plus"
"""Name of the data set in messages."""

ROOT_VARIABLE = "ORAPO_CHEXPERT_PLUS_ROOT"
"""Environment variable that names its folder."""

TABLE = "df_chexpert_plus_240401.csv"
"""The table of reports: a row for each image."""

OBTAIN = "https://aimi.stanford.edu/datasets/chexpert-plus"
"""Where one asks for the data."""

PARTS = ("train", "valid")
"""The official parts; the test set is private."""

CHEXBERT_FILE = {
    "findings": "findings_fixed.json",
    "impression": "impression_fixed.json",
    "findings_and_impression": "report_fixed.json",
}
"""CheXbert's labels for each choice of sections; those of both together are of the whole report."""


def table_file(root: Path) -> ExpectedFile:
    """The table of reports."""
    return ExpectedFile("the table of reports", (root / TABLE, root / f"{TABLE}.gz"), OBTAIN)


def chexbert_file(root: Path, sections: str) -> ExpectedFile:
    """CheXbert's labels that fit the sections: JSON lines in spite of the ending."""
    name = CHEXBERT_FILE[sections]
    places = (root / "chexbert_labels" / name, root / "labels" / name, root / name)
    return ExpectedFile(f"CheXbert's labels for sections {sections!r}", places, f"{OBTAIN}, chexbert_labels")


def images_file(
    root: Path, images: str, folders: ImageFolders, part: str = "train", obtain: str = OBTAIN
) -> ExpectedFile:
    """The folders of images as found, or else where they might have been.

    Args:
        root: folder of the data set.
        images: ``"auto"`` or the kind asked for.
        folders: what was found.
        part: the part to name in the list of places.
        obtain: where one gets the images.
    """
    found = tuple(Path(folder) for of_part in folders.of_part.values() for folder in of_part)
    what = "the images" if images == "auto" else f"the images as {images}"
    return ExpectedFile(what, found or usual_places(root, images=images, part=part), f"{obtain}, unpacked")


def needed_files(
    root: Path,
    folders: ImageFolders,
    *,
    sections: str,
    images: str,
    labels: str,
    label_table: str | None,
    gold_labels: str | None,
) -> dict[str, ExpectedFile]:
    """All that the settings of ``ChexpertPlusSource`` need: keys "table", "images", "labels" and "gold"."""
    needed = {"table": table_file(root), "images": images_file(root, images, folders)}
    if labels == "chexbert":
        needed["labels"] = chexbert_file(root, sections)
    if label_table is not None:
        needed["labels"] = ExpectedFile("label_table", (Path(label_table),), "orapo label")
    if gold_labels is not None:
        obtain = "https://aimi.stanford.edu/datasets/chexlocalize (CheXpert/val_labels.csv)"
        needed["gold"] = ExpectedFile("gold_labels", (Path(gold_labels),), obtain)
    return needed
