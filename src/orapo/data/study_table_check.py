"""A look at a user's own table that names every problem, where reading it for a run stops at the first."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from orapo.data.check_report import CheckReport
from orapo.data.csv_table import read_csv
from orapo.data.images import check_image_name, load_image
from orapo.data.study_rows import StudyRow, StudyRows, disagreements
from orapo.data.views import is_frontal
from orapo.errors import DataError

_LONGEST_SIDE = 512


def check_study_table(csv: str, root: str, *, columns: Mapping[str, str] | None = None) -> CheckReport:
    """Checks every row, every pair of rows of a study, and opens every image.

    Args:
        csv: the table.
        root: folder that relative image paths start from.
        columns: the table's own column names, as ``StudyTable`` takes them.

    Raises:
        SettingError: ``columns`` renames something unknown.
    """
    try:
        table = read_csv(csv)
        rows = StudyRows(table, columns or {})
    except DataError as error:
        return CheckReport("study_table", (), {}, (str(error),))
    problems: list[str] = []
    good: list[StudyRow] = []
    for row in table.rows:
        try:
            good.append(rows.read(row))
        except DataError as error:
            problems.append(str(error))
    problems += disagreements(good, csv)
    problems += _image_problems(good, Path(root), csv)
    found = (f"{csv}: {len(table.rows):,} rows, columns {', '.join(table.columns)}",)
    return CheckReport("study_table", found, _counts(good), tuple(problems), tuple(_notes(good)))


def _image_problems(rows: Sequence[StudyRow], root: Path, csv: str) -> Iterator[str]:
    for row in rows:
        where = f"{csv} line {row.line}"
        try:
            check_image_name(row.image_path, study_id=row.study_id)
            load_image(root / row.image_path, study_id=row.study_id, longest_side=_LONGEST_SIDE)
        except DataError as error:
            yield f"{where}: {error}"


def _counts(rows: Sequence[StudyRow]) -> dict[str, int]:
    counts = {
        "images": len(rows),
        "frontal images": sum(is_frontal(row.view) for row in rows),
        "studies": len({row.study_id for row in rows}),
        "patients": len({row.patient_id for row in rows}),
    }
    first_rows = {row.study_id: row for row in reversed(rows)}.values()
    splits = Counter(row.split for row in first_rows if row.split)
    return counts | {f"studies in {split}": count for split, count in sorted(splits.items())}


def _notes(rows: Sequence[StudyRow]) -> Iterator[str]:
    if not rows:
        return
    if rows[0].split is None:
        yield "no split column: patients are split at random by data.source.seed"
    if rows[0].labels is None:
        yield "no label columns: the reports will be labelled by orapo.labeler"
    without = {row.study_id for row in rows} - {row.study_id for row in rows if is_frontal(row.view)}
    if without:
        yield f"{len(without):,} studies have no frontal image and are left out unless data.source.views=all"
