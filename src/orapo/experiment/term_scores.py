"""What terms of a reward say of test reports, whatever the run was paid for: columns beside the examiner's."""

from collections.abc import Mapping, Sequence

from orapo.evaluation.examiner import Scorer
from orapo.records import RewardBreakdown, Study
from orapo.reward.weighted import WeightedReward

TERMS = ("facts", "accuracy", "length", "no_repetition")
"""Those that cost nothing and that the examiner does not measure under a name of its own."""


def term_scorer(*, uncertain_is_positive: bool) -> Scorer:
    """Scores by ``TERMS`` with the settings of reward=fact_score: ``reward_facts`` and the like, in [0, 1]."""
    reward = WeightedReward(dict.fromkeys(TERMS, 1.0), uncertain_is_positive=uncertain_is_positive)

    def score(reports: Sequence[str], studies: Sequence[Study]) -> list[Mapping[str, float]]:
        judged = reward.start(reports, studies).result()
        rows = [one.terms if isinstance(one, RewardBreakdown) else {} for one in judged]
        return [{f"reward_{name}": value for name, value in row.items() if value is not None} for row in rows]

    return score
