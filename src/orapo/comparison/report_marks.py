"""Which observations each test study has and each generated report calls present, without the texts."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orapo.chexpert import OBSERVATIONS, LabelState
from orapo.comparison.run_folder import Run
from orapo.errors import DataError
from orapo.evaluation.resampling import Array, mean_of_defined, ratio_of_sums
from orapo.json_lines import JsonRow, read_json_lines

COLUMNS_PER_RUN = 2 * len(OBSERVATIONS)


@dataclass(frozen=True)
class ReportMarks:
    """What a file of test reports counts for, studies in the order of their ids.

    Attributes:
        studies: a digest of the study ids and their true label states as read here: equal where two runs were tested on
            the same studies with the same truth.
        true: [N, 14], present in the study.
        called: [N, 14], called present by the generated report.
    """

    studies: str
    true: NDArray[np.bool_]
    called: NDArray[np.bool_]

    def columns(self) -> Array:
        """[N, 28]: hits, then calls, of each observation: what one study adds to this run's counts."""
        return np.concatenate([self.called & self.true, self.called], axis=1).astype(np.float64)


def read_report_marks(run: Run) -> ReportMarks | None:
    """The marks of a finished run, under its own reading of uncertain labels; None without the file.

    Raises:
        DataError: the file is damaged; names file and line, never a text in it.
    """
    path = run.reports
    if not path.is_file():
        return None
    counted = {LabelState.POSITIVE.value}
    if run.settings.get("data.uncertain_is_positive") is True:
        counted.add(LabelState.UNCERTAIN.value)
    rows: dict[str, tuple[list[bool], list[bool]]] = {}
    for number, row in read_json_lines(path):
        study_id, true, called = _read_row(row, counted, path, number)
        if study_id in rows:
            raise DataError(f"{path}, line {number}: study {study_id!r} stands there twice")
        rows[study_id] = (true, called)
    if not rows:
        raise DataError(f"{path} is empty")
    order = sorted(rows)
    true_matrix = np.array([rows[study_id][0] for study_id in order])
    called_matrix = np.array([rows[study_id][1] for study_id in order])
    digest = hashlib.sha256("\n".join(order).encode() + true_matrix.tobytes()).hexdigest()
    return ReportMarks(digest, true_matrix, called_matrix)


def _read_row(row: JsonRow, counted: set[str], path: Path, number: int) -> tuple[str, list[bool], list[bool]]:
    try:
        oracle, generated = row["oracle_states"], row["generated_states"]
        true = [oracle[observation] in counted for observation in OBSERVATIONS]
        called = [generated[observation] in counted for observation in OBSERVATIONS]
        return str(row["study_id"]), true, called
    except (KeyError, TypeError) as error:
        # The error's own words may quote the line, and that may be a patient's report.
        told = "not a row of generated reports with the states of all 14 observations"
        raise DataError(f"{path}, line {number}: {told} ({type(error).__name__})") from None


def mean_scores(sums: Array, support: Array) -> dict[str, Array]:
    """Macro and micro F1 [R], mean over a group's runs.

    Args:
        sums: [R, 28 k], sums over (resampled) studies of the ``columns`` of k runs, side by side; row 0 is that of the
            studies as they are (``ratio_of_sums``).
        support: [R, 14], of the same studies.
    """
    counts = sums.reshape(len(sums), -1, 2, len(OBSERVATIONS))
    hits, errors_and_hits = counts[:, :, 0], counts[:, :, 1] + support[:, None]
    macro = mean_of_defined(ratio_of_sums(2 * hits, errors_and_hits))
    micro = ratio_of_sums(2 * hits.sum(axis=2), errors_and_hits.sum(axis=2))
    return {"macro_f1": mean_of_defined(macro), "micro_f1": mean_of_defined(micro)}
