"""Checks a data set on disk before a run: files, counts, problems."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from orapo.chexpert import OBSERVATIONS, LabelState
from orapo.data.expected_files import ExpectedFile
from orapo.data.garbage_collection import collection_paused
from orapo.data.image_check import image_problems
from orapo.data.images import image_name
from orapo.data.labels import SharedStates
from orapo.data.progress import watched
from orapo.data.questions import Questions, QuestionSource
from orapo.data.report_sections import MissingSection
from orapo.data.source import LeftOut, count_reasons
from orapo.data.tabulated import Reader, SourceSettings, StudyRow, join_labels, row_problems
from orapo.data.target import Target, report_text
from orapo.data.views import shown_view
from orapo.errors import DataError
from orapo.records import Split

MOST_SHOWN = 5
"""Problems or names of one kind that are listed; the rest are counted."""

_LONGEST_SIDE = 512
_TARGETS: tuple[Target, ...] = ("findings", "impression", "both")


@dataclass(frozen=True, slots=True)
class CheckReport:
    """The result of ``orapo data check``.

    Attributes:
        data_set: its name.
        found: one line per file or folder that is there, with its size.
        counts: what a user should see, in the order to print: studies per split, images, views, sections, labels ...
        problems: one line each, naming file, line or study and what to do; empty when the data set can be used.
        notes: worth knowing, but no obstacle: optional files that aren't there, studies that are left out and why.
    """

    data_set: str
    found: tuple[str, ...]
    counts: Mapping[str, int]
    problems: tuple[str, ...]
    notes: tuple[str, ...] = ()


def check_data_set(
    settings: SourceSettings, *, num_opened: int | None = 20, compare_images: bool = False
) -> CheckReport:
    """Reads every table and every report, looks up every image file, and opens some.

    Args:
        settings: of the data set.
        num_opened: images to decode, spread over the set; None: all. Header and end of every file are looked at.
        compare_images: also reads every image's bytes, to find one that is there under two names.
    """
    check = _Check(settings.reader.name)
    try:
        reader = settings.reader(settings)
        with collection_paused():
            check.run(reader, num_opened, compare_images)
    except DataError as error:
        check.problems.append(str(error))
    return check.report()


def check_questions(settings: Questions) -> CheckReport:
    """Reads every question, which stops at the first that can't be used, and looks at header and end of every image."""
    try:
        source = settings.open()
    except DataError as error:
        return CheckReport(QuestionSource.name, (), {}, (str(error),))
    studies = [study for split in Split for study in source.entries(split)]
    asked = [study.question for study in studies if study.question is not None]
    images = [(study.study_id, path) for study in studies for path in study.image_paths]
    counts = {
        **Counter(f"{study.split} questions" for study in studies),
        "images": len(images),
        **Counter(f"kind {question.kind}" for question in asked),
        **Counter(f"group {question.group}" for question in asked),
    }
    problems = [problem for _, problem in image_problems(images)]
    return CheckReport(QuestionSource.name, (), counts, tuple(_first_of(problems, "images can't be opened")))


def _first_of(problems: Sequence[str], what: str) -> list[str]:
    rest = len(problems) - MOST_SHOWN
    return [*problems[:MOST_SHOWN], *([f"at least {rest:,} more {what}"] if rest > 0 else [])]


