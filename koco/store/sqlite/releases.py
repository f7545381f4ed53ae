"""SQL for services' releases."""

import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from koco.errors import ConflictError, NotFoundError
from koco.events import line
from koco.manifest import load
from koco.manifest.descriptions import AppHandlers, FlowDescription
from koco.manifest.model import Manifest
from koco.plurals import counted
from koco.store.model import LAST, Release, ReleaseFailure, ReleaseOrigin, ReleasePage
from koco.store.sqlite import events, pages

_COLUMNS = ", ".join(Release.__struct_fields__)
#: The types of the columns that hold JSON, except the manifest.
_JSON_COLUMNS: dict[str, Any] = {
    "flows": tuple[FlowDescription, ...],
    "error": ReleaseFailure,
    "app": AppHandlers,
    "origin": ReleaseOrigin,
    "timings": dict[str, float],
}

#: Releases whose failure ended the previous one: see `Release.has_closed`.
_CLOSING = "status = 'failed' AND fallback = 0 AND retired IS NULL"
#: The releases that make up a service's present state.
_PRESENT = f"(status IN ('live', 'starting') OR ({_CLOSING}))"


def create(
    db: sqlite3.Connection,
    service: str,
    *,
    bundle: str,
    fingerprint: str,
    manifest: Manifest,
    by: str,
    origin: ReleaseOrigin,
    timings: dict[str, float],
    fallback: bool,
) -> Release:
    """Insert a release as `starting`, under the service's next number.

    The service's other starting releases fail: see `Store.create_release`.
    """
    starting = _select(db, "WHERE service = ? AND status = 'starting'", service)
    db.execute(
        "INSERT INTO releases (service, number, status, bundle, fingerprint, manifest, created, by,"
        " origin, timings, fallback)"
        " SELECT ?, coalesce(max(number), 0) + 1, 'starting', ?, ?, ?, ?, ?, ?, ?, ?"
        " FROM releases WHERE service = ?",
        (
            service,
            bundle,
            fingerprint,
            _json(load.to_data(manifest)),
            line.timestamp(),
            by,
            _json(origin),
            _json(timings),
            fallback,
            service,
        ),
    )
    made = _select(db, "WHERE service = ? ORDER BY number DESC LIMIT 1", service)[0]
    for former in starting:
        error = ReleaseFailure(
            message=f"{by} deployed release {made.number} before this one was ready",
            hint=f"`koco releases {service}` shows whether that one works",
        )
        db.execute(
            "UPDATE releases SET status = 'failed', error = ?, retired = ?"
            " WHERE service = ? AND number = ?",
            (_json(error), made.created, service, former.number),
        )
    return made


def go_live(
    db: sqlite3.Connection,
    service: str,
    number: int,
    *,
    flows: Sequence[FlowDescription],
    app: AppHandlers | None,
    timings: dict[str, float],
) -> Release:
    """Switch a service to a release, in one step; see `Store.go_live`."""
    if get(db, service, number).status == "starting":
        _retire(db, service)
        db.execute(
            "UPDATE releases SET status = 'live', flows = ?, app = ?, timings = ?, ready = ?"
            " WHERE service = ? AND number = ?",
            (
                _json(flows),
                _json(app) if app is not None else None,
                _json(timings),
                line.timestamp(),
                service,
                number,
            ),
        )
    return get(db, service, number)


def fail(
    db: sqlite3.Connection,
    service: str,
    number: int,
    *,
    error: ReleaseFailure,
    timings: dict[str, float],
) -> Release:
    """End a release that never became ready; see `Store.fail_release`."""
    release = get(db, service, number)
    if release.status == "starting":
        if not release.fallback:
            _retire(db, service)
        db.execute(
            "UPDATE releases SET status = 'failed', error = ?, timings = ?"
            " WHERE service = ? AND number = ?",
            (_json(error), _json(timings), service, number),
        )
    return get(db, service, number)


def mark_broken(
    db: sqlite3.Connection, service: str, number: int, error: ReleaseFailure
) -> Release:
    """Mark a live release as broken; see `Store.mark_broken`."""
    db.execute(
        "UPDATE releases SET error = ? WHERE service = ? AND number = ? AND status = 'live'",
        (_json(error), service, number),
    )
    return get(db, service, number)


def undeploy(
    db: sqlite3.Connection, service: str, *, error: ReleaseFailure, beside_running: bool
) -> list[Release]:
    """Retire a service's live release and fail its starting ones; see `Store.undeploy`."""
    if not _select(db, "WHERE service = ? LIMIT 1", service):
        raise NotFoundError(
            f"no service is called {service!r}", hint="`koco status` lists what is deployed"
        )
    tally = open_tally(db, service)
    if tally and not beside_running:
        raise ConflictError(
            f"{service}: {told(tally)}; nothing was changed",
            hint="`--drain` lets them end, `--cancel` ends them",
        )
    ended = _select(db, f"WHERE service = ? AND {_PRESENT} ORDER BY number", service)
    _retire(db, service)
    db.execute(
        "UPDATE releases SET status = 'failed', error = ?, retired = ?"
        " WHERE service = ? AND status = 'starting'",
        (_json(error), line.timestamp(), service),
    )
    return ended


