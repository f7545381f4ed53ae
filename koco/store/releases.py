"""Services' releases."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from koco.errors import ConflictError, NotFoundError
from koco.events import line
from koco.manifest import load
from koco.manifest.descriptions import AppHandlers, FlowDescription
from koco.plurals import counted
from koco.store.engine.protocol import Connection
from koco.store.model import LAST, Page, Release, ReleaseFailure, ReleaseOrigin, Topic
from koco.store.sql import pages
from koco.store.sql.repository import Repository
from koco.store.sql.table import Codec, Table, to_json
from koco.store.stream import ledger, lifecycle

if TYPE_CHECKING:
    from koco.manifest.model import Manifest

_RELEASES = Table(
    "releases",
    Release,
    json=("flows", "error", "app", "origin", "timings"),
    codecs={"manifest": Codec(lambda manifest: to_json(load.to_data(manifest)), load.restore)},
)
#: How many parked executions an error names.
_NAMED = 5
#: One release.
_THIS = "WHERE service = :service AND number = :number"
#: Releases whose failure ended the previous one: see `Release.has_closed`.
_CLOSING = "status = 'failed' AND fallback = 0 AND retired IS NULL"
#: The releases that make up a service's present state.
_PRESENT = f"(status IN ('live', 'starting') OR ({_CLOSING}))"


class Releases(Repository):
    """Releases by service and number."""

    async def create(
        self,
        service: str,
        *,
        bundle: str,
        fingerprint: str,
        manifest: "Manifest",
        by: str,
        origin: ReleaseOrigin | None = None,
        timings: dict[str, float] | None = None,
        fallback: bool = True,
    ) -> Release:
        """Commit a release as `starting`, under the service's next number.

        The service's other starting releases fail in the same commit, because this one supersedes
        them.
        """

        def change(db: Connection) -> Release:
            newest = "SELECT coalesce(max(number), 0) FROM releases WHERE service = :service"
            (number,) = db.execute(newest, {"service": service}).fetchone()
            release = Release(
                service=service,
                number=number + 1,
                status="starting",
                bundle=bundle,
                fingerprint=fingerprint,
                manifest=manifest,
                flows=(),
                created=line.timestamp(),
                by=by,
                origin=origin or ReleaseOrigin(),
                timings=timings or {},
                fallback=fallback,
            )
            superseded = ReleaseFailure(
                message=f"{by} deployed release {release.number} before this one was ready",
                hint=f"`koco releases {service}` shows whether that one works",
            )
            _fail_starting(db, service, superseded)
            _RELEASES.insert(db, release)
            _tell(db, service)
            return _get(db, service, release.number)

        return await self._add(change)

    async def go_live(
        self,
        service: str,
        number: int,
        flows: Sequence[FlowDescription],
        app: AppHandlers | None = None,
        *,
        timings: dict[str, float] | None = None,
    ) -> Release:
        """Make a release the live one and retire the one before it, in one step.

        Does nothing if the release is no longer starting.
        """

        def change(db: Connection) -> Release:
            if _get(db, service, number).status == "starting":
                _retire(db, service)
                live = {"status": "live", "flows": flows, "app": app, "ready": line.timestamp()}
                _update(db, service, number, {**live, "timings": timings or {}})
            return _get(db, service, number)

        return await self._write(change)

    async def mark_broken(self, service: str, number: int, error: ReleaseFailure) -> Release:
        """Mark a live release as broken. It serves until another one does, and then counts as
        failed.

        Does nothing if the release is not live.
        """

        def change(db: Connection) -> Release:
            if _get(db, service, number).status == "live":
                _update(db, service, number, {"error": error})
            return _get(db, service, number)

        return await self._write(change)

    async def fail(
        self,
        service: str,
        number: int,
        error: ReleaseFailure,
        *,
        timings: dict[str, float] | None = None,
    ) -> Release:
        """End a release that never became ready. Without a fallback, the live one retires, too.

        Does nothing if the release is no longer starting.
        """

        def change(db: Connection) -> Release:
            release = _get(db, service, number)
            if release.status == "starting":
                if not release.fallback:
                    _retire(db, service)
                failed = {"status": "failed", "error": error, "timings": timings or {}}
                _update(db, service, number, failed)
            return _get(db, service, number)

        return await self._write(change)

    async def undeploy(
        self,
        service: str,
        error: ReleaseFailure,
        *,
        beside_running: bool,
        cancel_grace_s: float | None = None,
    ) -> list[Release]:
        """Retire a service's live release and fail its starting ones, in one step; return them.

        With a grace, the same step requests the cancellation of all of the service's executions:
        see `Executions.request_cancels`.

        Raises:
            ConflictError: some of its executions have not ended, and `beside_running` is false.
            NotFoundError: the service never had a release.
        """

        def change(db: Connection) -> list[Release]:
            _require_deployed(db, service)
            if not beside_running:
                _require_idle(db, service)
            ended = _select(db, service, f"{_PRESENT} ORDER BY number")
            _tell(db, service)
            _retire(db, service)
            _fail_starting(db, service, error)
            if cancel_grace_s is not None:
                lifecycle.request_cancels(db, service, cancel_grace_s)
            return ended

        return await self._write(change)

    async def get(self, service: str, number: int) -> Release:
        """Return a release.

        Raises:
            NotFoundError: it does not exist.
        """
        return await self._read(lambda db: _get(db, service, number))

    async def live(self, service: str) -> Release | None:
        """Return a service's live release."""
        found = await self._read(lambda db: _select(db, service, "status = 'live'"))
        return found[0] if found else None

    async def former(self, service: str) -> Release | None:
        """Return the release that served before the live one, or the last one if none is live."""
        where = (
            "ready IS NOT NULL AND error IS NULL AND number < coalesce((SELECT number FROM releases"
            f" WHERE service = :service AND status = 'live'), {LAST}) ORDER BY number DESC LIMIT 1"
        )
        found = await self._read(lambda db: _select(db, service, where))
        return found[0] if found else None

    async def with_status(self, status: str) -> list[Release]:
        """Return all releases with a status, by service and number."""
        where = "WHERE status = :status ORDER BY service, number"
        return await self._read(lambda db: _RELEASES.select(db, where, status=status))

    async def present(self) -> list[Release]:
        """Return all live and starting releases, and failed ones that left nothing live.

        They are ordered by service and number.
        """
        where = f"WHERE {_PRESENT} ORDER BY service, number"
        return await self._read(lambda db: _RELEASES.select(db, where))

    async def awaited(self) -> list[tuple[str, int]]:
        """Return the releases with an endpoint of their own of which parked executions await
        somebody.
        """
        look = (
            "SELECT service, number FROM releases WHERE app IS NOT NULL AND EXISTS (SELECT 1 FROM"
            " executions AS e WHERE e.parked = 1 AND e.service = releases.service"
            " AND e.release = releases.number AND e.status = 'awaiting')"
        )
        return await self._read(lambda db: db.execute(look).fetchall())

    async def retired_in_use(self) -> list[Release]:
        """Return the retired releases of which executions have not ended."""

        def look(db: Connection) -> list[Release]:
            where = f"WHERE status = 'retired' AND {lifecycle.is_in_use(db, 'releases')}"
            return _RELEASES.select(db, f"{where} ORDER BY service, number")

        return await self._read(look)

    async def have_bundle(self, bundle: str) -> bool:
        """Whether any release was made from a bundle."""
        where = "WHERE bundle = :bundle"
        return await self._read(lambda db: _RELEASES.any(db, where, bundle=bundle))

    async def page(
        self, service: str, *, limit: int = 50, cursor: str | None = None
    ) -> Page[Release]:
        """Return a service's releases, newest first. A cursor stays valid meanwhile."""
        before = pages.number(cursor) if cursor is not None else LAST
        where = "WHERE service = :service AND number < :before ORDER BY number DESC"
        return await self._read(
            lambda db: _RELEASES.page(
                db, limit, lambda each: each.number, where, service=service, before=before
            )
        )


