"""Studies that tables list, whatever the data set: views, sections, labels, left-out list, digest and images, once.

A data set is a ``Reader`` of rows and a record of settings; ``TabulatedSource`` makes a ``StudySource`` of it.
"""

import hashlib
import json
import logging
import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, field, fields
from pathlib import Path
from typing import Any, ClassVar, Generic, NamedTuple, NoReturn, TypeVar

from PIL import Image
from pydantic import NonNegativeInt, PositiveInt

from orapo.chexpert import OBSERVATIONS, LabelStates, label_state_to_code
from orapo.data.context import make_context, read_person
from orapo.data.expected_files import ExpectedFile, find_all
from orapo.data.garbage_collection import collection_paused
from orapo.data.images import LongestSide, image_name, load_image
from orapo.data.labels import SharedStates, check_overlap, join_key, other_key, read_label_table
from orapo.data.progress import watched
from orapo.data.report_sections import MissingSection
from orapo.data.source import LeftOut, count_reasons
from orapo.data.splits import check_fractions, split_patients
from orapo.data.tables import find_columns, named, number_key
from orapo.data.target import Target, report_text
from orapo.data.views import Views, is_frontal, shown_view
from orapo.display import is_plain_id
from orapo.errors import DataError, SettingError
from orapo.labeler import Labeler
from orapo.labeler.types import ReportLabeler
from orapo.records import PriorStudy, Split, Study
from orapo.settings import Fraction, settings

logger = logging.getLogger(__name__)

DIGEST_VERSION = "2:"
"""Before a digest; those of another version say nothing of each other."""

NO_FRONTAL = "no frontal image"
NO_LABELS = "no labels"
_PLACES = frozenset({"root", "reports", "csv", "json", "path", "annotation", "label_table", "gold_labels", "labeler"})
"""Settings that name files or objects: what these hold counts for the digest, not where they are."""

Tell = Callable[[str], None]
"""Takes a problem, one line: a source raises it, a check collects it and continues."""


class StudyRow(NamedTuple):
    """A study as tables list it; a tuple, since hundreds of thousands are made at once.

    Attributes:
        study_id: unique within the source.
        patient_id: studies of one patient share it.
        split: the part of the data set it belongs to.
        images: what the reader finds each image by: a path, a file's stem, an id.
        views: projection of each image, of ``view_name``.
        place: line or row of the table, or whatever the reader finds the study's other cells by.
        order: to sort a patient's studies by time; None where it isn't known.
        day: of the study, as a number of days; None where it isn't known.
        left_out: why the reader rules it out; "" when it doesn't.
        labels: state of all 14 observations; studies with the same states share one mapping. The source fills them in
            where the reader leaves them empty.
    """

    study_id: str
    patient_id: str
    split: Split
    images: tuple[str, ...]
    views: tuple[str, ...]
    place: int = 0
    order: float | None = None
    day: int | None = None
    left_out: str = ""
    labels: LabelStates = {}  # noqa: RUF012

    @property
    def question(self) -> None:
        """None: a question is listed whole."""
        return None


@settings
class SourceSettings:
    """What can be set of every data set.

    Attributes:
        views: ``"frontal"`` keeps AP, PA and what is called frontal, ``"all"`` keeps all.
        max_images: keep at most this many images of a study, the first ones, at least 1; None keeps all.
        longest_side: images are shrunk to at most this width and height, in pixels, in [32, 8192]; None leaves their
            size to the model.
        prior: also reads the patient's latest earlier study of the same split, for the prompt.
        labels: whose labels: ``"labeler"`` labels the chosen text of every report, which takes minutes for a large set;
            ``"table"`` takes ``label_table``; other words are the data set's.
        label_table: .csv, .csv.gz or .parquet with an id and the 14 observations, as ``orapo label`` writes it.
        labeler: for labels "labeler"; ``orapo.labeler.Labeler()`` when None.
    """

    _: KW_ONLY
    views: Views = "frontal"
    max_images: PositiveInt | None = None
    longest_side: LongestSide | None = None
    prior: bool = False
    labels: str = "labeler"
    label_table: str | None = None
    labeler: ReportLabeler | None = None

    reader: ClassVar[type["Reader[Any]"]]
    target: ClassVar[Target | None] = None

    def __post_init__(self) -> None:
        if (self.labels == "table") != (self.label_table is not None):
            raise SettingError(
                f"label_table is {self.label_table!r} and labels is {self.labels!r}; labels 'table' needs a "
                "label_table (written by orapo label), and nothing else takes one"
            )

    def open(self) -> "TabulatedSource":
        """Reads the tables; no image, and no report that lies in a file of its own (but see ``labels``).

        Raises:
            DataError: files are missing (all are named), or a table can't be used; names the line or the study.
        """
        return TabulatedSource(self.reader(self))


