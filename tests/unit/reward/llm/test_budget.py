import asyncio

import pytest

from orapo.errors import RunPaused, SettingError
from orapo.reward.llm.limits import Budget, BudgetSpent


def test_stops_before_the_call_that_could_exceed_it() -> None:
    async def run() -> Budget:
        budget = Budget(1.0)
        for _ in range(3):
            budget.settle(await budget.reserve(0.3), 0.3)
        with pytest.raises(BudgetSpent) as raised:
            await budget.reserve(0.11)
        assert str(raised.value) == (
            "judge: spent 0.9000 US dollars, the next call may cost 0.1100 and max_cost is 1; "
            "to go on, resume the run with a higher reward.max_cost"
        )
        assert isinstance(raised.value, RunPaused)
        budget.settle(await budget.reserve(0.1), 0.05)  # a smaller one still fits, to the cent
        return budget

    assert asyncio.run(run()).spent_usd == pytest.approx(0.95)


def test_calls_under_way_count_and_are_waited_for() -> None:
    async def run() -> None:
        budget = Budget(1.0)
        first, second = await budget.reserve(0.5), await budget.reserve(0.5)
        third = asyncio.create_task(budget.reserve(0.4))
        await asyncio.sleep(0.01)
        assert not third.done()
        budget.settle(first, 0.05)
        await asyncio.sleep(0.01)
        assert third.done()
        fourth = asyncio.create_task(budget.reserve(0.4))
        budget.settle(second, 0.5)
        budget.settle(await third, 0.4)
        with pytest.raises(BudgetSpent, match=r"spent 0\.9500"):
            await fourth

    asyncio.run(run())


def test_no_limit_adds_up() -> None:
    async def run() -> float:
        budget = Budget()
        for _ in range(10):
            budget.settle(await budget.reserve(1e9), 0.1)
        return budget.spent_usd

    assert asyncio.run(run()) == pytest.approx(1.0)


def test_goes_on_from_a_checkpoint() -> None:
    async def run() -> None:
        before = Budget(1.0)
        before.settle(await before.reserve(0.8), 0.8)
        after = Budget(1.0)
        after.load_state_dict(before.state_dict())
        with pytest.raises(BudgetSpent, match=r"spent 0\.8000"):
            await after.reserve(0.3)

    asyncio.run(run())


@pytest.mark.parametrize("limit", [0, -1.0, float("nan"), True])
def test_limit_out_of_range(limit: float) -> None:
    with pytest.raises(SettingError, match=r"^max_cost_usd is"):
        Budget(limit)
