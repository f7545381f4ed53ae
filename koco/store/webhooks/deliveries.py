"""Deliveries: the outbox as its sender reads it, and as a log."""

import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from koco.errors import NotFoundError
from koco.store.engine.protocol import Connection
from koco.store.model import Page
from koco.store.sql import pages
from koco.store.sql.filters import any_of, conditions_of
from koco.store.sql.repository import Repository
from koco.store.sql.table import Table
from koco.store.stream import outbox
from koco.store.webhook_model import (
    TEST,
    Attempt,
    Delivery,
    DeliveryFilter,
    DeliveryStatus,
    Webhook,
)

_DELIVERIES = Table("deliveries", Delivery)
_EVERY = DeliveryFilter()
#: How many rows are removed, or sent again, at once.
_PIECE = 500


class Due(NamedTuple):
    """Deliveries that are due, and when the next one is (seconds since the epoch)."""

    items: list[Delivery]
    next: float | None


class Waiting(NamedTuple):
    """What is still to be sent. `since` is the earliest due time (seconds since the epoch)."""

    number: int
    since: float | None


class Deliveries(Repository):
    """Deliveries by number."""

    async def due(
        self,
        *,
        limit: int,
        without: Collection[int] = (),
        origins: Collection[str] = (),
        webhooks: Collection[str] = (),
        makers: Collection[str] = (),
    ) -> Due:
        """Return deliveries that are due, the longest first.

        Without some of them, and without those to some origins, or of some webhooks or makers.
        """
        left_out = {"id": without, "origin": origins, "webhook": webhooks, "by": makers}
        return await self._read(lambda db: _due(db, limit, left_out))

    async def add_test(self, webhook: Webhook) -> Delivery:
        """Enter a test of a webhook. It is due at no time: its caller sends it."""
        row = outbox.entry(
            webhook.id, fid="", flow="", event=TEST, origin=webhook.origin, by=webhook.by
        )

        def change(db: Connection) -> Delivery:
            db.execute(outbox.NEW, {**row, "due": None})
            found = _DELIVERIES.first(db, "WHERE message = :message", message=row["message"])
            assert found is not None
            return found

        return await self._add(change)

    async def settle(self, delivery: Delivery, attempt: Attempt) -> None:
        """Record an attempt. It is no error if the delivery was removed meanwhile."""
        await self._write(lambda db: _settle(db, delivery, attempt))

    async def get(self, number: int) -> Delivery:
        """Return a delivery.

        Raises:
            NotFoundError: there is none of that number.
        """
        found = await self._read(lambda db: _DELIVERIES.first(db, "WHERE id = :id", id=number))
        if found is None:
            raise NotFoundError(
                f"there is no delivery {number}", hint="`koco webhook deliveries` lists them"
            )
        return found

    async def page(
        self, wanted: DeliveryFilter = _EVERY, *, limit: int = 50, cursor: str | None = None
    ) -> Page[Delivery]:
        """Return deliveries, newest first. A cursor stays valid while others are added."""
        where, values = _where(wanted)
        if cursor is not None:
            where.append("id < :before")
            values["before"] = pages.number(cursor)
        clause = f"WHERE {' AND '.join(where)} ORDER BY id DESC"
        return await self._scan(
            lambda db: _DELIVERIES.page(db, limit, lambda each: each.id, clause, **values)
        )

    async def send_again(self, numbers: Sequence[int]) -> int:
        """Make deliveries due now, with all their attempts; return how many are left of them."""
        if not numbers:
            return 0
        chosen, values = any_of("id", "id", numbers)
        where = " AND ".join(["event <> :test", *chosen])
        changes = {"status": DeliveryStatus.PENDING, "due": time.time(), "tries": 0}
        return await self._write(
            lambda db: _DELIVERIES.update(db, f"WHERE {where}", changes, test=TEST, **values)
        )

    async def counts(self) -> dict[str, int]:
        """Return how many deliveries have each status."""
        count = "SELECT status, count(*) FROM deliveries GROUP BY status"
        return await self._scan(lambda db: dict(db.execute(count).fetchall()))

    async def waiting(self) -> Waiting:
        """Return how many deliveries are still to be sent, and since when the first is due."""
        look = "SELECT count(*), min(due) FROM deliveries WHERE due IS NOT NULL"
        return await self._scan(lambda db: Waiting(*db.execute(look).fetchone()))

    async def remove_old(self, *, before: str) -> int:
        """Remove some deliveries from before a time that are not pending; return how many."""
        return await self._write(
            lambda db: (
                db.execute(
                    "DELETE FROM deliveries WHERE id IN (SELECT id FROM deliveries"
                    " WHERE due IS NULL AND created < :before ORDER BY id LIMIT :piece)",
                    {"before": before, "piece": _PIECE},
                ).rowcount
            )
        )


def _due(db: Connection, limit: int, left_out: Mapping[str, Collection[Any]]) -> Due:
    where, values = ["due IS NOT NULL"], {"limit": limit + 1}
    for column, each_left_out in left_out.items():
        [*listed], more = any_of(column, f"{column}s", each_left_out)
        where += [each.replace(" IN ", " NOT IN ") for each in listed]
        values |= more
    found = _DELIVERIES.select(
        db, f"WHERE {' AND '.join(where)} ORDER BY due LIMIT :limit", **values
    )
    now_s = time.time()
    items = [each for each in found if each.due is not None and each.due <= now_s]
    later = found[len(items)].due if len(items) < len(found) else None
    return Due(items[:limit], later)


def _settle(db: Connection, delivery: Delivery, attempt: Attempt) -> None:
    if not attempt.error:
        status = DeliveryStatus.DELIVERED
    else:
        status = DeliveryStatus.FAILED if attempt.again is None else DeliveryStatus.PENDING
    changes: dict[str, Any] = {"status": status, "due": attempt.again, "tries": delivery.tries + 1}
    changes |= {"last": attempt.at, "code": attempt.code, "error": attempt.error or None}
    changes["took_s"] = attempt.took_s
    _DELIVERIES.update(db, "WHERE id = :id", changes, id=delivery.id)
    values = {"id": delivery.webhook, "at": attempt.at, "why": attempt.disables}
    if not attempt.error:
        changed = "failures = 0, last_ok = :at"
    elif attempt.disables:
        changed = "failures = failures + 1, disabled = :at, why = :why"
    else:
        changed = "failures = failures + 1"
    db.execute(f"UPDATE webhooks SET {changed} WHERE id = :id", values)
    if attempt.disables:
        _DELIVERIES.update(
            db,
            "WHERE webhook = :webhook AND due IS NOT NULL",
            {"status": DeliveryStatus.FAILED, "due": None, "error": attempt.disables},
            webhook=delivery.webhook,
        )


def _where(wanted: DeliveryFilter) -> tuple[list[str], dict[str, Any]]:
    where, values = conditions_of(
        {
            "fid = :fid": wanted.fid,
            "status = :status": wanted.status,
            "webhook = :webhook": wanted.webhook,
        }
    )
    if wanted.by is not None:
        # By its name at first, which is in the row.
        where.append(
            "by = :by AND webhook IN (SELECT id FROM webhooks WHERE by = :by AND made = :made)"
        )
        values |= wanted.by._asdict()
    return where or ["1 = 1"], values
