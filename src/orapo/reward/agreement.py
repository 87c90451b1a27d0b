"""How far two judges agree on the same reports: verdict by verdict, and in the resulting rewards."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from orapo.chexpert import OBSERVATIONS, Observation
from orapo.errors import DataError
from orapo.records import Judgement, RewardBreakdown


@dataclass(frozen=True, slots=True)
class VerdictAgreement:
    """The agreement of two judges on one observation, over all reports.

    Attributes:
        num_reports: reports compared.
        agreement: share of reports with the same judgement, in [0, 1].
        kappa: Cohen's kappa over the three judgements, in [-1, 1]; NaN where both always say one and the same.
        first_entails: reports that the first judge calls entailed.
        second_entails: reports that the second judge calls entailed.
    """

    num_reports: int
    agreement: float
    kappa: float
    first_entails: int
    second_entails: int


@dataclass(frozen=True, slots=True)
class JudgeAgreement:
    """The agreement of two judges on the same reports.

    Attributes:
        per_observation: one entry for each of the 14.
        overall: over all observations together.
        reward_correlation: Pearson's, in [-1, 1]; NaN where one judge gives all reports the same reward.
        mean_rewards: of the first and of the second judge.
        mean_difference: mean of second minus first.
        zero_agreement: share of reports on which both say reward 0 or both say more, in [0, 1].
    """

    per_observation: dict[Observation, VerdictAgreement]
    overall: VerdictAgreement
    reward_correlation: float
    mean_rewards: tuple[float, float]
    mean_difference: float
    zero_agreement: float


def compare_judges(first: Sequence[RewardBreakdown], second: Sequence[RewardBreakdown]) -> JudgeAgreement:
    """Compares breakdowns of the same reports in the same order.

    Raises:
        DataError: there are none, or not equally many.
    """
    if not first or len(first) != len(second):
        raise DataError(f"judges can be compared on the same reports only: {len(first)} and {len(second)} are given")
    pairs = {observation: _judgements(first, second, observation) for observation in OBSERVATIONS}
    rewards = [breakdown.total for breakdown in first], [breakdown.total for breakdown in second]
    means = sum(rewards[0]) / len(first), sum(rewards[1]) / len(second)
    return JudgeAgreement(
        per_observation={observation: _verdict_agreement(of_one) for observation, of_one in pairs.items()},
        overall=_verdict_agreement([pair for of_one in pairs.values() for pair in of_one]),
        reward_correlation=pearson_correlation(*rewards),
        mean_rewards=means,
        mean_difference=means[1] - means[0],
        zero_agreement=sum((a > 0) == (b > 0) for a, b in zip(*rewards, strict=True)) / len(first),
    )


def cohens_kappa(pairs: Sequence[tuple[object, object]]) -> float:
    """Agreement beyond chance: (p_o - p_e) / (1 - p_e), with p_e from each judge's own frequencies.

    NaN for no pairs, and where chance alone explains everything (p_e = 1).
    """
    if not pairs:
        return math.nan
    total = len(pairs)
    observed = sum(a == b for a, b in pairs) / total
    of_first, of_second = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    by_chance = sum(of_first[kind] * of_second[kind] for kind in of_first) / total**2
    return math.nan if by_chance == 1.0 else (observed - by_chance) / (1.0 - by_chance)


def pearson_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Pearson's r of equally many values; NaN where one side doesn't vary."""
    mean_first, mean_second = sum(first) / len(first), sum(second) / len(second)
    covariance = sum((a - mean_first) * (b - mean_second) for a, b in zip(first, second, strict=True))
    spread = math.sqrt(sum((a - mean_first) ** 2 for a in first) * sum((b - mean_second) ** 2 for b in second))
    return covariance / spread if spread > 0 else math.nan


def _judgements(
    first: Sequence[RewardBreakdown], second: Sequence[RewardBreakdown], observation: Observation
) -> list[tuple[Judgement, Judgement]]:
    place = OBSERVATIONS.index(observation)
    return [(a.verdicts[place].judgement, b.verdicts[place].judgement) for a, b in zip(first, second, strict=True)]


def _verdict_agreement(pairs: Sequence[tuple[Judgement, Judgement]]) -> VerdictAgreement:
    return VerdictAgreement(
        num_reports=len(pairs),
        agreement=sum(a is b for a, b in pairs) / len(pairs),
        kappa=cohens_kappa(pairs),
        first_entails=sum(a is Judgement.ENTAILED for a, _ in pairs),
        second_entails=sum(b is Judgement.ENTAILED for _, b in pairs),
    )