@settings
class SectionSettings(SourceSettings):
    """What can be set of data sets whose reports have sections.

    Attributes:
        target: the text to learn: ``"findings"``, ``"impression"`` or ``"both"``; a study must have it.
    """

    _: KW_ONLY
    target: Target = "findings"  # type: ignore[misc]


@settings
class DealtOutSettings(SourceSettings):
    """What can be set of data sets whose patients are dealt out where nothing else says their split.

    Attributes:
        validate_fraction: of the patients, in [0, 1].
        test_fraction: of the patients, in [0, 1]; both together at most 1.
        seed: of the split.
    """

    _: KW_ONLY
    validate_fraction: Fraction = 0.1
    test_fraction: Fraction = 0.2
    seed: NonNegativeInt = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fractions(self.validate_fraction, self.test_fraction)

    def deal_out(self, patients: Iterable[str]) -> dict[str, Split]:
        """The split of each patient; raises DataError where there are fewer than parts."""
        return split_patients(
            patients, validate_fraction=self.validate_fraction, test_fraction=self.test_fraction, seed=self.seed
        )


@settings
class OwnColumnsSettings(DealtOutSettings):
    """Settings of a user's own tables.

    Attributes:
        columns: the table's own column names by the names here, for example ``{"report": "impression"}``.
    """

    _: KW_ONLY
    columns: Mapping[str, str] = field(default_factory=dict)

    required: ClassVar[tuple[str, ...]]
    optional: ClassVar[tuple[str, ...]]

    def __post_init__(self) -> None:
        super().__post_init__()
        known = (*self.required, *self.optional)
        unknown = sorted(set(self.columns) - set(known))
        if unknown:
            raise SettingError(f"columns renames {unknown[0]!r}; it can rename {', '.join(known)}")

    def find_columns(self, path: str, header: Sequence[str], also: Sequence[str] = ()) -> dict[str, str]:
        """The table's column of each name that it has, ``also`` are further optional ones.

        Raises:
            DataError: a required or renamed column is missing, one occurs twice, or one is a misspelt optional one.
        """
        own, names = self.columns, (*self.required, *self.optional)
        needed = [own.get(name, name) for name in names if name in self.required or name in own]
        try:
            places = find_columns(path, header, needed, [*(n for n in self.optional if n not in own), *also])
        except DataError as error:
            told = ", ".join(self.required)
            raise DataError(f"{error}; needed are {told} (other names can be given in `columns`)") from None
        found = {name: header[places[column]] for name in names if (column := own.get(name, name)) in places}
        return found | {name: header[places[name]] for name in also if name in places}


CONTEXT = ("indication", "comparison", "technique", "age", "sex")
"""Columns of a user's own table beside the report that ``Reader.sections`` gives."""

AnySettings = TypeVar("AnySettings", bound=SourceSettings)


