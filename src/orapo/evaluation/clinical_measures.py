"""Clinical efficacy as sums over studies, for intervals and paired tests.

Every ratio in both readings of uncertain labels, over all 14 observations and over the five of the CheXpert
competition, in three averages: macro (mean of the observations' ratios), micro (ratios of the added counts) and example
(mean of the studies' own ratios). Names are "<reading>/<set>/<average>/<ratio>" and "<reading>/<observation>/<ratio>".
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orapo.chexpert import COMPETITION_OBSERVATIONS, OBSERVATIONS, LabelStates, Observation
from orapo.errors import DataError
from orapo.evaluation.clinical import positive_matrix
from orapo.evaluation.resampling import Array, Measures, joined, mean_of_defined, ratio_of_sums
from orapo.measures.ratios import ratio

READINGS: Mapping[str, bool] = {"uncertain_not_positive": False, "uncertain_positive": True}
"""Name of a reading to ``uncertain_is_positive``."""

OBSERVATION_SETS: Mapping[str, tuple[Observation, ...]] = {
    "all_14": OBSERVATIONS,
    "competition_5": COMPETITION_OBSERVATIONS,
}
AVERAGES = ("macro", "micro", "example")
RATIOS = ("precision", "recall", "f1")

_EXAMPLE = len(RATIOS) * len(OBSERVATION_SETS)


@dataclass(frozen=True)
class _Layout:
    """Where the columns of one reading stand: TP, FP, FN of 14 observations, then the example ratios of each set."""

    reading: str

    def from_sums(self, sums: Array) -> dict[str, Array]:
        """Column sums [R, C] to ratios [R], as ``Measures`` has them; the last column counts studies."""
        counts = sums[:, : 3 * len(OBSERVATIONS)].reshape(len(sums), 3, len(OBSERVATIONS))
        examples = sums[:, -1 - _EXAMPLE : -1] / sums[:, -1:]
        single = _ratios(counts[:, 0], counts[:, 1], counts[:, 2], ratio_of_sums)
        found: dict[str, Array] = {}
        for number, (name, observations) in enumerate(OBSERVATION_SETS.items()):
            places = [OBSERVATIONS.index(observation) for observation in observations]
            added = counts[:, :, places].sum(axis=2)
            micro = _ratios(added[:, 0], added[:, 1], added[:, 2], ratio_of_sums)
            for place, kind in enumerate(RATIOS):
                found[f"{self.reading}/{name}/macro/{kind}"] = mean_of_defined(single[place][:, places])
                found[f"{self.reading}/{name}/micro/{kind}"] = micro[place]
                found[f"{self.reading}/{name}/example/{kind}"] = examples[:, number * len(RATIOS) + place]
        for column, observation in enumerate(OBSERVATIONS):
            for place, kind in enumerate(RATIOS):
                found[f"{self.reading}/{observation.value}/{kind}"] = single[place][:, column]
        return found


def clinical_measures(predicted_states: Sequence[LabelStates], true_states: Sequence[LabelStates]) -> Measures:
    """The measures of N generated reports, given as label states, against the studies' true label states.

    Raises:
        DataError: no studies, different lengths, or a study that lacks one of the 14 observations.
    """
    if not true_states or len(predicted_states) != len(true_states):
        raise DataError(
            f"clinical measures need one generated report for each of at least 1 study, "
            f"got {len(predicted_states)} reports for {len(true_states)} studies"
        )
    parts = []
    for reading, uncertain_is_positive in READINGS.items():
        predicted = positive_matrix(predicted_states, uncertain_is_positive=uncertain_is_positive)
        true = positive_matrix(true_states, uncertain_is_positive=uncertain_is_positive)
        parts.append(from_expected(reading, predicted.astype(np.float64), true, _example_ratios(predicted, true)))
    return joined(*parts)


def from_expected(reading: str, predicted: Array, true: NDArray[np.bool_], example: Array) -> Measures:
    """Measures from how likely each observation is called present.

    Args:
        reading: name of the reading of uncertain labels.
        predicted: [N, 14], probability (0 or 1 for a report) that the observation is called present.
        true: [N, 14].
        example: [N, 6], each study's own ratios, expected: precision, recall, F1 of each observation set.
    """
    columns = [predicted * true, predicted * ~true, (1 - predicted) * true, example, np.ones((len(true), 1))]
    return Measures(np.concatenate(columns, axis=1), _Layout(reading).from_sums, {})


def _example_ratios(predicted: NDArray[np.bool_], true: NDArray[np.bool_]) -> Array:
    """[N, 6]: each study's own precision, recall and F1, over each observation set."""
    return np.concatenate([np.stack(example_ratios(predicted, true, name), axis=1) for name in OBSERVATION_SETS], 1)


def example_ratios(predicted: NDArray[np.bool_], true: NDArray[np.bool_], observation_set: str) -> tuple[Array, ...]:
    """Precision, recall and F1 over the observations of each study: three arrays of the leading shape of [..., 14]."""
    places = [OBSERVATIONS.index(observation) for observation in OBSERVATION_SETS[observation_set]]
    called, present = predicted[..., places], true[..., places]
    hits = (called & present).sum(axis=-1)
    return _ratios(hits, called.sum(axis=-1) - hits, present.sum(axis=-1) - hits, ratio)


def _ratios(
    true_positives: Array, false_positives: Array, false_negatives: Array, quotient: Callable[[Array, Array], Array]
) -> tuple[Array, Array, Array]:
    return (
        quotient(true_positives, true_positives + false_positives),
        quotient(true_positives, true_positives + false_negatives),
        quotient(2 * true_positives, 2 * true_positives + false_positives + false_negatives),
    )
