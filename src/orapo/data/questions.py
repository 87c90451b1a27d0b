"""A user's own questions with checkable answers, from CSV, Parquet, JSON lines or JSON, with or without images."""

import hashlib
import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from PIL import Image
from pydantic import AfterValidator, Field, NonNegativeInt

from orapo.data.annotation import MOST_BYTES
from orapo.data.images import LongestSide, check_below_root, check_image_name, image_name, load_study_images
from orapo.data.source import LeftOut
from orapo.data.splits import check_fractions, split_from_word, split_patients
from orapo.data.tables import is_blank, named, named_columns, parquet_errors, read_csv
from orapo.display import is_plain_id
from orapo.errors import DataError, SettingError
from orapo.foreign import open_regular, parse_json, read_json
from orapo.json_lines import read_json_lines
from orapo.measures.answers import check_pattern, given_answer, read_choice, read_number
from orapo.records import DEFAULT_PATTERN, Question, Split, Study
from orapo.settings import Fraction, Text, settings

REQUIRED = ("id", "question", "answer")
OPTIONAL = ("choices", "solution", "images", "split", "patient_id", "group")
LISTS = ("choices", "images")
MOST_ANSWERS = 26
"""Different answers up to which the answer itself is a question's group."""

_NO_GROUP = "all"
_NOT_ONE_TEXT = (list, tuple, Mapping, bytes)

Row = Mapping[str, Any]
SplitName = Literal["train", "validate", "test"]


@settings
class Questions:
    """Questions from one table, or from one for each split; rows of JSON and Parquet may hold lists.

    Attributes:
        path: .csv, .csv.gz, .parquet, .jsonl or .json (an object of rows by their ids, or a list of rows); or one such
            file for each of train, validate and test.
        root: folder that image paths start from; None where there are no images.
        columns: from our names (``REQUIRED``, ``OPTIONAL``) to the table's own, where these differ.
        kind: how answers are compared: "exact", "numeric", "choice"; "auto" takes choice where a row has choices,
            numeric where its answer is a number, else exact.
        tolerance: of numeric answers, at least 0.
        pattern: regular expression with a group ``answer`` that the end of a completion must match.
        instruction: what stands after question and choices in the prompt; "" for nothing.
        answer_line: what closes a worked solution that doesn't end in its answer, with ``{answer}`` for that.
        validate_fraction: of the patients, or of the rows without, in [0, 1], where the table has no column split.
        test_fraction: likewise; both together at most 1.
        seed: of that split, at least 0.
        longest_side: an upper limit of width and height, in pixels, 32 to 8192; None for none.

    Raises:
        SettingError: a value that is not allowed.
    """

    path: Text | dict[SplitName, Text]
    root: str | None = None
    columns: dict[str, Text] = field(default_factory=dict)
    kind: Literal["auto", "exact", "numeric", "choice"] = "auto"
    tolerance: Annotated[float, Field(ge=0)] = 0.0
    pattern: Annotated[str, AfterValidator(check_pattern)] = DEFAULT_PATTERN
    instruction: str = ""
    answer_line: str = "Answer: {answer}"
    validate_fraction: Fraction = 0.1
    test_fraction: Fraction = 0.2
    seed: NonNegativeInt = 0
    longest_side: LongestSide | None = None

    def __post_init__(self) -> None:
        check_fractions(self.validate_fraction, self.test_fraction)
        allowed = (*REQUIRED, *OPTIONAL)
        if unknown := [name for name in self.columns if name not in allowed]:
            raise SettingError(f"columns names {unknown[0]!r}; allowed: {', '.join(allowed)}")
        if "{answer}" not in self.answer_line:
            raise SettingError(f"answer_line is {self.answer_line!r}; it must have {{answer}}")

    def open(self) -> "QuestionSource":
        """Reads the tables; images only by name.

        Raises:
            DataError: as ``QuestionSource``.
        """
        return QuestionSource(self)


