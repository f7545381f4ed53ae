"""Run a test with a store of each engine."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.stores import (
    KINDS,
    Check,
    opened,
)


@pytest.fixture(params=sorted(KINDS))
def check(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Check], None]:
    """Run a coroutine with an empty store of each kind."""

    def run(body: Check) -> None:
        async def main() -> None:
            async with opened(request.param, tmp_path) as store:
                await body(store)

        asyncio.run(main())

    return run
