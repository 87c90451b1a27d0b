"""Clinical efficacy: precision, recall and F1 of the observations that generated reports call present.

A report counts as calling an observation present when its label state is positive (or also uncertain, if asked for);
negative and unmentioned don't count. This is the examiner's rule and shares no code with the training reward.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orapo.chexpert import OBSERVATIONS, LabelStates, Observation, positive_observations
from orapo.errors import DataError
from orapo.measures.ratios import UNDEFINED_RATIO, ratio


@dataclass(frozen=True, slots=True)
class PrecisionRecallF1:
    """Three ratios in [0, 1]; undefined ones are ``UNDEFINED_RATIO``."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, slots=True)
class ObservationScores:
    """Counts over studies of one observation, and the ratios that follow from them.

    Attributes:
        true_positives: present and called present.
        false_positives: absent and called present.
        false_negatives: present and not called present.
        support: studies in which it is present, ``true_positives + false_negatives``.
        precision: in [0, 1].
        recall: in [0, 1].
        f1: in [0, 1].
    """

    true_positives: int
    false_positives: int
    false_negatives: int
    support: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, slots=True)
class ClinicalScores:
    """Held-out clinical scores of one system on N studies.

    Attributes:
        macro: unweighted mean over the 14 observations; its F1 is the mean of the 14 F1 values, not the F1 of the
            mean precision and mean recall.
        micro: from the counts of all 14 observations added up.
        per_observation: in the order of ``OBSERVATIONS``.
        num_studies: N.
        uncertain_is_positive: the mapping used, for the generated and the true label states alike.
    """

    macro: PrecisionRecallF1
    micro: PrecisionRecallF1
    per_observation: Mapping[Observation, ObservationScores]
    num_studies: int
    uncertain_is_positive: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and strings for summary.json, with observations under their CheXpert names."""
        return {
            "num_studies": self.num_studies,
            "uncertain_is_positive": self.uncertain_is_positive,
            "undefined_ratio": UNDEFINED_RATIO,
            "macro": asdict(self.macro),
            "micro": asdict(self.micro),
            "per_observation": {
                observation.value: asdict(scores) for observation, scores in self.per_observation.items()
            },
        }


def positive_matrix(states: Sequence[LabelStates], *, uncertain_is_positive: bool) -> NDArray[np.bool_]:
    """[N, 14], True where the observation counts as present; columns in the order of ``OBSERVATIONS``.

    Raises:
        DataError: a study lacks one of the 14 observations.
    """
    rows = [positive_observations(labels, uncertain_is_positive=uncertain_is_positive) for labels in states]
    matrix = [[observation in present for observation in OBSERVATIONS] for present in rows]
    return np.array(matrix, dtype=np.bool_).reshape(len(rows), len(OBSERVATIONS))


def clinical_scores(
    predicted_states: Sequence[LabelStates],
    true_states: Sequence[LabelStates],
    *,
    uncertain_is_positive: bool = False,
) -> ClinicalScores:
    """Scores N generated reports, given as label states, against the studies' true label states.

    Args:
        predicted_states: of the generated reports, length N.
        true_states: of the same studies in the same order, length N.
        uncertain_is_positive: whether uncertain counts as present, on both sides.

    Raises:
        DataError: no studies, different lengths, or a study that lacks one of the 14 observations.
    """
    if not true_states or len(predicted_states) != len(true_states):
        raise DataError(
            f"clinical scores need one generated report for each of at least 1 study, "
            f"got {len(predicted_states)} reports for {len(true_states)} studies"
        )
    predicted = positive_matrix(predicted_states, uncertain_is_positive=uncertain_is_positive)
    true = positive_matrix(true_states, uncertain_is_positive=uncertain_is_positive)
    true_positives = np.sum(predicted & true, axis=0)
    false_positives = np.sum(predicted & ~true, axis=0)
    false_negatives = np.sum(~predicted & true, axis=0)
    per_observation = {
        observation: _observation_scores(int(tp), int(fp), int(fn))
        for observation, tp, fp, fn in zip(OBSERVATIONS, true_positives, false_positives, false_negatives, strict=True)
    }
    return ClinicalScores(
        macro=_mean_scores(per_observation),
        micro=precision_recall_f1(int(true_positives.sum()), int(false_positives.sum()), int(false_negatives.sum())),
        per_observation=per_observation,
        num_studies=len(true_states),
        uncertain_is_positive=uncertain_is_positive,
    )


def precision_recall_f1(true_positives: int, false_positives: int, false_negatives: int) -> PrecisionRecallF1:
    """The three ratios of one table of counts; F1 = 2 TP / (2 TP + FP + FN), defined even where precision isn't."""
    numerators = np.array([true_positives, true_positives, 2 * true_positives])
    errors = np.array([false_positives, false_negatives, false_positives + false_negatives])
    precision, recall, f1 = ratio(numerators, numerators + errors).tolist()
    return PrecisionRecallF1(precision=precision, recall=recall, f1=f1)


def _observation_scores(true_positives: int, false_positives: int, false_negatives: int) -> ObservationScores:
    ratios = precision_recall_f1(true_positives, false_positives, false_negatives)
    return ObservationScores(
        true_positives=true_positives,
        false_positives=false_positives,
        false_negatives=false_negatives,
        support=true_positives + false_negatives,
        precision=ratios.precision,
        recall=ratios.recall,
        f1=ratios.f1,
    )


def _mean_scores(per_observation: Mapping[Observation, ObservationScores]) -> PrecisionRecallF1:
    rows = np.array([[scores.precision, scores.recall, scores.f1] for scores in per_observation.values()])
    # Over contiguous rows, as the resampled scores are summed: the two agree to the last bit.
    precision, recall, f1 = np.ascontiguousarray(rows.T).mean(axis=1).tolist()
    return PrecisionRecallF1(precision=precision, recall=recall, f1=f1)
