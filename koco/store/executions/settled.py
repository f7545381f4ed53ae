"""Executions that have ended, as they were read before: nothing changes them any more.

Lists mostly show these. A row is read and decoded once, and then found by its id.
"""

from koco.events.model import Status
from koco.store.engine.protocol import Connection
from koco.store.executions.rows import EXECUTIONS, fetch
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

    def read(self, db: Connection, number: int) -> tuple[Execution, int] | None:
        """Return an execution and its size (see `pages.size`), or None if it was deleted.

        The id must be from the store: of a deleted execution, it may still be kept.
        """
        if (known := self._kept.get(number)) is not None:
            return known
        row = fetch(db, number)
        if row is None:
            return None
        found = EXECUTIONS.read(row), pages.size(row)
        if is_settled(found[0]) and found[1] <= LARGEST_BYTES:
            if len(self._kept) >= MOST:
                self._kept = {}  # not one by one: the most recent ones are read again soon
            self._kept[number] = found
        return found


def is_settled(execution: Execution) -> bool:
    """Whether an execution stays as it is, until it is deleted."""
    if execution.status not in _FINAL:
        return False
    return execution.key is None or not execution.key.startswith(_OF_CHILDREN)


_FINAL = frozenset(each for each in Status if each.is_final)
