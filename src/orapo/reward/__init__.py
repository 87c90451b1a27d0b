"""The reward of a generated report, and its reasons."""

from orapo.reward.entailment import OfflineJudge
from orapo.reward.fact_score import FactScoreReward
from orapo.reward.protocol import Judge, Judged, Reward
from orapo.reward.weighted import WeightedReward

__all__ = ["FactScoreReward", "Judge", "Judged", "OfflineJudge", "Reward", "WeightedReward"]
