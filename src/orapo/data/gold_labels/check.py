"""A look at radiologists' labels and the images that they labelled, as they lie on the disk."""

from pathlib import Path

from orapo.chexpert import OBSERVATIONS, LabelState
from orapo.data.check_report import CheckReport
from orapo.data.chexpert_plus.files import images_file
from orapo.data.chexpert_plus.image_check import ImageToCheck, check_images
from orapo.data.chexpert_plus.image_folders import ImageFolders, find_image_folders
from orapo.data.chexpert_plus.image_names import view_of_stem
from orapo.data.chexpert_plus.settings import Images
from orapo.data.expected_files import require_root
from orapo.data.gold_labels.files import NAME, OBTAIN, PARTS, ROOT_VARIABLE, TITLE, labels_file
from orapo.data.gold_labels.table import GoldLabels, read_gold_labels
from orapo.errors import DataError
from orapo.settings import checked

PUBLISHED = {"valid": {"studies": 200, "images": 234}, "test": {"studies": 500, "images": 668}}
"""Counts of the published sets."""


@checked
def check_gold(root: str | None, *, images: Images = "auto", num_opened: int = 20) -> CheckReport:
    """Reads the files of labels that are there, looks for every image file and opens a few.

    Args:
        root: folder with labels and images of the validation part, the test part, or both.
        images: ``"auto"``, ``"png"``, ``"jpg"`` or ``"dicom"``, as ``GoldSource`` takes it.
        num_opened: how many images of each part to open.

    Raises:
        SettingError: ``images`` is another word.
    """
    check = _Check()
    try:
        folder = require_root(root, data_set=TITLE, variable=ROOT_VARIABLE)
        files = {part: labels_file(folder, part, None) for part in PARTS}
        missing = [f"missing: {file.describe_missing()}" for file in files.values() if file.find() is None]
        (check.problems if len(missing) == len(PARTS) else check.notes).extend(missing)
        for part, file in files.items():
            if (path := file.find()) is not None:
                check.part(folder, part, path, images, num_opened)
    except DataError as error:
        check.problems.append(str(error))
    return CheckReport(NAME, tuple(check.found), check.counts, tuple(check.problems), tuple(check.notes))


class _Check:
    """What has been found so far."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.counts: dict[str, int] = {}
        self.problems: list[str] = []
        self.notes: list[str] = []

    def part(self, root: Path, part: str, path: Path, images: str, num_opened: int) -> None:
        """Looks at the labels and images of one part; raises DataError when the labels can't be read."""
        gold = read_gold_labels(path)
        self.found.append(f"{path}: {gold.num_rows:,} rows")
        folders = find_image_folders(root, images=images, parts=(part,))
        listed = _images(gold, part, folders)
        self._count(gold, part, len(listed))
        file = images_file(root, images, folders, part=part, obtain=OBTAIN[part])
        if file.find() is None:
            self.problems.append(f"missing: {file.describe_missing()}")
            return
        self.found.append(str(folders))
        without = [key for key, name in gold.names.items() if name.part == part and not gold.stems[key]]
        without = [key for key in without if not folders.list_study(gold.names[key])]
        if without:
            self.problems.append(f"{len(without):,} studies of the {part} part have no image: {without[0]}, ...")
        problems, notes = check_images(listed, folders, num_opened)
        self.problems += problems
        self.notes += notes

    def _count(self, gold: GoldLabels, part: str, num_images: int) -> None:
        keys = [key for key, name in gold.names.items() if name.part == part]
        counts = {"studies": len(keys), "images": num_images}
        counts["patients"] = len({gold.names[key].patient for key in keys})
        self.notes += [
            f"{part}: {counts[key]:,} {key} here, {published:,} in the published set"
            for key, published in PUBLISHED[part].items()
            if counts[key] != published
        ]
        for observation in OBSERVATIONS:
            positive = sum(gold.states[key][observation] is LabelState.POSITIVE for key in keys)
            counts[f"{observation} positive"] = positive
        self.counts |= {f"{part}: {key}": count for key, count in counts.items()}


def _images(gold: GoldLabels, part: str, folders: ImageFolders) -> list[ImageToCheck]:
    """The images that the file lists, or that lie in the folders of the studies that it lists."""
    return [
        ImageToCheck(name, stem, "", view_of_stem(stem) == "FRONTAL")
        for key, name in gold.names.items()
        if name.part == part
        for stem in gold.stems[key] or sorted(folders.list_study(name))
    ]