class _Check:
    """What has been found so far."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.found: list[str] = []
        self.counts: dict[str, int] = {}
        self.problems: list[str] = []
        self.notes: list[str] = []

    def report(self) -> CheckReport:
        return CheckReport(self.name, tuple(self.found), self.counts, tuple(self.problems), tuple(self.notes))

    def run(self, reader: Reader[Any], num_opened: int | None, compare_images: bool) -> None:
        """Looks at everything; raises DataError when the tables can't be read, which leaves nothing more to look at."""
        label_files = reader.label_files()
        needed = dict(reader.expected())
        labels = needed.pop("labels", None)
        reader.files = {key: path for key, file in needed.items() if (path := file.find())}
        self.found += [_found(needed[key], path) for key, path in reader.files.items()]
        missing = [file.describe_missing() for key, file in needed.items() if key not in reader.files]
        self.problems += [f"missing: {told}" for told in missing]
        label_paths = {word: path for word, file in label_files.items() if (path := file.find())}
        lacking = [file.describe_missing() for word, file in label_files.items() if word not in label_paths]
        (self.notes if label_paths or labels is None else self.problems).extend(f"missing: {told}" for told in lacking)
        self.found += [_found(label_files[word], path) for word, path in label_paths.items()]
        if label_paths:
            reader.files = {**reader.files, "labels": next(iter(label_paths.values()))}
        if any(key in reader.expected() and key not in reader.files for key in reader.tables):
            return
        rows = reader.rows(self.problems.append)
        self.notes += reader.warnings + reader.notes
        self.problems += row_problems(reader, rows)
        self._count(reader, rows)
        usable = self._reports(reader, rows) if "reports" in reader.files or "reports" not in needed else {}
        for word, path in label_paths.items():
            self._labels(reader, word, path, rows, usable)
        if "images" in reader.files or "images" not in needed:
            self._images(reader, rows, num_opened, compare_images)
        left_out = [LeftOut(row.study_id, row.left_out) for row in rows if row.left_out]
        if left_out:
            self.notes.append(f"{len(left_out):,} studies are left out ({count_reasons(left_out)})")

    def _count(self, reader: Reader[Any], rows: Sequence[StudyRow]) -> None:
        parts = {"": rows} | {f"{split} ": [row for row in rows if row.split is split] for split in Split}
        for name, of_part in parts.items():
            self.counts |= {
                f"{name}images": sum(len(row.images) for row in of_part),
                f"{name}studies": len(of_part),
                f"{name}patients": len({row.patient_id for row in of_part}),
            }
        views = Counter(view for row in rows for view in row.views)
        self.counts["frontal images"] = sum(count for view, count in views.items() if reader.is_frontal(view))
        shown = Counter(shown_view(view) for view in views.elements())
        self.counts |= {f"view {view}": count for view, count in shown.most_common()}
        without = sum(bool(row.views) and not any(map(reader.is_frontal, row.views)) for row in rows)
        self.counts["studies without a frontal image"] = without
        if without:
            self.notes.append(
                f"{without:,} studies have no frontal image and are left out unless data.source.views=all"
            )
        self.notes += [
            f"{key}: {self.counts.get(key, 0):,} here, {published:,} in the published set"
            for key, published in reader.published.items()
            if self.counts.get(key, 0) != published
        ]

    def _reports(self, reader: Reader[Any], rows: Sequence[StudyRow]) -> Mapping[str, set[str]]:
        """Reads every report; the targets that each study has, by its id."""
        targets = _TARGETS if reader.settings.target is not None else (None,)
        found: Counter[str] = Counter()
        usable: dict[str, set[str]] = {}
        unreadable: list[str] = []
        for row in watched(rows, "reading reports"):
            try:
                sections = reader.sections(row)
            except MissingSection as missing:
                found[f"reports: {missing.reason}"] += 1
                continue
            except DataError as error:
                unreadable.append(str(error))
                if len(unreadable) > len(rows) // 10 + MOST_SHOWN:  # a broken zip, or the reports of other studies
                    break
                continue
            if sections is None:
                continue
            found["reports read"] += 1
            usable[row.study_id] = {target or "" for target in targets if _has(sections, target)}
            found.update(f"reports with {target or 'text'}" for target in usable[row.study_id])
        self.counts |= {key: found[key] for key in sorted(found, key=lambda key: (key != "reports read", key))}
        self._tell(list(dict.fromkeys(unreadable)), "reports are missing or damaged")
        return usable

    def _labels(
        self, reader: Reader[Any], word: str, path: Path, rows: Sequence[StudyRow], usable: Mapping[str, set[str]]
    ) -> None:
        try:
            column, labels = reader.own_labels(path, SharedStates())
        except DataError as error:
            self.problems.append(str(error))
            return
        states, known = join_labels(reader, rows, column, labels)
        self.counts[f"{word}: labels"] = len(labels)
        self.counts[f"{word}: studies with labels"] = len(states)
        is_of_test = {row.split for row in rows if row.study_id in states} == {Split.TEST}
        expected = [row for row in rows if row.split is Split.TEST or not is_of_test]
        without = [row.study_id for row in expected if row.study_id not in states]
        if without:
            self.notes.append(f"{path}: {len(without):,} studies have no labels: {_first(without)}")
        unknown = [key for key in labels if key not in known]
        if unknown and column == "study_id":
            self.notes.append(f"{path}: {len(unknown):,} labels are of no study: {_first(unknown)}")
        target = next((target for target in reversed(_TARGETS) if target in word), None)
        of_target = [s for study, s in states.items() if target is None or target in usable.get(study, ())]
        for observation in OBSERVATIONS:
            positive = sum(of_study[observation] is LabelState.POSITIVE for of_study in of_target)
            self.counts[f"{word}: {observation} positive"] = positive

    def _images(self, reader: Reader[Any], rows: Sequence[StudyRow], num_opened: int | None, compare: bool) -> None:
        present: list[tuple[StudyRow, str]] = []
        frontal: list[str] = []
        other: list[str] = []
        for row in watched(rows, "looking for images"):
            try:
                row = reader.images(row)
            except DataError as error:
                frontal.append(str(error))
                continue
            for image, view in zip(row.images, row.views, strict=True):
                try:
                    present.append((row, reader.image_path(row, image)))
                except DataError as error:
                    (frontal if reader.is_frontal(view) else other).append(str(error))
        self.counts["image files"] = len(present)
        self._tell(frontal, "image files are missing")
        if other:
            self.notes.append(f"{len(other):,} images of other views are missing (views 'all' needs them): {other[0]}")
        row_of = {row.study_id: row for row, _ in present}
        unreadable = image_problems([(row.study_id, path) for row, path in present])
        problems = [_at(reader, row_of[study_id], problem) for study_id, problem in unreadable]
        # Damage in the middle of a file shows only when it is decoded.
        bad = {study_id for study_id, _ in unreadable}
        good = [(row, path) for row, path in present if row.study_id not in bad]
        step = 1 if num_opened is None else max(1, len(good) // max(1, num_opened))
        opened = list(islice(good, 0, None, step))[:num_opened]
        problems += filter(None, (_image_problem(reader, *each) for each in watched(opened, "opening images")))
        self._tell(problems, "images can't be opened")
        if compare:
            self._tell(list(_same_images(reader, present)), "images are there twice")

    def _tell(self, problems: Sequence[str], what: str) -> None:
        self.problems += _first_of(problems, what)


def _image_problem(reader: Reader[Any], row: StudyRow, path: str) -> str:
    """Why an image can't be used; "" where it can."""
    try:
        reader.load_image(path, study_id=row.study_id, longest_side=_LONGEST_SIDE)
    except DataError as error:
        return _at(reader, row, str(error))
    return ""


def _at(reader: Reader[Any], row: StudyRow, problem: str) -> str:
    """Puts the study, and where it stands in its table, before a problem."""
    return problem.replace(f"study {row.study_id}", reader.where(row), 1)


def _same_images(reader: Reader[Any], images: Sequence[tuple[StudyRow, str]]) -> Iterator[str]:
    """Files of the same content that two studies list; those of the same size only are read."""
    of_size: dict[int, list[tuple[StudyRow, str]]] = {}
    for row, path in images:
        if not os.path.isfile(path):  # an image within a file of others
            continue
        of_size.setdefault(os.path.getsize(path), []).append((row, path))
    for group in watched([group for group in of_size.values() if len(group) > 1], "comparing images"):
        first: dict[bytes, tuple[StudyRow, str]] = {}
        for row, path in group:
            other, other_path = first.setdefault(_digest(path), (row, path))
            if other.study_id != row.study_id:
                splits = f"{other.split} and {row.split}" if row.split is not other.split else f"{row.split}"
                same = f"is the same as {image_name(other_path)} of study {other.study_id} ({splits})"
                yield f"{reader.where(row)}: image {image_name(path)} {same}"


def _digest(path: str) -> bytes:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _has(sections: Mapping[str, str], target: Target | None) -> bool:
    try:
        report_text(sections, target)
    except MissingSection:
        return False
    return True


def _found(file: ExpectedFile, path: Path) -> str:
    size = f", {path.stat().st_size:,} bytes" if path.is_file() else ""
    return f"{file.what}: {path}{size}"


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:MOST_SHOWN]) + (", ..." if len(names) > MOST_SHOWN else "")
