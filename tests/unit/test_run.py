"""One call of an entrypoint, as a runner makes it."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from koco import testing
from koco.events.model import Status
from koco.runner.flow import Outcome, Run, loaded
from koco.runner.output import Output

called: list[str] = []


def plain() -> None:
    called.append("plain")


async def awaited() -> None:
    called.append("awaited")


async def ended(entrypoint: Callable[..., Any], *, cancelled: bool) -> Outcome:
    run = Run(
        loaded("test", entrypoint, None),
        {},
        tracer=testing.Tracer(),
        output=Output(lambda kind, text: None),
        loop=asyncio.get_running_loop(),
    )
    if cancelled:
        run.cancel()
    return await run.outcome()


@pytest.mark.parametrize("entrypoint", [plain, awaited])
def test_what_is_cancelled_before_it_begins_never_begins(entrypoint: Callable[..., Any]) -> None:
    """A request that comes while `running` is being committed is heard, by `def` flows as well."""
    called.clear()
    assert asyncio.run(ended(entrypoint, cancelled=True)) == Outcome(Status.CANCELLED)
    assert called == []
    assert asyncio.run(ended(entrypoint, cancelled=False)).status is Status.FINISHED
    assert called == [entrypoint.__name__]
