"""Find and remove what is no longer kept: ended executions, their files, old audit entries."""

from typing import NamedTuple

from koco.events.model import FINAL
from koco.store.engine.protocol import Connection
from koco.store.sql.repository import Repository

#: How many rows are looked at or removed at once.
_PIECE = 200

_FLOWS = """
WITH RECURSIVE found (flow) AS (
    SELECT min(flow) FROM executions
    UNION ALL
    SELECT (SELECT min(flow) FROM executions WHERE flow > found.flow) FROM found
    WHERE found.flow IS NOT NULL
)
SELECT flow FROM found WHERE flow IS NOT NULL
"""


class Piece(NamedTuple):
    """What was found among some rows; `after` is where to go on, or None at the end."""

    fids: list[str]
    after: int | None


class Retention(Repository):
    """What has ended long ago."""

    async def flows(self) -> list[str]:
        """Return the flows that have executions, by name."""
        return await self._scan(lambda db: [flow for (flow,) in db.execute(_FLOWS)])

    async def ended(self, flow: str, status: str, *, before: str, after: int) -> Piece:
        """Return some executions of a flow that ended with a status before a time.

        It looks at those with an id above `after`, oldest first, and stops at the first one that
        was created later: it costs next to nothing if there is nothing to find.
        """
        return await self._read(lambda db: _ended(db, flow, status, before, after))

    async def strip(self, *, before: str, after: int) -> tuple[int, int | None]:
        """Remove the files of some executions that ended before a time.

        Returns how many executions had some, and where to go on, or None at the end.
        """
        found = await self._scan(lambda db: _with_files(db, before, after))
        if found:
            rows = [{"id": number} for number in found]
            await self._write(
                lambda db: db.executemany("DELETE FROM files WHERE execution = :id", rows)
            )
        return len(found), found[-1] if len(found) == _PIECE else None

    async def remove_audit(self, *, before: str) -> int:
        """Remove some entries of the audit log from before a time; return how many."""
        return await self._write(lambda db: _remove_audit(db, before))


def _ended(db: Connection, flow: str, status: str, before: str, after: int) -> Piece:
    table = db.dialect.by_index("executions", "executions_by_flow_and_status")
    rows = db.execute(
        f"SELECT id, fid, created, finished FROM {table}"
        " WHERE flow = :flow AND status = :status AND id > :after ORDER BY id LIMIT :piece",
        {"flow": flow, "status": status, "after": after, "piece": _PIECE},
    ).fetchall()
    # Ids follow the time of creation, and nothing ends before it is created.
    is_end = len(rows) < _PIECE or rows[-1][2] >= before
    fids = [fid for _, fid, _, finished in rows if finished is not None and finished < before]
    return Piece(fids, None if is_end else rows[-1][0])


def _with_files(db: Connection, before: str, after: int) -> list[int]:
    final = ", ".join(f"'{status}'" for status in sorted(FINAL))
    rows = db.execute(
        "SELECT DISTINCT files.execution FROM files JOIN executions ON id = files.execution"
        " WHERE files.execution > :after AND files.execution < 1000 * ("
        "  SELECT coalesce(max(block) + 1, 0) FROM spans WHERE earliest < :before)"
        f" AND finished < :before AND status IN ({final})"
        " ORDER BY files.execution LIMIT :piece",
        {"before": before, "after": after, "piece": _PIECE},
    )
    return [number for (number,) in rows]


def _remove_audit(db: Connection, before: str) -> int:
    rows = db.execute(
        "SELECT seq, ts FROM audit ORDER BY seq LIMIT :piece", {"piece": _PIECE}
    ).fetchall()
    old = [{"seq": seq} for seq, ts in rows if ts < before]
    if old:
        # Its trigger refuses to remove entries from after this time.
        db.execute(
            "UPDATE audit_horizon SET before = :before WHERE before < :before", {"before": before}
        )
        db.executemany("DELETE FROM audit WHERE seq = :seq", old)
    return len(old)