def bundles_in_use(db: Connection, *, keep: int) -> set[str]:
    """Return the bundles of releases that run, may run, or can be rolled back to."""
    rows = db.execute(
        "WITH ranked AS (SELECT service, number, status, bundle, ready, row_number() OVER"
        " (PARTITION BY service, ready IS NULL ORDER BY number DESC) AS place FROM releases)"
        " SELECT bundle FROM ranked WHERE status IN ('starting', 'live')"
        " OR (ready IS NOT NULL AND place <= :keep)"
        f" OR {lifecycle.is_in_use(db, 'ranked')}",
        {"keep": keep},
    )
    return {bundle for (bundle,) in rows}


def _select(db: Connection, service: str, where: str) -> list[Release]:
    return _RELEASES.select(db, f"WHERE service = :service AND {where}", service=service)


def _get(db: Connection, service: str, number: int) -> Release:
    release = _RELEASES.first(db, _THIS, service=service, number=number)
    if release is None:
        raise NotFoundError(f"service {service!r} has no release {number}")
    return release


def _update(db: Connection, service: str, number: int, changes: dict[str, Any]) -> None:
    _RELEASES.update(db, _THIS, changes, service=service, number=number)
    _tell(db, service)


def _tell(db: Connection, service: str) -> None:
    ledger.tell(db, Topic.RELEASES, key=service)


def _fail_starting(db: Connection, service: str, error: ReleaseFailure) -> None:
    """Fail a service's starting releases."""
    failed = {"status": "failed", "error": error, "retired": line.timestamp()}
    where = "WHERE service = :service AND status = 'starting'"
    _RELEASES.update(db, where, failed, service=service)


def _retire(db: Connection, service: str) -> None:
    """Retire the live release, and a failed one that had left nothing live."""
    values = {"now": line.timestamp(), "service": service}
    db.execute(
        "UPDATE releases SET status = CASE WHEN error IS NULL THEN 'retired' ELSE 'failed' END,"
        " retired = :now WHERE service = :service AND status = 'live'",
        values,
    )
    db.execute(
        f"UPDATE releases SET retired = :now WHERE service = :service AND {_CLOSING}", values
    )


def _require_deployed(db: Connection, service: str) -> None:
    if not _RELEASES.any(db, "WHERE service = :service", service=service):
        raise NotFoundError(
            f"no service is called {service!r}", hint="`koco status` lists what is deployed"
        )


def _require_idle(db: Connection, service: str) -> None:
    tally = lifecycle.count_open(db, service)
    if tally:
        count = counted(sum(tally.values()), "execution", "has")
        parts = ", ".join(f"{number} {status}" for status, number in tally.items())
        raise ConflictError(
            f"{service}: {count} not ended ({parts}); nothing was changed{_parked(db, service)}",
            hint="`--drain` lets them end, `--cancel` ends them",
        )


def _parked(db: Connection, service: str) -> str:
    """Name a service's parked executions, because they may keep it from ending for months."""
    found = db.execute(
        "SELECT fid, flow FROM executions WHERE parked = 1 AND service = :service LIMIT :most",
        {"service": service, "most": _NAMED + 1},
    ).fetchall()
    if not found:
        return ""
    named = [f"{fid} ({flow})" for fid, flow in found[:_NAMED]]
    return f". Parked: {', '.join(named + ['more'] * (len(found) > _NAMED))}"
