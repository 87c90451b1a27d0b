"""The FactS reward: F-beta of one report over the 14 observations, equations (14) and (15)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, PositiveFloat

from orapo.chexpert import LabelStates, Observation, positive_observations
from orapo.records import Judgement, LabelVerdict, RewardBreakdown
from orapo.reward.entailment import OfflineJudge
from orapo.reward.judging import RewardsToCome, check_lengths, rewards_only
from orapo.reward.protocol import Judge, Judged
from orapo.settings import checked


@dataclass(frozen=True, slots=True)
class FactScore:
    """The reward of one report and the counts behind it; ``total``, ``precision`` and ``recall`` in [0, 1]."""

    total: float
    precision: float
    recall: float
    true_positives: frozenset[Observation]
    false_positives: frozenset[Observation]
    false_negatives: frozenset[Observation]


def fact_score(
    verdicts: Sequence[LabelVerdict], present: frozenset[Observation], f_beta: float, eps: float = 1e-8
) -> FactScore:
    """Equations (14) and (15) for one report.

    With g_l = 1 where l is in ``present``::

        true positive    g_l = 1 and entailed
        false positive   g_l = 0 and entailed, or g_l = 1 and contradicted
        false negative   g_l = 1 and not entailed        (a contradicted finding counts twice)
        r = (1 + f_beta^2) P R / (f_beta^2 P + R + eps)   0 without a true positive

    Args:
        verdicts: one per observation, any order.
        present: the observations of the study that count as positive.
        f_beta: above 0; above 1 recall weighs more.
        eps: above 0, keeps (15) finite; negligible beside P and R.
    """
    entailed = {v.observation for v in verdicts if v.judgement is Judgement.ENTAILED}
    contradicted = {v.observation for v in verdicts if v.judgement is Judgement.CONTRADICTED}
    true_positives = frozenset(present & entailed)
    false_positives = frozenset((entailed - present) | (present & contradicted))
    false_negatives = frozenset(present - entailed)
    if not true_positives:
        return FactScore(0.0, 0.0, 0.0, true_positives, false_positives, false_negatives)
    precision = len(true_positives) / (len(true_positives) + len(false_positives))
    recall = len(true_positives) / len(present)
    total = (1 + f_beta**2) * precision * recall / (f_beta**2 * precision + recall + eps)
    return FactScore(total, precision, recall, true_positives, false_positives, false_negatives)


class FactScoreReward:
    """FactS with any judge: what the term ``facts`` pays, and part of every reward's breakdown.

    A study without a positive label pays nothing to any report, its own included: all its groups are all-zero.

    Args:
        judge: reads the reports; None is the offline judge.
        f_beta: beta of equation (15), above 0; the paper says above 1.
        uncertain_is_positive: whether an uncertain label of the study counts as present; for the offline judge that
            is made here, also whether an uncertain statement counts as entailed.
        eps: of equation (15), in (0, 0.001].

    Raises:
        SettingError: a value out of range.
    """

    @checked
    def __init__(
        self,
        judge: Judge | None = None,
        *,
        f_beta: PositiveFloat = 2.0,
        uncertain_is_positive: bool = False,
        eps: Annotated[float, Field(gt=0, le=1e-3)] = 1e-8,
    ) -> None:
        self.judge = judge if judge is not None else OfflineJudge(uncertain_is_positive=uncertain_is_positive)
        self.f_beta = f_beta
        self.uncertain_is_positive = uncertain_is_positive
        self.eps = eps

    def start(self, reports: Sequence[str], labels: Sequence[LabelStates]) -> RewardsToCome:
        """Starts to judge each report against the label states of its study.

        Raises:
            DataError: the lengths differ.
        """
        check_lengths(reports, labels)
        return RewardsToCome(self.judge.start(reports), tuple(labels), self._reward)

    def score(self, reports: Sequence[str], labels: Sequence[LabelStates]) -> list[RewardBreakdown]:
        """The FactS reward of each report against the label states of its study.

        Raises:
            DataError: the lengths differ, a study lacks one of the 14 observations, or a report can't be judged.
        """
        return rewards_only(self.start(reports, labels).result())

    def _reward(self, judged: Judged, truth: LabelStates) -> RewardBreakdown:
        return breakdown(judged, fact_score(judged.verdicts, self._present(truth), self.f_beta, self.eps))

    def _present(self, truth: LabelStates) -> frozenset[Observation]:
        return positive_observations(truth, uncertain_is_positive=self.uncertain_is_positive)


def breakdown(judged: Judged, score: FactScore) -> RewardBreakdown:
    """The breakdown of a reward by FactS."""
    return RewardBreakdown(
        total=score.total,
        precision=score.precision,
        recall=score.recall,
        true_positives=score.true_positives,
        false_positives=score.false_positives,
        false_negatives=score.false_negatives,
        facts=judged.facts,
        verdicts=judged.verdicts,
        rejected=judged.rejected,
        judge=judged.judge,
    )
