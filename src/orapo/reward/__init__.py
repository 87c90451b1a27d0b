"""What a generated report is worth, and why."""

from orapo.reward.accuracy import AccuracyReward
from orapo.reward.entailment import OfflineJudge
from orapo.reward.fact_score import FactScoreReward
from orapo.reward.protocol import Judge, Judged, Reward

__all__ = ["AccuracyReward", "FactScoreReward", "Judge", "Judged", "OfflineJudge", "Reward"]
