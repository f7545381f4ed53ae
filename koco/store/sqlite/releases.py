"""SQL for services' releases."""

import sqlite3
from typing import Any

import msgspec

from koco.errors import NotFoundError
from koco.events import line
from koco.store.model import Release

_COLUMNS = ", ".join(Release.__struct_fields__)
_JSON_COLUMNS = ("manifest", "flows", "error", "app", "origin", "timings")


def create(
    db: sqlite3.Connection,
    service: str,
    *,
    bundle: str,
    fingerprint: str,
    manifest: dict[str, Any],
    by: str,
    origin: dict[str, Any],
    fallback: bool,
) -> Release:
    """Insert a release as `starting`, under the service's next number."""
    db.execute(
        "INSERT INTO releases (service, number, status, bundle, fingerprint, manifest, created, by,"
        " origin, fallback)"
        " SELECT ?, coalesce(max(number), 0) + 1, 'starting', ?, ?, ?, ?, ?, ?, ?"
        " FROM releases WHERE service = ?",
        (
            service,
            bundle,
            fingerprint,
            _json(manifest),
            line.timestamp(),
            by,
            _json(origin),
            fallback,
            service,
        ),
    )
    return _select(db, "WHERE service = ? ORDER BY number DESC LIMIT 1", service)[0]


def go_live(
    db: sqlite3.Connection,
    service: str,
    number: int,
    *,
    flows: list[dict[str, Any]],
    app: dict[str, Any] | None,
) -> Release:
    """Switch a service to a release, in one step."""
    db.execute(
        "UPDATE releases SET status = 'retired' WHERE service = ? AND status = 'live'", (service,)
    )
    db.execute(
        "UPDATE releases SET status = 'live', flows = ?, app = ?, ready = ?"
        " WHERE service = ? AND number = ?",
        (
            _json(flows),
            _json(app) if app is not None else None,
            line.timestamp(),
            service,
            number,
        ),
    )
    return get(db, service, number)


def fail(db: sqlite3.Connection, service: str, number: int, error: dict[str, Any]) -> Release:
    """End a release that never became ready."""
    db.execute(
        "UPDATE releases SET status = 'failed', error = ? WHERE service = ? AND number = ?",
        (_json(error), service, number),
    )
    return get(db, service, number)


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
    """Return what a service runs now."""
    rows = _select(db, "WHERE service = ? AND status = 'live'", service)
    return rows[0] if rows else None


def _select(db: sqlite3.Connection, clause: str, *values: Any) -> list[Release]:
    rows = db.execute(f"SELECT {_COLUMNS} FROM releases {clause}", values)
    return [_release(row) for row in rows]


def _release(row: tuple[Any, ...]) -> Release:
    fields = dict(zip(Release.__struct_fields__, row, strict=True))
    for name in _JSON_COLUMNS:
        if fields[name] is not None:
            fields[name] = msgspec.json.decode(fields[name])
    fields["fallback"] = bool(fields["fallback"])
    return Release(**fields)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
