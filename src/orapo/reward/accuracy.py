"""The 'accuracy' reward of the ablation: everything right or nothing."""

from collections.abc import Sequence
from dataclasses import replace

from orapo.chexpert import LabelStates, positive_observations
from orapo.records import RewardBreakdown
from orapo.reward.entailment import OfflineJudge
from orapo.reward.fact_score import breakdown, fact_score
from orapo.reward.judging import RewardsToCome, check_lengths, rewards_only
from orapo.reward.protocol import Judge, Judged
from orapo.settings import checked


class AccuracyReward:
    """1 where the entailed observations are exactly the positive ones of the study, else 0.

    A report without a single fact earns 0 even where the study has no positive label: silence isn't an answer.
    Precision and recall of the breakdown are those of equation (14), as for ``FactScoreReward``.

    Args:
        judge: reads the reports; None is the offline judge.
        uncertain_is_positive: as for ``FactScoreReward``.
    """

    @checked
    def __init__(self, judge: Judge | None = None, *, uncertain_is_positive: bool = False) -> None:
        self.judge = judge if judge is not None else OfflineJudge(uncertain_is_positive=uncertain_is_positive)
        self.uncertain_is_positive = uncertain_is_positive

    def start(self, reports: Sequence[str], labels: Sequence[LabelStates]) -> RewardsToCome:
        """Begins to judge each report against the label states of its study.

        Raises:
            DataError: the lengths differ.
        """
        check_lengths(reports, labels)
        return RewardsToCome(self.judge.start(reports), tuple(labels), self._reward)

    def score(self, reports: Sequence[str], labels: Sequence[LabelStates]) -> list[RewardBreakdown]:
        """The exact-match reward of each report against the label states of its study.

        Raises:
            DataError: the lengths differ, a study lacks one of the 14 observations, or a report can't be judged.
        """
        return rewards_only(self.start(reports, labels).result())

    def _reward(self, judged: Judged, truth: LabelStates) -> RewardBreakdown:
        present = positive_observations(truth, uncertain_is_positive=self.uncertain_is_positive)
        score = fact_score(judged.verdicts, present, f_beta=1.0)
        # A present finding that is contradicted is a false negative too, so one of the two sets shows any error.
        is_exact = bool(judged.facts) and not score.false_positives and not score.false_negatives
        return breakdown(judged, replace(score, total=float(is_exact)))
