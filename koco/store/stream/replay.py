"""Which recorded steps an execution keeps when it runs again. These functions run in a change."""

from collections.abc import Sequence

from koco.store.engine.protocol import Connection
from koco.store.stream.ledger import State
from koco.store.stream.waits import IS_RECORDED


def count_death(db: Connection, now: State) -> int:
    """Count the death of an execution's process; return how many died in a row.

    Those before the latest recorded outcome do not count.
    """
    db.touched.add(now.fid)
    [(outcomes,)] = db.execute(
        f"SELECT count(*) FROM steps WHERE {IS_RECORDED}", {"id": now.id}
    ).fetchall()
    [(deaths,)] = db.execute(
        "UPDATE executions SET deaths = CASE WHEN deaths_at < :outcomes THEN 1 ELSE deaths + 1 END,"
        " deaths_at = :outcomes WHERE id = :id RETURNING deaths",
        {"outcomes": outcomes, "id": now.id},
    ).fetchall()
    return int(deaths)


def pending(
    db: Connection, execution: int, keys: Sequence[str], lids: Sequence[str]
) -> bool | None:
    """Whether all of an execution's waits and locks are open.

    None if one is not known, or is a lock without a place, which no replay would find again.
    """
    found: list[str] = []
    step = "SELECT status FROM steps WHERE execution = :id AND key = :name"
    lock = "SELECT status FROM locks WHERE execution = :id AND lid = :name AND key <> ''"
    for query, names in ((step, keys), (lock, lids)):
        for name in names:
            row = db.execute(query, {"name": name, "id": execution}).fetchone()
            if row is None:
                return None
            found.append(row[0])
    return all(status in ("waiting", "open") for status in found) if found else None


def last_failed(db: Connection, execution: int) -> tuple[str, int] | None:
    """Return the key and the position of the latest step that failed, or None."""
    failed: tuple[str, int] | None = db.execute(
        "SELECT key, position FROM steps WHERE execution = :id AND status = 'error'"
        " ORDER BY position DESC LIMIT 1",
        {"id": execution},
    ).fetchone()
    return failed


def forget_failed(db: Connection, now: State) -> str | None:
    """Forget the latest step that failed, and all from it on; return its key if there is one.

    Executions that the flow gave up are launched again if it calls them again.
    """
    _forget_children(
        db,
        "(status = 'cancelled' OR cancel_requested IS NOT NULL) AND fid IN (SELECT child FROM"
        " steps WHERE execution = :id AND status = 'withdrawn' AND child IS NOT NULL)",
        {"id": now.id},
    )
    failed = last_failed(db, now.id)
    if failed is None:
        return None
    key, position = failed
    values = {"id": now.id, "position": position}
    gone = "SELECT key FROM steps WHERE execution = :id AND position >= :position"
    # The messages that they received are received again, and the executions launched again.
    db.execute(
        f"UPDATE messages SET taken = NULL WHERE execution = :id AND taken IN ({gone})", values
    )
    _forget_children(
        db,
        "fid IN (SELECT child FROM"
        " steps WHERE execution = :id AND position >= :position AND child IS NOT NULL)",
        values,
    )
    # A lock that is asked for again is a new question: see `koco.store.locks`.
    db.execute(
        f"UPDATE locks SET status = 'withdrawn' WHERE execution = :id AND key IN ({gone})"
        " AND status IN ('answered', 'expired')",
        values,
    )
    db.execute("DELETE FROM steps WHERE execution = :id AND position >= :position", values)
    return key


def _forget_children(db: Connection, where: str, values: dict[str, int]) -> None:
    """Let a flow launch executions again that it has launched."""
    forgotten = db.execute(
        f"UPDATE executions SET key = NULL WHERE key LIKE 'child:%' AND {where} RETURNING fid",
        values,
    )
    db.touched.update(fid for (fid,) in forgotten.fetchall())