class Reader(ABC, Generic[AnySettings]):
    """Reads the rows of one data set.

    Attributes:
        name: short name for logs and manifests.
        title: name of the data set in messages.
        tables: keys of the ``files`` that ``rows`` reads.
        texts_in_table: whether reports lie in the tables: a study without its sections isn't listed then.
        blank_is_frontal: whether an image of unknown view counts as frontal.
        id_columns: by which studies may be found in a table of labels, the first that it has.
        images_are_paths: whether ``StudyRow.images`` are paths, which may name one file in two ways.
        published: counts of ``orapo data check`` that the published set has.
    """

    name: ClassVar[str]
    title: str
    tables: ClassVar[tuple[str, ...]] = ()
    texts_in_table: ClassVar[bool] = True
    blank_is_frontal: ClassVar[bool] = True
    id_columns: ClassVar[tuple[str, ...]] = ("study_id",)
    images_are_paths: ClassVar[bool] = False
    published: Mapping[str, int] = {}

    def __init__(self, settings: AnySettings) -> None:
        self.settings = settings
        self.files: Mapping[str, Path] = {}
        self.warnings: list[str] = []
        """What is odd about the rows, a line each; after ``rows``."""
        self.notes: list[str] = []
        """What else a user may want to know of them."""

    @abstractmethod
    def expected(self) -> Mapping[str, ExpectedFile]:
        """The files and folders that the settings need; raises DataError where the root itself is missing."""

    @abstractmethod
    def rows(self, tell: Tell) -> Sequence[StudyRow]:
        """Every study of ``files`` in the order of the tables; a bad row is reported to ``tell`` and skipped."""

    @abstractmethod
    def sections(self, row: StudyRow) -> Mapping[str, str] | None:
        """The report by sections, with ``age`` and ``sex`` as told; None where no report of the set is public.

        Raises:
            DataError: the report is missing or damaged.
            MissingSection: this study has none.
        """

    @abstractmethod
    def image_path(self, row: StudyRow, image: str) -> str:
        """The file of one of ``row.images``; raises DataError naming the places where it isn't."""

    def load_image(
        self, path: str, *, study_id: str, longest_side: int | None, max_pixels: int | None = None
    ) -> Image.Image:
        """Decodes what ``image_path`` gave, as ``images.load_image`` does."""
        return load_image(path, study_id=study_id, longest_side=longest_side, max_pixels=max_pixels)

    def is_frontal(self, view: str) -> bool:
        """Whether an image of this view counts as frontal."""
        return is_frontal(view, blank=self.blank_is_frontal)

    def images(self, row: StudyRow) -> StudyRow:
        """The row with its images where the tables don't list them; raises DataError when there is none."""
        return row

    def own_labels(self, path: Path, shared: SharedStates) -> tuple[str, Mapping[str, LabelStates]]:
        """Labels of a file that comes with the data set: the column of ids, and states by key."""
        return self.table_labels(path, shared)

    def table_labels(self, path: Path, shared: SharedStates) -> tuple[str, Mapping[str, LabelStates]]:
        """Labels of a table as ``orapo label`` writes it, likewise."""
        return read_label_table(path, self.id_columns, shared, self.label_key)

    def label_key(self, column: str, cell: str) -> str:
        """By what a study is found in a table of labels; raises DataError where the cell is no id."""
        return join_key(cell)

    def label_keys(self, row: StudyRow, column: str) -> Iterable[str]:
        """The keys of a study, the first that has labels counts; ``join_labels`` tries others after them."""
        return (join_key(row.study_id),)

    def overrule(self, shared: SharedStates, rows: Sequence[StudyRow]) -> Callable[[StudyRow], LabelStates | str]:
        """Labels that stand above the usual ones, or why a study is left out; empty for neither."""
        return lambda row: row.labels

    def label_files(self) -> Mapping[str, ExpectedFile]:
        """Every file of labels that the data set has, by the word of ``labels``; for checks."""
        return {}

    def place_of_image(self, image: str) -> str:
        """The same text for the same image, however its path is written."""
        return os.path.normpath(image)

    def where(self, row: StudyRow) -> str:
        """Names a study in a message, with what helps to find it in its table."""
        return f"study {row.study_id}"

    def check_listed(self, rows: Sequence[StudyRow]) -> None:
        """Looks at the studies that are used, before any is read; raises DataError where one can't be."""


