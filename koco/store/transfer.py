"""Copy a store into another one, whichever engines they have."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from koco.errors import ConflictError
from koco.store.engine import rows
from koco.store.engine.protocol import Connection, Engine

T = TypeVar("T")


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


async def has_rows(target: Engine) -> bool:
    """Return whether a store that no control plane has open has anything in it.

    Raises:
        ConflictError: a control plane has it open.
    """
    if not await asyncio.to_thread(target.version):
        return False
    await target.open()
    try:
        return not await target.read(rows.is_empty)
    finally:
        await target.close()


async def copy(source: Engine, target: Engine) -> dict[str, int]:
    """Copy a store into an empty one, and compare all rows; return their numbers by table.

    Each piece is a transaction. If it is interrupted, the next call goes on behind the last one.
    Until all rows have been compared, the target can only be copied into.

    Raises:
        ConflictError: the target is neither empty nor a part of a copy of this source.
        StoreError: a row could not be copied, or is not the same there.
    """
    loop = asyncio.get_running_loop()

    def look(ours: Connection) -> dict[str, int]:
        def write(change: Callable[[Connection], T]) -> T:
            # This thread waits for the writer's.
            return asyncio.run_coroutine_threadsafe(target.write(change), loop).result()

        mark = _mark(ours, source.location)
        position = write(lambda theirs: _begin(theirs, mark, target.location))
        for piece in rows.pieces(ours, position):
            write(_adding(piece))
        return write(lambda theirs: _end(ours, theirs))

    return await source.scan(look, apart=True)


def is_part(db: Connection) -> bool:
    """Whether a store has only a part of what is copied into it."""
    return rows.state(db) is not None


def _mark(ours: Connection, location: str) -> str:
    if is_part(ours):
        raise unfinished(location)
    return rows.mark(ours)


def _begin(theirs: Connection, mark: str, location: str) -> str:
    """Return the position to go on from, which is empty at the beginning."""
    if (state := rows.state(theirs)) is None:
        if not rows.is_empty(theirs):
            raise ConflictError(
                f"{location} is not empty",
                hint="name a new file or an empty database, or move what is there elsewhere",
            )
        rows.note(theirs, source=mark)
        return ""
    known, position = state
    if known != mark:
        raise ConflictError(
            f"{location} has a part of a copy of another store, or of this one before it was used"
            " again",
            hint="delete that file or empty that database, and copy from the beginning",
        )
    return position


def _adding(piece: rows.Piece) -> Callable[[Connection], None]:
    def change(theirs: Connection) -> None:
        rows.add(theirs, piece)
        rows.note(theirs, position=piece.position)

    return change


def _end(ours: Connection, theirs: Connection) -> dict[str, int]:
    rows.end(theirs)
    rows.forget(theirs)
    return rows.compare(ours, theirs)


def unfinished(location: str) -> ConflictError:
    """Return the error for a store that has only a part of what is copied into it."""
    return ConflictError(
        f"{location} has only a part of a store: `koco store copy` into it was interrupted",
        hint="the same `koco store copy` goes on with it",
    )
