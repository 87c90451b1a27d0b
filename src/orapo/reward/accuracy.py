"""The 'accuracy' reward of the ablation: everything right or nothing."""

from collections.abc import Sequence
from dataclasses import replace

from orapo.chexpert import LabelStates, positive_observations
from orapo.records import RewardBreakdown
from orapo.reward.entailment import OfflineJudge
from orapo.reward.fact_score import breakdown, check_lengths, fact_score
from orapo.reward.protocol import Judge


class AccuracyReward:
    """1 where the entailed observations are exactly the positive ones of the study, else 0.

    A report without a single fact earns 0 even where the study has no positive label: silence isn't an answer.
    Precision and recall of the breakdown are those of equation (14), as for ``FactScoreReward``.

    Args:
        judge: reads the reports; None is the offline judge.
        uncertain_is_positive: as for ``FactScoreReward``.
    """

    def __init__(self, judge: Judge | None = None, *, uncertain_is_positive: bool = False) -> None:
        self.judge = judge if judge is not None else OfflineJudge(uncertain_is_positive=uncertain_is_positive)
        self.uncertain_is_positive = uncertain_is_positive

    def score(self, reports: Sequence[str], labels: Sequence[LabelStates]) -> list[RewardBreakdown]:
        """The exact-match reward of each report against the label states of its study.

        Raises:
            DataError: the lengths differ, or a study lacks one of the 14 observations.
        """
        check_lengths(reports, labels)
        breakdowns = []
        for judged, truth in zip(self.judge.judge(reports), labels, strict=True):
            present = positive_observations(truth, uncertain_is_positive=self.uncertain_is_positive)
            score = fact_score(judged.verdicts, present, f_beta=1.0)
            # A present finding that is contradicted is a false negative too, so one of the two sets shows any error.
            is_exact = bool(judged.facts) and not score.false_positives and not score.false_negatives
            breakdowns.append(breakdown(judged, replace(score, total=float(is_exact))))
        return breakdowns