class TabulatedSource:
    """A ``StudySource`` of what a reader reads; studies keep the order of its rows."""

    def __init__(self, reader: Reader[Any]) -> None:
        """Reads the tables; raises as ``SourceSettings.open``."""
        self.name = reader.name
        self._reader = reader
        self._settings: SourceSettings = reader.settings
        self._listed: dict[str, StudyRow] = {}
        self._left_out: dict[Split, list[LeftOut]] = {split: [] for split in Split}
        self._of_patient: dict[str, list[StudyRow]] = {}
        self._digest = ""
        needed = dict(reader.expected())
        if (table := self._settings.label_table) is not None:
            needed["label_table"] = ExpectedFile("label_table", (Path(table),), "orapo label")
        reader.files = find_all(reader.title, needed)
        with collection_paused():
            rows = reader.rows(_raise)
            for problem in row_problems(reader, rows):
                _raise(problem)
            if self._settings.prior:
                for row in rows:
                    self._of_patient.setdefault(row.patient_id, []).append(row)
            self._list(rows)
        self._log(rows)

    def entries(self, split: Split) -> Sequence[StudyRow]:
        return [row for row in self._listed.values() if row.split is split]

    def left_out(self, split: Split) -> Sequence[LeftOut]:
        return self._left_out[split]

    def read(self, study_id: str) -> Study | LeftOut:
        """Reads the report, finds the image files, and the prior study where it is asked for.

        Raises:
            DataError: no such study is listed, its report or an image is missing, or the report is damaged.
        """
        row = self._listed.get(study_id)
        if row is None:
            raise DataError(f"{self._reader.title}: study {study_id} is not listed, or it is left out")
        try:
            sections = self._reader.sections(row)
            report = "" if sections is None else report_text(sections, self._settings.target)
        except MissingSection as missing:
            return LeftOut(study_id, missing.reason)
        row = self._keep_images(self._reader.images(row))
        if not row.images:
            return LeftOut(study_id, NO_FRONTAL)
        return Study(
            study_id=study_id,
            patient_id=row.patient_id,
            split=row.split,
            image_paths=tuple(self._reader.image_path(row, image) for image in row.images),
            views=row.views,
            oracle_report=report,
            labels=row.labels,
            context=make_context(sections or {}, prior=self._prior(row)),
        )

    def load_images(self, study: Study, max_pixels: int | None = None) -> tuple[Image.Image, ...]:
        side = self._settings.longest_side
        return tuple(
            self._reader.load_image(path, study_id=study.study_id, longest_side=side, max_pixels=max_pixels)
            for path in study.image_paths
        )

    def digest(self) -> str:
        """``DIGEST_VERSION`` and a SHA-256 over the settings and all that the tables say of every listed study.

        Neither places nor formats of files count, nor images, nor reports that lie in files of their own.
        """
        if not self._digest:
            told = {f.name: getattr(self._settings, f.name) for f in fields(self._settings) if f.name not in _PLACES}
            digest = hashlib.sha256(json.dumps([self.name, told], sort_keys=True, default=dict).encode())
            codes: dict[int, str] = {}
            for row in self._listed.values():
                code = codes.get(id(row.labels))
                if code is None:
                    code = codes[id(row.labels)] = ",".join(label_state_to_code(row.labels[o]) for o in OBSERVATIONS)
                parts = [row.study_id, row.patient_id, row.split.value, code, str(row.order), *row.images, *row.views]
                if self._reader.texts_in_table:
                    sections = dict(self._reader.sections(row) or {})
                    person = read_person(sections.pop("age", ""), sections.pop("sex", ""))
                    parts += [repr(sorted(sections.items())), repr(person)]
                digest.update("\t".join(parts).encode() + b"\n")
            self._digest = DIGEST_VERSION + digest.hexdigest()
        return self._digest

    def _list(self, rows: Sequence[StudyRow]) -> None:
        shared = SharedStates()
        overrule = self._reader.overrule(shared, rows)
        label = self._usual_labels(rows, shared)
        is_slow = self._settings.labels in ("labeler", "auto")
        for row in watched(rows, "labelling reports") if is_slow else rows:
            kept = self._keep_images(row)
            try:
                labels = row.left_out or self._ruled_out(row, kept) or overrule(row) or label(row)
            except MissingSection as missing:
                labels = missing.reason
            if isinstance(labels, str):
                self._left_out[row.split].append(LeftOut(row.study_id, labels))
            else:
                self._listed[row.study_id] = kept._replace(labels=labels)
        self._reader.check_listed(list(self._listed.values()))

    def _ruled_out(self, row: StudyRow, kept: StudyRow) -> str:
        if self._reader.texts_in_table:
            self._text(row)
        return NO_FRONTAL if row.images and not kept.images else ""

    def _text(self, row: StudyRow) -> str:
        sections = self._reader.sections(row)
        return "" if sections is None else report_text(sections, self._settings.target)

    def _keep_images(self, row: StudyRow) -> StudyRow:
        """The row with the images of the views asked for, the first ``max_images`` of them."""
        kept: Sequence[int] = range(len(row.views))
        if self._settings.views == "frontal":
            kept = [place for place, view in enumerate(row.views) if self._reader.is_frontal(view)]
        kept = kept[: self._settings.max_images]
        if len(kept) == len(row.views):
            return row
        images, views = (tuple(of[place] for place in kept) for of in (row.images, row.views))
        return row._replace(images=images, views=views)

    def _usual_labels(self, rows: Sequence[StudyRow], shared: SharedStates) -> Callable[[StudyRow], LabelStates | str]:
        """The labels that the settings ask for, or why a study has none."""
        reader, settings = self._reader, self._settings
        if settings.labels in ("labeler", "auto"):
            labeler = settings.labeler or Labeler()
            return lambda row: shared.of(labeler.label(self._text(row)).states)
        if settings.labels == "table":
            path = reader.files["label_table"]
            column, labels = reader.table_labels(path, shared)
        else:
            path = reader.files["labels"]
            column, labels = reader.own_labels(path, shared)
        states, keys = join_labels(reader, rows, column, labels)
        check_overlap(path, labels, keys, reader.title, by=column)
        return lambda row: states.get(row.study_id, NO_LABELS)

    def _prior(self, row: StudyRow) -> PriorStudy | None:
        """The latest earlier study of the same patient and split that has a report."""
        if row.order is None:
            return None
        earlier = [
            other
            for other in self._of_patient.get(row.patient_id, ())
            if other.split is row.split and not other.left_out and _is_before(other, row)
        ]
        for other in sorted(earlier, key=lambda other: other.order or 0.0, reverse=True):
            try:
                report = self._text(other)
            except MissingSection:
                continue
            if report:
                kept = self._keep_images(self._reader.images(other))
                days = None if row.day is None or other.day is None else row.day - other.day
                paths = tuple(self._reader.image_path(kept, image) for image in kept.images)
                return PriorStudy(other.study_id, paths, kept.views, report, days)
        return None

    def _log(self, rows: Sequence[StudyRow]) -> None:
        counts = ", ".join(f"{len(self.entries(split)):,} {split}" for split in Split)
        title = self._reader.title
        labels = self._settings.label_table or self._settings.labels
        logger.info("%s: %d studies (%s), labels from %s", title, len(self._listed), counts, labels)
        for warning in self._reader.warnings:
            logger.warning("%s", warning)
        for note in self._reader.notes:
            logger.info("%s: %s", title, note)
        left_out = [study for split in Split for study in self._left_out[split]]
        if not left_out:
            return
        views = self._views_left_out(rows) if self._settings.views == "frontal" else ""
        if not self._listed and views:
            raise DataError(
                f"{title}: no study is left with views=frontal (images left out by view: {views}); "
                f"PA, AP, FRONTAL{' and blank' if self._reader.blank_is_frontal else ''} count as frontal; "
                "views=all keeps every image"
            )
        reasons = count_reasons(left_out)
        told = f"; images left out by view: {views}; views=all keeps them" if views else ""
        logger.warning("%s: %d of %d studies left out (%s)%s", title, len(left_out), len(rows), reasons, told)

    def _views_left_out(self, rows: Sequence[StudyRow]) -> str:
        views = Counter(shown_view(view) for row in rows for view in row.views if not self._reader.is_frontal(view))
        return ", ".join(f"{view}: {count:,}" for view, count in sorted(views.items()))


