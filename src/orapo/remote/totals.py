"""Totals of the calls to a service."""

from collections import Counter
from dataclasses import dataclass, field, fields


@dataclass(slots=True)
class CallTotals:
    """Totals since a client was made.

    Attributes:
        calls: requests sent, with or without an answer.
        cache_hits: questions answered without a call, by an earlier run or one under way.
        duplicates: items given more than once in one batch.
        retries: further tries by what went wrong before ("rate limited", "unavailable", "refused", "invalid answer").
        seconds_waited: time that callers spent waiting for results.
    """

    calls: int = 0
    cache_hits: int = 0
    duplicates: int = 0
    retries: Counter[str] = field(default_factory=Counter)
    seconds_waited: float = 0.0

    def numbers(self) -> dict[str, float]:
        """All totals by name; retries of all kinds are summed."""
        totals = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: float(total.total() if isinstance(total, Counter) else total) for name, total in totals.items()}
