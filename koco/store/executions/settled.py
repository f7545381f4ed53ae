"""Executions that have ended, as they were read before: nothing changes them any more.

Lists mostly show these. A row is read and decoded once, and then found by its id.
"""

from collections.abc import Iterator, Sequence

from koco.events.model import Status
from koco.store.engine.protocol import Connection
from koco.store.executions.rows import EXECUTIONS, fetch_all
from koco.store.model import Execution
from koco.store.sql import pages

#: How many are kept, and the largest of them (bytes of text): a few megabytes in all.
MOST, LARGEST_BYTES = 1000, 4096
#: The keys that calls of durable flows gave. A resumed parent may take them back.
_OF_CHILDREN = "child:"


class Settled:
    """Reads executions by their ids, and keeps those that have ended. Threads may share it."""

    def __init__(self) -> None:
        self._kept: dict[int, tuple[Execution, int]] = {}

    def read(self, db: Connection, ids: Sequence[int]) -> Iterator[tuple[Execution, int]]:
        """Yield executions with their sizes (see `pages.size`), highest id first.

        The ids must be in that order, and from the store: a deleted execution may still be kept.
        """
        known = {number: found for number in ids if (found := self._kept.get(number))}
        rows = fetch_all(db, [number for number in ids if number not in known])
        row = next(rows, None)
        for number in ids:
            if (found := known.get(number)) is not None:
                yield found
            elif row is not None and row[0] == number:
                yield self._keep(EXECUTIONS.read(row), pages.size(row))
                row = next(rows, None)

    def _keep(self, execution: Execution, size: int) -> tuple[Execution, int]:
        if is_settled(execution) and size <= LARGEST_BYTES:
            if len(self._kept) >= MOST:
                self._kept = {}  # not one by one: the most recent ones are read again soon
            self._kept[execution.id] = (execution, size)
        return execution, size


def is_settled(execution: Execution) -> bool:
    """Whether an execution stays as it is, until it is deleted."""
    if execution.status not in _FINAL:
        return False
    return execution.key is None or not execution.key.startswith(_OF_CHILDREN)


_FINAL = frozenset(each for each in Status if each.is_final)
