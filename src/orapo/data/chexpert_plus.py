"""CheXpert Plus: reports of chest radiographs from one hospital, with the images of CheXpert v1 in any layout."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY
from operator import itemgetter
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import NonNegativeInt, PositiveInt

from orapo.chexpert import LabelStates
from orapo.data.chexpert_gold_table import read_gold_labels
from orapo.data.chexpert_images import (
    ROOT_VARIABLE,
    Images,
    find_image_folders,
    images_file,
    in_order,
    parse_image_name,
    view_of_cells,
)
from orapo.data.context import read_order
from orapo.data.expected_files import ExpectedFile, require_root
from orapo.data.labels import LABEL_NAMES, SharedStates
from orapo.data.splits import hold_out
from orapo.data.tables import Columns, quoted, read_columns
from orapo.data.tabulated import Reader, SectionSettings, StudyRow, Tell
from orapo.errors import DataError
from orapo.json_lines import read_json_lines
from orapo.records import Split
from orapo.settings import settings

TABLE = "df_chexpert_plus_240401.csv"
"""The table of reports: a row for each image."""

OBTAIN = "https://aimi.stanford.edu/datasets/chexpert-plus"
"""Where one asks for the data."""

PARTS = ("train", "valid")
"""The official parts; the test set is private."""

CHEXBERT_FILE = {"findings": "findings_fixed.json", "impression": "impression_fixed.json", "both": "report_fixed.json"}
"""CheXbert's labels for each target; those of both together are of the whole report."""

_COLUMNS = ("path_to_image", "frontal_lateral", "ap_pa", "deid_patient_id", "split")
_SECTIONS = ("findings", "impression", "clinical_history", "history", "comparison", "technique")
_ORDER, _DICOM = "patient_report_date_order", "path_to_dcm"
_PART_OF_WORD = {"train": "train", "valid": "valid", "val": "valid", "validate": "valid"}
_NUM_SHOWN = 3
_codes = itemgetter(*LABEL_NAMES)