def join_labels(
    reader: Reader[Any], rows: Iterable[StudyRow], column: str, labels: Mapping[str, LabelStates]
) -> tuple[dict[str, LabelStates], set[str]]:
    """The labels of each study by its id, and all keys by which studies are found in a table.

    These are a study's own, then, in a column study_id, those with or without an "s" where no other study is called so:
    7 and s7 may be two studies.
    """
    own = {key for row in rows for key in reader.label_keys(row, column)}
    states: dict[str, LabelStates] = {}
    known: set[str] = set()
    for row in rows:
        keys = list(reader.label_keys(row, column))
        if column == "study_id":
            keys += [other for key in keys if (other := other_key(key)) and other not in own]
        known.update(keys)
        if (found := next(filter(labels.__contains__, keys), None)) is not None:
            states[row.study_id] = labels[found]
    return states, known


def row_problems(reader: Reader[Any], rows: Sequence[StudyRow]) -> Iterator[str]:
    """What rules the rows of any data set out, a line each: first ids that can't be written to tables and logs."""
    for row in rows:
        if not (is_plain_id(row.study_id) and is_plain_id(row.patient_id)):
            yield f"{reader.where(row)}: a study's and a patient's id must be printable, and not begin with = + - or @"
    yield from _twice_listed(reader, rows)
    yield from _shared_patients(reader, rows)


