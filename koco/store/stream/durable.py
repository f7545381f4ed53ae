"""What becomes of executions that lose their process, or leave it because they only wait.

These functions run within a change.
"""

from collections.abc import Sequence

import msgspec

from koco.events import line
from koco.events.model import Kind, Status
from koco.events.used import Used
from koco.store.engine.protocol import Connection
from koco.store.model import FailureEvent
from koco.store.stream import ledger, replay, waits
from koco.store.stream.ledger import NONE, State, lines, policy_of, state
from koco.store.stream.lifecycle import (
    add,
    end,
    has_open_lock,
    retry,
    tries_again,
    withdraw_locks,
)

#: A durable execution ends if its process dies that often without recording a step meanwhile.
_MOST_DEATHS = 10


def lose(db: Connection, fid: str, runner: str, error: FailureEvent, *, because: str) -> bool:
    """End an execution whose runner died, or queue it again: to resume, or as another attempt."""
    now = state(db, fid)
    if now is None or now.status.is_final or now.runner != runner:
        return False
    if now.is_ending:
        end(db, now, Status.CANCELLED, NONE)
    elif policy_of(now).durable:
        _resume(db, now, error, because=because)
    elif tries_again(now):
        replay.count_death(db, now)
        retry(db, now, lines(line.encode(Kind.ERROR, error)))
    else:
        add(db, now, lines(line.encode(Kind.ERROR, error)), Status.ERROR)
    return True


def _resume(db: Connection, now: State, error: FailureEvent, *, because: str) -> None:
    """Queue a durable execution again, to go on where it was; its waits stay open.

    If it has died too often in a row, it ends with the error.
    """
    deaths = replay.count_death(db, now)
    if deaths >= _MOST_DEATHS:
        text = f"{error.message}. It died {deaths} times in a row without recording a step"
        error = msgspec.structs.replace(error, message=text)
        add(db, now, lines(line.encode(Kind.ERROR, error)), Status.ERROR)
        return
    leases = withdraw_locks(db, now, keep_placed=True)
    ledger.insert(db, now, leases.then(lines(waits.resumption(db, now, because=because))))
    ledger.release(db, now, Status.QUEUED, moves=True)
    db.execute("UPDATE executions SET resumed = resumed + 1 WHERE id = :id", {"id": now.id})


def park(
    db: Connection,
    fid: str,
    runner: str,
    keys: Sequence[str],
    lids: Sequence[str],
    used: Used | None,
) -> bool:
    """Take an execution out of its runner, until one of its waits or locks is over."""
    now = state(db, fid)
    if now is None or now.runner != runner or now.is_ending or not policy_of(now).durable:
        return False
    if now.status not in (Status.RUNNING, Status.AWAITING):
        return False
    pending = replay.pending(db, now.id, keys, lids)
    if pending is None:
        return False
    leases = withdraw_locks(db, now, keep_placed=True)  # its Ray tasks end with its process
    status = Status.AWAITING if has_open_lock(db, now) else Status.SLEEPING
    event = line.encode(Kind.STATUS, {"status": status, "parked": True})
    ledger.insert(db, now, leases.then(lines(event)))
    if used is not None:
        ledger.note_used(db, now, used)
    ledger.release(db, now, status, moves=True, parked=True)
    if not pending and (parked := state(db, fid)):
        waits.resolve(db, parked, NONE, because="what it waited for was over already")
    return True
