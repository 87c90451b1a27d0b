"""What may be spent on calls: checked before each call, so that the limit is never passed by one that was admitted."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import PositiveFloat

from orapo.errors import RunPaused
from orapo.settings import checked


class BudgetSpent(RunPaused):
    """The next call could exceed the budget."""


@dataclass(slots=True)
class Reservation:
    """US dollars set aside for one call."""

    usd: float


class Budget:
    """US dollars that may be spent; every call reserves its estimate first and pays its real cost afterwards.

    Where only calls under way stand between the next call and the limit, it waits for them: they usually cost less than
    was set aside.

    Args:
        max_cost_usd: above 0; None is no limit, and then it only adds up.

    Raises:
        SettingError: ``max_cost_usd`` out of range.
    """

    @checked
    def __init__(self, max_cost_usd: PositiveFloat | None = None) -> None:
        self.max_cost_usd = max_cost_usd
        self.spent_usd = 0.0
        self._reserved_usd = 0.0
        self._calls_under_way = 0
        self._settled = asyncio.Event()

    async def reserve(self, estimate_usd: float) -> Reservation:
        """Sets ``estimate_usd`` aside.

        Raises:
            BudgetSpent: there's too little left.
        """
        while not self._fits(estimate_usd):
            if not self._calls_under_way:
                raise BudgetSpent(
                    f"judge: spent {self.spent_usd:.4f} US dollars, the next call may cost {estimate_usd:.4f} and "
                    f"max_cost is {self.max_cost_usd:g}; to go on, resume the run with a higher reward.max_cost"
                )
            await self._settled.wait()
        self._reserved_usd += estimate_usd
        self._calls_under_way += 1
        return Reservation(estimate_usd)

    def settle(self, reservation: Reservation, cost_usd: float) -> None:
        """Pays what the call cost in the end; what else was set aside is free again."""
        self.spent_usd += cost_usd
        self._calls_under_way -= 1
        # Sums of floats drift: with nothing under way, nothing is set aside.
        self._reserved_usd = self._reserved_usd - reservation.usd if self._calls_under_way else 0.0
        self._settled.set()
        self._settled = asyncio.Event()

    def state_dict(self) -> dict[str, float]:
        """What was spent, for a checkpoint."""
        return {"spent_usd": self.spent_usd}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Goes on from a checkpoint."""
        self.spent_usd = float(state["spent_usd"])

    def _fits(self, estimate_usd: float) -> bool:
        if self.max_cost_usd is None:
            return True
        return self.spent_usd + self._reserved_usd + estimate_usd <= self.max_cost_usd + 1e-12