def _retire(db: sqlite3.Connection, service: str) -> None:
    """Retire the live release, and a failed one that had left nothing live."""
    now = line.timestamp()
    db.execute(
        "UPDATE releases SET status = iif(error IS NULL, 'retired', 'failed'), retired = ?"
        " WHERE service = ? AND status = 'live'",
        (now, service),
    )
    db.execute(f"UPDATE releases SET retired = ? WHERE service = ? AND {_CLOSING}", (now, service))


def open_tally(db: sqlite3.Connection, service: str) -> dict[str, int]:
    """Return how many of a service's executions have not ended, by status."""
    return dict(
        db.execute(
            f"SELECT status, count(*) FROM executions WHERE {events.IS_OPEN} AND service = ?"
            " GROUP BY status",
            (service,),
        )
    )


def told(tally: dict[str, int]) -> str:
    """Return how many executions have not ended, as a sentence."""
    count = sum(tally.values())
    parts = ", ".join(f"{number} {status}" for status, number in tally.items())
    return f"{counted(count, 'execution', 'has')} not ended ({parts})"


def present(db: sqlite3.Connection) -> list[Release]:
    """Return all live and starting releases, and failed ones that left nothing live; by service."""
    return _select(db, f"WHERE {_PRESENT} ORDER BY service, number")


def listing(db: sqlite3.Connection, service: str, *, limit: int, cursor: str | None) -> ReleasePage:
    """Return a page of a service's releases, newest first."""
    before = pages.number(cursor) if cursor is not None else LAST
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM releases WHERE service = ? AND number < ?"
        " ORDER BY number DESC LIMIT ?",
        (service, before, limit + 1),
    )
    taken, more = pages.take(rows, limit)
    items = [_release(row) for row in taken]
    return ReleasePage(items, str(items[-1].number) if more else None)


def former(db: sqlite3.Connection, service: str) -> Release | None:
    """Return the release that served before the live one, or the last one if none is live."""
    rows = _select(
        db,
        "WHERE service = ?1 AND ready IS NOT NULL AND error IS NULL AND number < coalesce("
        "(SELECT number FROM releases WHERE service = ?1 AND status = 'live'), 1 << 62)"
        " ORDER BY number DESC LIMIT 1",
        service,
    )
    return rows[0] if rows else None


def bundles(db: sqlite3.Connection, *, keep: int) -> set[str]:
    """Return the bundles of releases that run, may run, or can be rolled back to."""
    rows = db.execute(
        "WITH ranked AS (SELECT service, number, status, bundle, ready, row_number() OVER"
        " (PARTITION BY service, ready IS NULL ORDER BY number DESC) AS place FROM releases)"
        " SELECT bundle FROM ranked WHERE status IN ('starting', 'live')"
        " OR (ready IS NOT NULL AND place <= ?)"
        " OR (service, number) IN"
        f" (SELECT service, release FROM executions WHERE {events.IS_OPEN})",
        (keep,),
    )
    return {bundle for (bundle,) in rows}


def get(db: sqlite3.Connection, service: str, number: int) -> Release:
    """Return a release; see `Store.release`."""
    rows = _select(db, "WHERE service = ? AND number = ?", service, number)
    if not rows:
        raise NotFoundError(f"service {service!r} has no release {number}")
    return rows[0]


def having(db: sqlite3.Connection, status: str) -> list[Release]:
    """Return all releases with a status."""
    return _select(db, "WHERE status = ? ORDER BY service, number", status)


def live(db: sqlite3.Connection, service: str) -> Release | None:
    """Return a service's live release."""
    rows = _select(db, "WHERE service = ? AND status = 'live'", service)
    return rows[0] if rows else None


def _select(db: sqlite3.Connection, clause: str, *values: Any) -> list[Release]:
    rows = db.execute(f"SELECT {_COLUMNS} FROM releases {clause}", values)
    return [_release(row) for row in rows]


def _release(row: tuple[Any, ...]) -> Release:
    fields = dict(zip(Release.__struct_fields__, row, strict=True))
    fields["manifest"] = load.restore(fields["manifest"])
    for name, kind in _JSON_COLUMNS.items():
        if fields[name] is not None:
            fields[name] = msgspec.json.decode(fields[name], type=kind)
    fields["fallback"] = bool(fields["fallback"])
    return Release(**fields)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
