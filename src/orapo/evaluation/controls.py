"""The floors that belong beside every score, since they need no image (the shuffled images are served by ``data``)."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from orapo.chexpert import OBSERVATIONS, LabelState, LabelStates
from orapo.errors import DataError
from orapo.evaluation.clinical import OBSERVATION_SETS, READINGS, example_ratios, from_expected, positive_matrix
from orapo.evaluation.resampling import Array, Measures, joined

NUM_DRAWS = 1000
"""Label sets drawn for the example averages of ``label_frequency_measures``."""

_DRAWS_AT_ONCE = 100


def always_positive_states(num_studies: int) -> tuple[LabelStates, ...]:
    """Label states of reports that affirm all 14 observations, "No Finding" included.

    Their recall is 1 and their precision is each observation's prevalence: the floor that an F-beta with beta > 1
    invites a policy to.
    """
    states: LabelStates = dict.fromkeys(OBSERVATIONS, LabelState.POSITIVE)
    return (states,) * num_studies


def most_common_report(reports: Sequence[str]) -> tuple[str, int]:
    """The most frequent of the training reports, white space aside, and how often it occurs; of equals the first.

    Raises:
        DataError: no reports.
    """
    if not reports:
        raise DataError("there is no training report, so none is the most common one")
    ((text, count),) = Counter(" ".join(report.split()) for report in reports).most_common(1)
    return text, count


def label_frequency_measures(
    training_states: Sequence[LabelStates], true_states: Sequence[LabelStates], seed: int
) -> Measures:
    """Clinical measures of labels drawn at their training frequencies, each observation by itself.

    Macro and micro ratios are those of the expected counts; the example averages, which are not a function of counts,
    are means over ``NUM_DRAWS`` drawn label sets.

    Args:
        training_states: of the training studies, at least 1.
        true_states: of the N test studies.
        seed: of the draws.

    Raises:
        DataError: no training or no test studies.
    """
    if not training_states or not true_states:
        raise DataError(
            f"label frequencies need training and test studies, got {len(training_states)} and {len(true_states)}"
        )
    parts = []
    for reading, uncertain_is_positive in READINGS.items():
        frequencies = positive_matrix(training_states, uncertain_is_positive=uncertain_is_positive).mean(axis=0)
        true = positive_matrix(true_states, uncertain_is_positive=uncertain_is_positive)
        predicted = np.broadcast_to(frequencies, true.shape)
        parts.append(from_expected(reading, predicted, true, _example_means(frequencies, true, seed)))
    return joined(*parts)


def _example_means(frequencies: Array, true: NDArray[np.bool_], seed: int) -> Array:
    """[N, 6]: each study's expected precision, recall and F1, over each observation set."""
    generator = np.random.default_rng(seed)
    total = np.zeros((3 * len(OBSERVATION_SETS), len(true)))
    for first in range(0, NUM_DRAWS, _DRAWS_AT_ONCE):
        size = (min(_DRAWS_AT_ONCE, NUM_DRAWS - first), 1, len(OBSERVATIONS))
        total += example_ratios(generator.random(size) < frequencies, true).sum(axis=1)
    return total.T / NUM_DRAWS