class PlusReader(Reader["ChexpertPlus"]):
    """A study is the folder of one examination, for example "patient42142/study5".

    Splits: the official test set is private, so TEST is the official validation part (200 studies, whose images three
    radiologists labelled), and VALIDATE are patients held out of the official training part, drawn by a seeded hash of
    their folder's name among all patients of that part. Target, views and labels don't change the split.

    The report of a study is that of its first row: its rows differ in invented dates only. CheXbert's labels are
    joined to that row. A study that lacks the section is left out before labels are asked for, since CheXbert calls an
    absent section "No Finding".
    """

    name = "chexpert_plus"
    title = "CheXpert Plus"
    tables = ("table",)
    id_columns = ("study_id", "path_to_image")
    published: Mapping[str, int] = {
        **{"images": 223_462, "studies": 187_711, "patients": 64_725, "test images": 234, "test studies": 200},
        **{"frontal images": 191_071, "view LATERAL": 32_391},
    }

    def __init__(self, settings: "ChexpertPlus") -> None:
        super().__init__(settings)
        self.folders = find_image_folders(self._root(), images=settings.images, parts=PARTS)
        self._cells: dict[str, Sequence[str]] = {}
        self._orders: Sequence[str] = ()
        self._image_keys: dict[str, str] = {}
        self._dicoms: dict[str, str] = {}

    def expected(self) -> Mapping[str, ExpectedFile]:
        settings, root = self.settings, self._root()
        needed = {
            "table": table_file(root),
            "images": images_file(root, settings.images, self.folders, part="train", obtain=OBTAIN),
        }
        if settings.labels == "chexbert":
            needed["labels"] = chexbert_file(root, settings.target)
        if settings.gold_labels is not None:
            obtain = "https://aimi.stanford.edu/datasets/chexlocalize (CheXpert/val_labels.csv)"
            needed["gold"] = ExpectedFile("gold_labels", (Path(settings.gold_labels),), obtain)
        return needed

    def rows(self, tell: Tell) -> Sequence[StudyRow]:
        """Studies in the order of their first rows, images in that of their view numbers."""
        columns, images, parts, self.warnings = read_plus_table(self.files["table"], self.settings.target, tell)
        self._cells = {name: columns.get(f"section_{name}") for name in _SECTIONS}
        self._cells |= {name: columns.get(name) for name in ("age", "sex")}
        self._orders = columns.get(_ORDER)
        train = {study_id.partition("/")[0] for study_id, part in parts.items() if part == "train"}
        held_out = hold_out(train, self.settings.num_validate_patients, self.settings.seed)
        if self.folders.kind == "dicom":
            dicoms = columns.get(_DICOM)
            self._dicoms = {
                f"{parts[study_id]}/{study_id}/{stem}": dicoms[place]
                for study_id, of_study in images.items()
                for stem, (place, _) in of_study.items()
            }
        return [self._study(study_id, of, parts[study_id], held_out) for study_id, of in images.items()]

    def sections(self, row: StudyRow) -> Mapping[str, str]:
        """Those of the study's first row."""
        return {name: cells[row.place] for name, cells in self._cells.items()}

    def image_path(self, row: StudyRow, image: str) -> str:
        part = "valid" if row.split is Split.TEST else "train"
        return self.folders.require(row.study_id, part, image, self._dicoms.get(f"{part}/{row.study_id}/{image}", ""))

    def label_files(self) -> Mapping[str, ExpectedFile]:
        """One for each target."""
        return {f"chexbert ({target})": chexbert_file(self._root(), target) for target in CHEXBERT_FILE}

    def own_labels(self, path: Path, shared: SharedStates) -> tuple[str, Mapping[str, LabelStates]]:
        """CheXbert's labels, by image."""
        return "path_to_image", read_chexbert_labels(path, shared)

    def label_key(self, column: str, cell: str) -> str:
        """Of an image: its path without what stands before the part and without the ending."""
        return cell if column == "study_id" else _key(cell)

    def label_keys(self, row: StudyRow, column: str) -> Iterable[str]:
        """By study, or by the image of its first row."""
        return (row.study_id if column == "study_id" else self._image_keys[row.study_id],)

    def overrule(self, shared: SharedStates, rows: Sequence[StudyRow]) -> Callable[[StudyRow], LabelStates | str]:
        """The radiologists' labels replace others in TEST."""
        if "gold" not in self.files:
            return super().overrule(shared, rows)
        gold = read_gold_labels(self.files["gold"]).states

        def by_gold(row: StudyRow) -> LabelStates | str:
            if row.split is not Split.TEST:
                return ""
            if (states := gold.get(f"valid/{row.study_id}")) is None:
                test = [f"valid/{other.study_id}" for other in rows if other.split is Split.TEST]
                lacking = [key for key in test if key not in gold]
                shown = ", ".join(lacking[:_NUM_SHOWN]) + (", ..." if len(lacking) > _NUM_SHOWN else "")
                raise DataError(
                    f"gold_labels has no row for {len(lacking)} of {len(test)} TEST studies ({shown}); is it the file "
                    "of the validation part?"
                )
            return states

        return by_gold

    def _root(self) -> Path:
        return require_root(self.settings.root, data_set=self.title, variable=ROOT_VARIABLE)

    def _study(
        self, study_id: str, images: Mapping[str, tuple[int, str]], part: str, held_out: frozenset[str]
    ) -> StudyRow:
        first_stem, (first, _) = next(iter(images.items()))
        self._image_keys[study_id] = f"{part}/{study_id}/{first_stem}"
        stems = in_order(images)
        patient_id = study_id.partition("/")[0]
        usual = Split.VALIDATE if patient_id in held_out else Split.TRAIN
        try:
            order = read_order(self._orders[first])
        except DataError:
            order = None
        return StudyRow(
            study_id=study_id,
            patient_id=patient_id,
            split=Split.TEST if part == "valid" else usual,
            images=stems,
            views=tuple(images[stem][1] for stem in stems),
            place=first,
            order=order,
        )


@settings
class ChexpertPlus(SectionSettings):
    """Settings of CheXpert Plus.

    Attributes:
        root: folder with df_chexpert_plus_240401.csv, chexbert_labels and the images.
        images: ``"png"``, ``"jpg"`` (CheXpert v1's), ``"dicom"``, or ``"auto"`` for the first that is there.
        labels: ``"chexbert"`` takes the file that fits the target, of the whole report for both. A ``label_table`` has
            ids in study_id or path_to_image.
        gold_labels: radiologists' labels (valid.csv of CheXpert v1, val_labels.csv of CheXlocalize), used for TEST.
        num_validate_patients: patients held out for VALIDATE, at least 1; never more than a fifth of the part's.
        seed: of the patients held out.
    """

    root: str | None
    _: KW_ONLY
    images: Images = "auto"
    labels: Literal["chexbert", "labeler", "table"] = "chexbert"
    gold_labels: str | None = None
    num_validate_patients: PositiveInt = 500
    seed: NonNegativeInt = 0

    reader: ClassVar[type[Reader[Any]]] = PlusReader


