"""Snapshots: an execution together with its outcome and its open locks, all of one moment."""

from typing import Any

import msgspec

from koco.events import line
from koco.store import locks
from koco.store.engine.protocol import Connection
from koco.store.executions.repository import get
from koco.store.model import Chunk, Execution, Lock
from koco.store.sql.repository import Repository
from koco.store.stream import events

#: The most open locks in a snapshot.
_LOCKS = 1000


class Snapshot(msgspec.Struct, frozen=True):
    """An execution at one moment."""

    execution: Execution
    #: The batch with its outcome; None if it has none, or if it was not asked for.
    outcome: Chunk | None
    #: Its open locks, oldest first; empty if they were not asked for.
    locks: list[Lock]

    @property
    def outcome_line(self) -> bytes | None:
        """The event that is the outcome; None if there is none."""
        seq = self.execution.outcome_seq
        if self.outcome is None or seq is None:
            return None
        return dict(line.number_lines(self.outcome.first, self.outcome.body))[seq]

    @property
    def payload(self) -> Any:
        """The outcome's payload: the result, or the error; None if there is no outcome."""
        text = self.outcome_line
        return None if text is None else line.decode(0, text).get("payload")


class Snapshots(Repository):
    """Snapshots of executions."""

    async def get(self, fid: str, *, outcome: bool, locks: bool) -> Snapshot:
        """Return a snapshot of an execution, by its whole fid, with the parts that are asked for.

        It has a thousand open locks at most, fewer if they are large.

        Raises:
            NotFoundError: there is no such execution.
        """
        return await self._read(lambda db: _take(db, fid, outcome, locks), snapshot=True)


def _take(db: Connection, fid: str, with_outcome: bool, with_locks: bool) -> Snapshot:
    execution = get(db, fid)
    chunk = None
    if with_outcome and (seq := execution.outcome_seq) is not None:
        [chunk] = events.after(db, execution.id, seq - 1, 1)
    is_open = locks.open_ones(db, execution.id, limit=_LOCKS) if with_locks else []
    return Snapshot(execution, chunk, is_open)