def _twice_listed(reader: Reader[Any], rows: Iterable[StudyRow]) -> Iterator[str]:
    """Images that stand in the tables twice, a line each: such a one could be in training and in test."""
    if not reader.images_are_paths:
        return
    first: dict[str, StudyRow] = {}
    for row in rows:
        if row.left_out:
            continue
        for number, image in enumerate(row.images):
            place = reader.place_of_image(image)
            other = first.setdefault(place, row)
            if other is not row:
                told = f"stands already in {reader.where(other)}; an image may be listed once"
                yield f"{reader.where(row)}: image {image_name(image)} {told}"
            elif place in map(reader.place_of_image, row.images[:number]):
                yield f"{reader.where(row)}: image {image_name(image)} is listed twice; an image may be listed once"


def _shared_patients(reader: Reader[Any], rows: Iterable[StudyRow]) -> Iterator[str]:
    """A line where patients have studies in several splits."""
    first: dict[str, Split] = {}
    kept = (row for row in rows if not row.left_out)
    # 7, 7.0 and 007 are one patient.
    shared = {
        number_key(row.patient_id): row.study_id
        for row in kept
        if first.setdefault(number_key(row.patient_id), row.split) is not row.split
    }
    if shared:
        yield (
            f"{reader.title}: {len(shared):,} patients have studies in several splits, for example that of study "
            f"{named(min(shared.values()))}; all studies of a patient must be in one"
        )


def _is_before(other: StudyRow, row: StudyRow) -> bool:
    """Whether a study is known to be earlier; one of a later day isn't, whatever its order says."""
    if other.order is None or row.order is None:
        return False
    return other.order < row.order and not (other.day is not None and row.day is not None and other.day > row.day)


def _raise(problem: str) -> NoReturn:
    raise DataError(problem)
