"""Webhooks: the repository."""

import time
from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from koco.errors import ConflictError, LimitError, NotFoundError
from koco.events import line
from koco.store.engine.protocol import Connection
from koco.store.model import Page
from koco.store.sql.filters import any_of
from koco.store.sql.repository import Repository
from koco.store.stream import outbox
from koco.store.stream.outbox import WEBHOOKS
from koco.store.webhook_model import Maker, Webhook

#: How many one maker may have for many executions, and for one execution.
MOST, MOST_OF_EXECUTION = 100, 20
#: How many deliveries are removed at once.
_PIECE = 1000

_NAMED = "WHERE execution IS NULL AND name = :name"
_MAKERS = "by = :by AND made = :made"


class Webhooks(Repository):
    """Webhooks by id. Those of one maker for many executions have unique names, too."""

    async def add(self, webhook: Webhook) -> None:
        """Add a webhook for many executions.

        Raises:
            ConflictError: its maker has one of that name.
            LimitError: its maker has too many.
        """
        await self._add(lambda db: _add_named(db, webhook))

    async def add_to(self, execution: int, webhook: Webhook) -> None:
        """Add a webhook to an execution, or replace its maker's of its kind and name there.

        Raises:
            LimitError: its maker has too many there.
            NotFoundError: there is no such execution.
        """
        await self._add(lambda db: _add_to(db, execution, webhook))

    async def named(self, name: str, *, by: Maker) -> Webhook:
        """Return a maker's webhook for many executions.

        Raises:
            NotFoundError: there is none of that name.
        """
        where = f"{_NAMED} AND {_MAKERS}"
        found = await self._read(lambda db: WEBHOOKS.first(db, where, name=name, **by._asdict()))
        if found is None:
            raise unknown(name)
        return found

    async def called(self, name: str) -> list[Webhook]:
        """Return the webhooks for many executions of that name, of whichever makers."""
        return await self._read(lambda db: WEBHOOKS.select(db, f"{_NAMED} ORDER BY id", name=name))

    async def get(self, id_: str) -> Webhook | None:
        """Return a webhook by its id, or None if it was removed."""
        return await self._read(lambda db: WEBHOOKS.first(db, "WHERE id = :id", id=id_))

    async def names(self, ids: Collection[str]) -> dict[str, str]:
        """Return the names of those of some webhooks that are for many executions, by id."""
        where, values = any_of("id", "id", ids)
        if not where:
            return {}
        look = f"SELECT id, name FROM webhooks WHERE execution IS NULL AND {where[0]}"
        return await self._read(lambda db: dict(db.execute(look, values).fetchall()))

    async def of(self, execution: int, *, kind: str, by: Maker) -> list[Webhook]:
        """Return a maker's webhooks of one kind that are for one execution, by name."""
        where = f"WHERE execution = :execution AND kind = :kind AND {_MAKERS} ORDER BY name"
        values = {"execution": execution, "kind": kind, **by._asdict()}
        return await self._read(lambda db: WEBHOOKS.select(db, where, **values))

    async def page(
        self, *, by: Maker | None = None, limit: int = 50, cursor: str | None = None
    ) -> Page[Webhook]:
        """Return webhooks for many executions by name: all, or those of one maker."""
        where = f"execution IS NULL AND (name, id) > (:after, :id){f' AND {_MAKERS}' if by else ''}"
        values = by._asdict() if by else {}
        values["after"], _, values["id"] = (cursor or "").partition(" ")
        return await self._read(
            lambda db: WEBHOOKS.page(
                db,
                limit,
                lambda each: f"{each.name} {each.id}",
                f"WHERE {where} ORDER BY name, id",
                **values,
            )
        )

    async def change(self, id_: str, changes: Mapping[str, Any]) -> None:
        """Change columns of a webhook. It is no error if it was removed."""
        await self._write(lambda db: WEBHOOKS.update(db, "WHERE id = :id", changes, id=id_))

    async def enable(self, id_: str) -> None:
        """Enable a webhook again, and forget its failures."""
        await self.change(id_, {"disabled": None, "why": None, "failures": 0})

    async def disable_expired(self) -> int:
        """Disable the webhooks of keys that have expired; return how many keys these are."""
        expired = (
            "SELECT DISTINCT k.name FROM keys k JOIN webhooks w ON w.by = k.name"
            " WHERE k.expires <= :now AND w.disabled IS NULL"
        )

        def look(db: Connection) -> list[str]:
            return [name for (name,) in db.execute(expired, {"now": time.time()}).fetchall()]

        def change(db: Connection) -> int:
            found = look(db)  # again, because a key may have got more time
            for name in found:
                outbox.disable_all(db, name)
            return len(found)

        return await self._write(change) if await self._read(look) else 0

    async def remove(self, id_: str) -> bool:
        """Remove a webhook and its deliveries; False if there is none."""
        await self.change(id_, {"disabled": line.timestamp(), "why": "it is being removed"})
        # In pieces, because other changes wait for each.
        while await self._write(lambda db: _remove_deliveries(db, id_)):
            pass
        return await self._write(lambda db: WEBHOOKS.delete(db, "WHERE id = :id", id=id_) > 0)

    async def failing(self, failures: int) -> list[Webhook]:
        """Return the webhooks for many executions that are disabled or have failed that often."""
        where = (
            "WHERE execution IS NULL AND (disabled IS NOT NULL OR failures >= :failures)"
            " ORDER BY name LIMIT 100"
        )
        return await self._read(lambda db: WEBHOOKS.select(db, where, failures=failures))


def unknown(name: str) -> NotFoundError:
    """Return the error for a name that no webhook has."""
    return NotFoundError(f"there is no webhook {name!r}", hint="`koco webhook list` lists them")


def _add_named(db: Connection, webhook: Webhook) -> None:
    if WEBHOOKS.any(db, f"{_NAMED} AND {_MAKERS}", name=webhook.name, **webhook.maker._asdict()):
        raise ConflictError(
            f"there is a webhook {webhook.name!r} already",
            hint="choose another name, or remove that one first: `koco webhook remove`",
        )
    _require_few(db, "execution IS NULL", webhook, MOST)
    outbox.add(db, webhook)


def _add_to(db: Connection, execution: int, webhook: Webhook) -> None:
    if not db.execute("SELECT 1 FROM executions WHERE id = :id", {"id": execution}).fetchone():
        raise NotFoundError("there is no such execution")
    own = f"WHERE execution = :execution AND kind = :kind AND name = :name AND {_MAKERS}"
    values = {"kind": webhook.kind, "name": webhook.name, **webhook.maker._asdict()}
    WEBHOOKS.delete(db, own, execution=execution, **values)
    _require_few(db, "execution = :execution", webhook, MOST_OF_EXECUTION, execution=execution)
    outbox.add(db, msgspec.structs.replace(webhook, execution=execution))


def _require_few(db: Connection, where: str, webhook: Webhook, most: int, **values: object) -> None:
    look = f"SELECT count(*) FROM webhooks WHERE {where} AND {_MAKERS}"
    [(count,)] = db.execute(look, {**values, **webhook.maker._asdict()}).fetchall()
    if count >= most:
        raise LimitError(
            f"there are {count} webhooks already, and {most} is the most",
            hint="one webhook may be for many flows, and for many events",
        )


def _remove_deliveries(db: Connection, id_: str) -> int:
    return db.execute(
        "DELETE FROM deliveries WHERE id IN"
        " (SELECT id FROM deliveries WHERE webhook = :id LIMIT :piece)",
        {"id": id_, "piece": _PIECE},
    ).rowcount