class QuestionSource:
    """The questions of a ``Questions``, all read at once.

    Args:
        told: which tables, and how they are read.

    Raises:
        DataError: a file that can't be read; a row without question, answer or its images; choices of which none is
            the answer; an id that stands twice; a patient in several splits.
    """

    name: ClassVar[str] = "questions"

    def __init__(self, told: Questions) -> None:
        self._settings = told
        self._studies: dict[str, Study] = {}
        rows = list(self._rows())
        self._has_groups = any("group" in row for *_, row in rows)
        splits = self._splits([(split, row) for _, split, row in rows])
        for (where, _, row), split in zip(rows, splits, strict=True):
            study = self._study(where, row, split)
            if study.study_id in self._studies:
                raise DataError(f"{where}: id {named(study.study_id)} stands there twice; each may stand once")
            self._studies[study.study_id] = study
        if not self._studies:
            raise DataError(f"{self._settings.path} has no question")
        self._join_groups()
        self._refuse_shared_patients()

    def entries(self, split: Split) -> Sequence[Study]:
        """All questions of one split, in the order of the table."""
        return tuple(study for study in self._studies.values() if study.split is split)

    def left_out(self, split: Split) -> Sequence[LeftOut]:
        """None: a row that can't be used is an error."""
        return ()

    def read(self, study_id: str) -> Study:
        """The question of this id.

        Raises:
            DataError: there is none.
        """
        if study_id not in self._studies:
            raise DataError(f"{self._settings.path} has no question {named(study_id)}")
        return self._studies[study_id]

    def load_images(self, study: Study, max_pixels: int | None = None) -> tuple[Image.Image, ...]:
        """Opens the question's images; raises DataError naming the file."""
        return load_study_images(study, self._settings.longest_side, max_pixels)

    def digest(self) -> str:
        """SHA-256 of the questions and of the settings that say how they are read."""
        digest = hashlib.sha256(repr((self._settings.columns, self._settings.longest_side)).encode())
        for study in self._studies.values():
            images = [os.path.relpath(path, self._settings.root) for path in study.image_paths]
            told = (study.study_id, study.patient_id, study.split.value, images, study.oracle_report, study.question)
            digest.update(repr(told).encode())
        return digest.hexdigest()

    def _rows(self) -> Iterator[tuple[str, Split | None, Row]]:
        """Each row's place, the split of its file, and its cells by our names; blank cells are left out."""
        path = self._settings.path
        files = {Split(name): file for name, file in path.items()} if isinstance(path, dict) else {None: path}
        for split, file in files.items():
            for where, row in _read(Path(file), self._column("id")):
                cells = {name: row.get(self._column(name)) for name in (*REQUIRED, *OPTIONAL)}
                kept = {name: cell for name, cell in cells.items() if not _is_empty(name, cell)}
                if missing := [name for name in REQUIRED if name not in kept]:
                    known = {self._column(name) for name in (*REQUIRED, *OPTIONAL)}
                    told = named_columns(map(str, row), is_header=not known.isdisjoint(row))
                    raise DataError(f"{where}: no {self._column(missing[0])!r}; {told}")
                if odd := [name for name in kept if name not in LISTS and isinstance(kept[name], _NOT_ONE_TEXT)]:
                    raise DataError(f"{where}: {self._column(odd[0])!r} must be one text or number")
                try:
                    own = split_from_word(_text(kept["split"])) if split is None and "split" in kept else split
                except DataError as error:
                    raise DataError(f"{where}: {error}") from None
                yield where, own, kept

    def _column(self, name: str) -> str:
        return self._settings.columns.get(name, name)

    def _splits(self, rows: Sequence[tuple[Split | None, Row]]) -> list[Split]:
        """Of each row: its file's, its own, or one drawn for its patient."""
        known = [split for split, _ in rows if split is not None]
        if known and len(known) < len(rows):
            raise DataError(f"{self._settings.path}: {len(rows) - len(known)} of {len(rows)} rows have no split")
        if known:
            return known
        patients = [_text(row.get("patient_id", row["id"])) for _, row in rows]
        fractions = {name: getattr(self._settings, name) for name in ("validate_fraction", "test_fraction")}
        drawn = split_patients(patients, seed=self._settings.seed, **fractions)
        return [drawn[patient] for patient in patients]

    def _study(self, where: str, row: Row, split: Split) -> Study:
        study_id = _text(row["id"])
        patient_id = _text(row.get("patient_id", study_id))
        if not (is_plain_id(study_id) and is_plain_id(patient_id)):
            raise DataError(f"{where}: an id must be printable, and not begin with = + - or @")
        where = f"{where}: question {named(study_id)}"
        question = self._question(where, row)
        images = [self._image(where, study_id, image) for image in _listed(f"{where}: images", row.get("images", ()))]
        return Study(
            study_id=study_id,
            patient_id=patient_id,
            split=split,
            image_paths=tuple(images),
            views=("",) * len(images),
            oracle_report=self._solution(where, row, question),
            labels={},
            question=question,
        )

    def _question(self, where: str, row: Row) -> Question:
        told, answer = self._settings, _text(row["answer"])
        choices = _choices(where, row.get("choices", ()))
        kind = told.kind
        if kind == "auto":
            kind = "choice" if choices else "exact" if read_number(answer) is None else "numeric"
        if (kind == "choice") != bool(choices):
            raise DataError(f"{where}: kind is {kind!r}, and it has {len(choices)} choices")
        if kind == "choice":
            chosen = read_choice(answer, choices)
            if chosen is None:
                raise DataError(f"{where}: the answer is none of the {len(choices)} choices, nor the letter of one")
            answer = chosen
        elif kind == "numeric" and read_number(answer) is None:
            raise DataError(f"{where}: the answer is no number; kind=exact compares words")
        lettered = [f"{letter}. {choice}" for letter, choice in zip(_LETTERS, choices, strict=False)]
        return Question(
            text="\n".join(filter(None, (_text(row["question"]), *lettered, told.instruction))),
            answer=answer,
            group=_text(row["group"]) if "group" in row else _shown(answer, choices),
            kind=kind,
            choices=choices,
            tolerance=told.tolerance if kind == "numeric" else 0.0,
            pattern=told.pattern,
        )

    def _solution(self, where: str, row: Row, question: Question) -> str:
        """The worked solution, closed by the answer where it isn't yet."""
        solution = _text(row.get("solution", ""))
        given = given_answer(solution, question)
        if given.is_correct:
            return solution
        if given.text is not None:
            raise DataError(f"{where}: its worked solution ends in another answer than the right one")
        last = self._settings.answer_line.replace("{answer}", _shown(question.answer, question.choices))
        closed = "\n".join(filter(None, (solution, last)))
        if not given_answer(closed, question).is_correct:
            raise DataError(f"{where}: pattern doesn't read the right answer in answer_line; change one of the two")
        return closed

    def _image(self, where: str, study_id: str, image: str) -> str:
        if self._settings.root is None:
            raise DataError(f"{where}: it has images; set data.root to the folder that their paths start from")
        check_image_name(image, study_id=study_id)
        # Tables that lie in a folder of their own go up from there first.
        image = re.sub(r"^(\.\./)+", "", image)
        check_below_root(image, self._settings.root, study_id=study_id)
        path = Path(self._settings.root) / image
        if not path.is_file():
            raise DataError(f"{where}: there is no image {image_name(path)}")
        return str(path)

    def _join_groups(self) -> None:
        """All questions are one group where none are given and there are too many answers to be groups."""
        groups = Counter(study.question.group for study in self._studies.values() if study.question)
        if self._has_groups or len(groups) <= MOST_ANSWERS:
            return
        for study_id, study in self._studies.items():
            assert study.question is not None
            self._studies[study_id] = replace(study, question=replace(study.question, group=_NO_GROUP))

    def _refuse_shared_patients(self) -> None:
        first: dict[str, Study] = {}
        for study in self._studies.values():
            if (other := first.setdefault(study.patient_id, study)).split is not study.split:
                raise DataError(
                    f"{self._settings.path}: questions {named(other.study_id)} and {named(study.study_id)} are of one "
                    "patient and in several splits; all of a patient's must be in one"
                )


