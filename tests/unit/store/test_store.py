"""The store as a whole."""

import asyncio
from pathlib import Path

import pytest

from koco.store.model import (
    Execution,
)
from tests.support.stores import (
    KINDS,
    batch,
    begun,
    events,
    opened,
)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_keeps_everything_when_it_is_reopened(kind: str, tmp_path: Path) -> None:
    """Executions, events and secrets survive."""

    async def write() -> tuple[Execution, bytes]:
        async with opened(kind, tmp_path) as store:
            execution = await begun(store)
            await store.events.append([batch(execution.fid, 1, "kept")])
            return execution, await store.secrets.own("s")

    async def read(execution: Execution, secret: bytes) -> None:
        async with opened(kind, tmp_path) as store:
            stream = await events(store, execution)
            assert stream[-1]["payload"] == "kept"
            assert await store.secrets.own("s") == secret
            assert [e.fid for e in await store.executions.all_open()] == [execution.fid]

    asyncio.run(read(*asyncio.run(write())))
