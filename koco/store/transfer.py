"""Copy a store into another one, whichever engines they have."""

import asyncio
from collections.abc import Callable

from koco.errors import ConflictError
from koco.store.engine import rows
from koco.store.engine.protocol import Connection, Engine


async def between(source: Engine, target: Engine) -> dict[str, int]:
    """Open two stores that no control plane has open, and copy the one into the other.

    Raises:
        ConflictError: a control plane has one of them open. For others see `copy`.
    """
    await source.open()
    try:
        await target.open()
        try:
            return await copy(source, target)
        finally:
            await target.close()
    finally:
        await source.close()


async def copy(source: Engine, target: Engine) -> dict[str, int]:
    """Copy a store into an empty one, and compare all rows; return their numbers by table.

    It is one transaction: if it fails, or is interrupted, the target is still empty.

    Raises:
        ConflictError: the target is not empty.
        StoreError: a row could not be copied, or is not the same there.
    """
    loop = asyncio.get_running_loop()

    def change_with(ours: Connection) -> Callable[[Connection], dict[str, int]]:
        def change(theirs: Connection) -> dict[str, int]:
            if not rows.is_empty(theirs):
                raise ConflictError(
                    f"{target.location} is not empty",
                    hint="a store is copied into a file or a database that has none yet",
                )
            rows.copy_all(ours, theirs)
            return rows.compare(ours, theirs)

        return change

    def look(ours: Connection) -> dict[str, int]:
        # This thread waits for the writer's, which reads with this connection.
        written = target.write(change_with(ours))
        return asyncio.run_coroutine_threadsafe(written, loop).result()

    return await source.scan(look, apart=True)