def table_file(root: Path) -> ExpectedFile:
    return ExpectedFile("the table of reports", (root / TABLE, root / f"{TABLE}.gz"), OBTAIN)


def chexbert_file(root: Path, target: str) -> ExpectedFile:
    """CheXbert's labels that fit the target: JSON lines in spite of the ending."""
    name = CHEXBERT_FILE[target]
    places = (root / "chexbert_labels" / name, root / "labels" / name, root / name)
    return ExpectedFile(f"CheXbert's labels for target {target!r}", places, f"{OBTAIN}, chexbert_labels")


def read_plus_table(
    path: Path, target: str, tell: Tell
) -> tuple[Columns, dict[str, dict[str, tuple[int, str]]], dict[str, str], list[str]]:
    """Reads the table.

    Args:
        path: the CSV, plain or gzip.
        target: whose sections the table must have; others are read where it has them.
        tell: takes rows that name no image, no projection or another split than their path; no report is quoted.

    Returns:
        Its columns; of each study, by stem of the file, place in the columns and view of each image; its part; and what
        is odd about the rows, a line each.
    """
    needed = [f"section_{name}" for name in ("findings", "impression") if target in (name, "both")]
    others = [f"section_{name}" for name in _SECTIONS]
    columns = read_columns(path, (*_COLUMNS, *needed), (*others, "age", "sex", _ORDER, _DICOM))
    images: dict[str, dict[str, tuple[int, str]]] = {}
    parts: dict[str, str] = {}
    repeated, renamed, differing = [], [], []
    texts = [columns.get(name) for name in needed]
    cells = zip(columns.lines, *(columns.cells[name] for name in _COLUMNS), strict=True)
    for place, (line, image, frontal_lateral, ap_pa, patient_id, split) in enumerate(cells):
        try:
            name, stem = parse_image_name(image)
            view = view_of_cells(frontal_lateral, ap_pa)
            if _PART_OF_WORD.get(split.lower()) != name.part:
                raise DataError(f"split is {quoted(split)} but path_to_image starts with {name.part}")
            if parts.setdefault(name.study_id, name.part) != name.part:
                raise DataError(f"study {name.study_id} is in {name.part} and in {parts[name.study_id]}")
        except DataError as error:
            tell(f"{path} line {line}: {error}")
            continue
        if name.patient != patient_id:
            renamed.append(line)
        of_study = images.setdefault(name.study_id, {})
        if of_study:
            first = next(iter(of_study.values()))[0]
            if any(bool(text[first]) != bool(text[place]) for text in texts):
                differing.append(line)
        if of_study.setdefault(stem, (place, view))[0] != place:
            repeated.append(line)
    odd = (
        (repeated, "rows repeat the image of an earlier row and are passed over"),
        (renamed, "rows have another deid_patient_id than the patient's folder, which counts"),
        (differing, "rows have other sections than the first row of their study, which counts"),
    )
    told = [f"{path}: {len(lines):,} {what} (the first is in line {lines[0]:,})" for lines, what in odd if lines]
    return columns, images, parts, told


def read_chexbert_labels(path: Path, shared: SharedStates) -> dict[str, LabelStates]:
    """Reads one of CheXbert's files: a JSON object on each line with path_to_image and 14 codes.

    Returns:
        States by the image's path without what stands before the part and without the ending.

    Raises:
        DataError: a line is no such object, or an image has two lines that disagree; names the line.
    """
    labels: dict[str, LabelStates] = {}
    for line, record in read_json_lines(path):
        try:
            key = _key(record["path_to_image"])
            states = shared.of_codes(_codes(record))
        except KeyError as error:
            raise DataError(
                f"{path}, line {line} has no key {error}; needed are path_to_image and the 14 labels"
            ) from None
        except (AttributeError, TypeError):
            raise DataError(f"{path}, line {line}: a path or label is neither text nor number") from None
        except DataError as error:
            raise DataError(f"{path}, line {line}: {error}") from None
        if labels.setdefault(key, states) is not states:
            raise DataError(f"{path}, line {line}: {key} stands in an earlier line with other labels")
    if not labels:
        raise DataError(f"{path} is empty; a JSON object is needed on each line")
    return labels


def _key(path: str) -> str:
    name, stem = parse_image_name(path)
    return f"{name.key}/{stem}"
