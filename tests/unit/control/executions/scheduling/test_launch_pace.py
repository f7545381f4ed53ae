"""So many begin in a second, those of each holder in turn."""

import asyncio
import time
from collections import Counter

from koco.control.executions.scheduling.launch_pace import Pace


def test_many_schedules_of_one_service_delay_only_its_own() -> None:
    """A hundred of one wait, and another service's first is among the next."""

    async def scenario() -> None:
        pace, begun = Pace(lambda: 100.0), []

        async def one(holder: str) -> None:
            await pace.turn(holder)
            begun.append(holder)

        many = [asyncio.create_task(one("ada")) for _ in range(100)]
        await asyncio.sleep(0)
        await one("bob")
        assert Counter(begun)["ada"] <= 12
        for task in many:
            task.cancel()
        await asyncio.gather(*many, return_exceptions=True)
        await one("cleo")

    asyncio.run(scenario())


def test_no_more_launches_begin_than_the_rate_allows() -> None:
    """Nor fewer: the rest of a pause is not lost."""

    async def scenario() -> None:
        pace, began = Pace(lambda: 50.0), time.monotonic()
        await asyncio.gather(*(pace.turn("ada") for _ in range(25)))
        assert 0.4 < time.monotonic() - began < 50

    asyncio.run(scenario())
