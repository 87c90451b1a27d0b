"""Does a system read a spurious mark instead of the finding? Its scores on studies with the mark and without it.

Where the mark says nothing of the observation, a system that looks at the finding has the same rates on both sides. One
that learned the mark calls the observation present where the mark is (false positives) and misses it where it is not.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from orapo.chexpert import OBSERVATIONS, Observation
from orapo.errors import DataError
from orapo.evaluation.clinical import READINGS, positive_matrix
from orapo.evaluation.report_pairs import ReportPair
from orapo.evaluation.resampling import Array, Measures, joined, ratio_of_sums

SIDES = ("with_mark", "without_mark")
DIFFERENCE = "difference"
"""The first side minus the second."""
KINDS = ("f1", "recall", "false_positive_rate")


def mark_measures(pairs: Sequence[ReportPair], has_mark: Sequence[bool], observation: Observation) -> Measures:
    """Measures named "<reading>/mark/<observation>/<side>/<kind>", for both sides and their difference.

    Args:
        pairs: N studies with a system's reports.
        has_mark: length N, whether the image that the system was shown has the mark.
        observation: that the mark went with in training.

    Raises:
        DataError: not one mark for each study.
    """
    if len(pairs) != len(has_mark):
        raise DataError(f"{len(has_mark)} marks for {len(pairs)} studies; one each is needed")
    sides = np.array([has_mark, [not mark for mark in has_mark]]).T
    return joined(*(_measures(pairs, sides, observation, reading) for reading in READINGS))


def _measures(
    pairs: Sequence[ReportPair], sides: NDArray[np.bool_], observation: Observation, reading: str
) -> Measures:
    place, is_lenient = OBSERVATIONS.index(observation), READINGS[reading]
    called = positive_matrix([pair.generated_states for pair in pairs], uncertain_is_positive=is_lenient)[:, place]
    true = positive_matrix([pair.oracle_states for pair in pairs], uncertain_is_positive=is_lenient)[:, place]
    counts = np.stack([called & true, called & ~true, ~called & true, ~called & ~true], axis=1)

    def from_sums(sums: Array) -> dict[str, Array]:
        """Column sums [R, 2 sides x 4 counts] to measures [R]."""
        found = [_rates(side) for side in np.moveaxis(sums.reshape(len(sums), len(SIDES), 4), 1, 0)]
        found.append({kind: found[0][kind] - found[1][kind] for kind in KINDS})
        return {
            f"{reading}/mark/{observation.value}/{side}/{kind}": rates[kind]
            for side, rates in zip((*SIDES, DIFFERENCE), found, strict=True)
            for kind in KINDS
        }

    columns = (sides[:, :, None] & counts[:, None, :]).reshape(len(pairs), -1)
    return Measures(columns.astype(np.float64), from_sums, {})


def _rates(counts: Array) -> dict[str, Array]:
    """Of true positives, false positives, false negatives and true negatives [R, 4]."""
    tp, fp, fn, tn = counts.T
    return {
        "f1": ratio_of_sums(2 * tp, 2 * tp + fp + fn),
        "recall": ratio_of_sums(tp, tp + fn),
        "false_positive_rate": ratio_of_sums(fp, fp + tn),
    }
