"""What judging took, added up."""

from collections import Counter
from dataclasses import dataclass, field, fields


@dataclass(slots=True)
class Usage:
    """Totals since the judge was made.

    Attributes:
        calls: requests sent to providers, with or without an answer.
        paid_calls: those that gave a valid answer, each to a different question.
        cache_hits: questions answered without a call, by an earlier run or one under way.
        duplicates: reports that were handed over more than once in one batch.
        retries: further tries by what went wrong before ("rate limited", "unavailable", "refused", "invalid answer").
        prompt_tokens: of all answers, valid or not.
        completion_tokens: of all answers, valid or not.
        cost_usd: US dollars, timeouts at their estimate.
        seconds_waited: time that callers spent waiting for results.
        offline_reports: reports that the offline judge read in the model's stead.
        dropped_reports: reports without a judgement.
    """

    calls: int = 0
    paid_calls: int = 0
    cache_hits: int = 0
    duplicates: int = 0
    retries: Counter[str] = field(default_factory=Counter)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0
    seconds_waited: float = 0.0
    offline_reports: int = 0
    dropped_reports: int = 0

    def numbers(self) -> dict[str, float]:
        """All totals as numbers, by name; the retries in one."""
        totals = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: float(sum(v.values()) if isinstance(v, Counter) else v) for name, v in totals.items()}