_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def _read(path: Path, id_column: str) -> Iterator[tuple[str, Row]]:
    """Where each row stands, and its cells by the table's own names."""
    if path.suffix == ".jsonl":
        yield from ((f"{path}, line {line}", row) for line, row in read_json_lines(path))
    elif path.suffix == ".parquet":
        yield from ((f"{path}, row {number}", row) for number, row in enumerate(_parquet_rows(path), start=1))
    elif path.suffix == ".json":
        content = read_json(path, MOST_BYTES)
        if not isinstance(content, dict | list):
            raise DataError(f"{path} must hold an object of questions by their ids, or a list of questions")
        rows = content.items() if isinstance(content, dict) else ((None, row) for row in content)
        for number, (key, cells) in enumerate(rows, start=1):
            where = f"{path}, question {number}"
            if not isinstance(cells, dict):
                raise DataError(f"{where}: it must be an object")
            yield where, {id_column: key, **cells} if key is not None else cells
    else:
        yield from ((f"{path}, line {line}", cells) for line, cells in read_csv(path).rows)


def _parquet_rows(path: Path) -> list[dict[str, Any]]:
    from pyarrow import parquet

    with parquet_errors(path):
        open_regular(path).close()
        rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
        return rows


def _shown(answer: str, choices: Sequence[str]) -> str:
    """The letter of a choice, or the answer."""
    return _LETTERS[choices.index(answer)] if choices else answer


def _is_empty(name: str, cell: object) -> bool:
    """Of words only what is blank: "None" may be an answer, but is no split, image or patient."""
    if isinstance(cell, str):
        return not cell.strip() if name in ("question", "answer", "choices", "solution") else is_blank(cell)
    return cell is None or cell == [] or (isinstance(cell, float) and math.isnan(cell))


def _text(cell: object) -> str:
    return str(cell).strip()


def _listed(what: str, cell: Any) -> list[str]:
    """A list of JSON or Parquet; in a cell of text, such a list or parts between bars."""
    if isinstance(cell, str):
        cell = parse_json(cell, what) if cell.startswith("[") else cell.split("|")
    if not isinstance(cell, list | tuple) or any(isinstance(part, list | dict | bytes) for part in cell):
        raise DataError(f"{what} must be a list of texts, or texts with | between them")
    return [_text(part) for part in cell]


def _choices(where: str, cell: Any) -> tuple[str, ...]:
    """Without the letters that all of them may begin with."""
    found = _listed(f"{where}: choices", list(cell.values()) if isinstance(cell, Mapping) else cell)
    if not found:
        return ()
    marks = [re.match(rf"\(?{letter}[.):]\s*(?=\S)", part) for letter, part in zip(_LETTERS, found, strict=False)]
    if all(marks):
        found = [part[mark.end() :] for part, mark in zip(found, marks, strict=False) if mark]
    if not 2 <= len(found) <= len(_LETTERS) or any(not part or read_choice(part, found) != part for part in found):
        raise DataError(f"{where}: it has {len(found)} choices; 2 to {len(_LETTERS)} different ones are needed")
    return tuple(found)
