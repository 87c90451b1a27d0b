"""Clinical efficacy: precision, recall and F1 of the observations that generated reports call present.

A report calls an observation present when its label state is positive (or also uncertain, in the lenient reading);
negative and unmentioned don't count. This is the examiner's rule and shares no code with the training reward.

Every ratio in both readings of uncertain labels, over all 14 observations and over the five of the CheXpert
competition, in three averages: macro (mean of the observations' ratios), micro (ratios of the added counts) and example
(mean of the studies' own ratios). Names are "<reading>/<set>/<average>/<ratio>" and "<reading>/<observation>/<ratio>".
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from orapo.chexpert import COMPETITION_OBSERVATIONS, OBSERVATIONS, LabelStates, Observation, positive_observations
from orapo.errors import DataError
from orapo.evaluation.resampling import Array, Measures, joined, mean_of_defined, ratio_of_sums
from orapo.measures.ratios import ratio

READINGS: Mapping[str, bool] = {"uncertain_not_positive": False, "uncertain_positive": True}
"""Name of a reading to ``uncertain_is_positive``."""


def reading_of(uncertain_is_positive: bool) -> str:
    """The name of how a config counts uncertain labels."""
    return next(name for name, is_lenient in READINGS.items() if is_lenient == uncertain_is_positive)


OBSERVATION_SETS: Mapping[str, tuple[Observation, ...]] = {
    "all_14": OBSERVATIONS,
    "competition_5": COMPETITION_OBSERVATIONS,
}
AVERAGES = ("macro", "micro", "example")
RATIOS = ("precision", "recall", "f1")
COUNTED = ("support", "true_positives", "false_positives", "false_negatives")
"""Of each observation, beside its ratios."""


def _from_sums(reading: str, sums: Array) -> dict[str, Array]:
    """Column sums [R, C] to ratios [R], as ``Measures`` has them.

    The columns: TP, FP and FN of 14 observations, the example ratios of each set, and 1 a study.
    """
    counts = sums[:, : 3 * len(OBSERVATIONS)].reshape(len(sums), 3, len(OBSERVATIONS))
    examples = sums[:, 3 * len(OBSERVATIONS) : -1] / sums[:, -1:]
    single = _ratios(counts[:, 0], counts[:, 1], counts[:, 2], ratio_of_sums)
    found: dict[str, Array] = {}
    for number, (name, observations) in enumerate(OBSERVATION_SETS.items()):
        places = [OBSERVATIONS.index(observation) for observation in observations]
        added = counts[:, :, places].sum(axis=2)
        micro = _ratios(added[:, 0], added[:, 1], added[:, 2], ratio_of_sums)
        for place, kind in enumerate(RATIOS):
            found[f"{reading}/{name}/macro/{kind}"] = mean_of_defined(single[place][:, places])
            found[f"{reading}/{name}/micro/{kind}"] = micro[place]
            found[f"{reading}/{name}/example/{kind}"] = examples[:, number * len(RATIOS) + place]
    for column, observation in enumerate(OBSERVATIONS):
        for place, kind in enumerate(RATIOS):
            found[f"{reading}/{observation.value}/{kind}"] = single[place][:, column]
    return found


def positive_matrix(states: Sequence[LabelStates], *, uncertain_is_positive: bool) -> NDArray[np.bool_]:
    """[N, 14], True where the observation counts as present; columns in the order of ``OBSERVATIONS``.

    Raises:
        DataError: a study lacks one of the 14 observations.
    """
    rows = [positive_observations(labels, uncertain_is_positive=uncertain_is_positive) for labels in states]
    matrix = [[observation in present for observation in OBSERVATIONS] for present in rows]
    return np.array(matrix, dtype=np.bool_).reshape(len(rows), len(OBSERVATIONS))


def clinical_measures(
    predicted_states: Sequence[LabelStates],
    true_states: Sequence[LabelStates],
    readings: Collection[str] = tuple(READINGS),
    prefix: str = "",
) -> Measures:
    """The measures of N generated reports, given as label states, against the studies' true label states.

    Args:
        predicted_states: of the generated reports, length N.
        true_states: of the same studies in the same order, at least 1.
        readings: of uncertain labels, by the keys of ``READINGS``.
        prefix: before every name.

    Raises:
        DataError: no studies, different lengths, or a study that lacks one of the 14 observations.
    """
    parts = []
    for reading in readings:
        predicted, true = _matrices(predicted_states, true_states, reading)
        called = predicted.astype(np.float64)
        parts.append(from_expected(f"{prefix}{reading}", called, true, example_ratios(predicted, true).T))
    return joined(*parts)


def observation_counts(predicted_states: Sequence[LabelStates], true_states: Sequence[LabelStates]) -> dict[str, float]:
    """``COUNTED`` of every observation in both readings, named "<reading>/<observation>/<count>".

    Raises:
        DataError: as ``clinical_measures``.
    """
    counts: dict[str, float] = {}
    for reading in READINGS:
        predicted, true = _matrices(predicted_states, true_states, reading)
        counted = (true, predicted & true, predicted & ~true, ~predicted & true)
        for column, observation in enumerate(OBSERVATIONS):
            for name, matrix in zip(COUNTED, counted, strict=True):
                counts[f"{reading}/{observation.value}/{name}"] = int(matrix[:, column].sum())
    return counts


def _matrices(
    predicted_states: Sequence[LabelStates], true_states: Sequence[LabelStates], reading: str
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    if not true_states or len(predicted_states) != len(true_states):
        raise DataError(
            f"clinical measures need one generated report for each of at least 1 study, "
            f"got {len(predicted_states)} reports for {len(true_states)} studies"
        )
    is_lenient = READINGS[reading]
    predicted = positive_matrix(predicted_states, uncertain_is_positive=is_lenient)
    return predicted, positive_matrix(true_states, uncertain_is_positive=is_lenient)


def from_expected(reading: str, predicted: Array, true: NDArray[np.bool_], example: Array) -> Measures:
    """Measures from the probability that each observation is called present.

    Args:
        reading: name of the reading of uncertain labels.
        predicted: [N, 14], probability (0 or 1 for a report) that the observation is called present.
        true: [N, 14].
        example: [N, 6], each study's own ratios, expected: precision, recall, F1 of each observation set.
    """
    columns = [predicted * true, predicted * ~true, (1 - predicted) * true, example, np.ones((len(true), 1))]
    return Measures(np.concatenate(columns, axis=1), partial(_from_sums, reading), {})


def example_ratios(predicted: NDArray[np.bool_], true: NDArray[np.bool_]) -> Array:
    """[6, ...]: each study's own precision, recall and F1 over each observation set; of label sets [..., 14]."""
    found: list[Array] = []
    for observations in OBSERVATION_SETS.values():
        places = [OBSERVATIONS.index(observation) for observation in observations]
        called, present = predicted[..., places], true[..., places]
        hits = (called & present).sum(axis=-1)
        found += _ratios(hits, called.sum(axis=-1) - hits, present.sum(axis=-1) - hits, ratio)
    return np.stack(found)


def _ratios(
    true_positives: Array, false_positives: Array, false_negatives: Array, quotient: Callable[[Array, Array], Array]
) -> tuple[Array, Array, Array]:
    return (
        quotient(true_positives, true_positives + false_positives),
        quotient(true_positives, true_positives + false_negatives),
        quotient(2 * true_positives, 2 * true_positives + false_positives + false_negatives),
    )
