"""Webhooks: the repository."""

from collections.abc import Collection, Mapping
from typing import Any

from koco.errors import ConflictError, LimitError, NotFoundError
from koco.events import line
from koco.store.engine.protocol import Connection
from koco.store.model import Page
from koco.store.sql.filters import any_of, conditions_of
from koco.store.sql.repository import Repository
from koco.store.stream import outbox
from koco.store.stream.outbox import WEBHOOKS
from koco.store.webhook_model import Webhook

#: How many one maker may have for many executions, and how many an execution may have.
MOST, MOST_OF_EXECUTION = 100, 20
#: How many deliveries are removed at once.
_PIECE = 1000

_NAMED = "WHERE execution IS NULL AND name = :name"


class Webhooks(Repository):
    """Webhooks by id. Those for many executions have unique names, too."""

    async def add(self, webhook: Webhook) -> None:
        """Add a webhook for many executions.

        Raises:
            ConflictError: there is one of that name.
            LimitError: its maker has too many.
        """
        await self._add(lambda db: _add_named(db, webhook))

    async def add_to(self, execution: int, webhook: Webhook) -> None:
        """Add a webhook to an execution, or replace the one of its kind and name there.

        Raises:
            LimitError: the execution has too many.
            NotFoundError: there is no such execution.
        """
        await self._add(lambda db: _add_to(db, execution, webhook))

    async def named(self, name: str) -> Webhook:
        """Return a webhook for many executions.

        Raises:
            NotFoundError: there is none of that name.
        """
        found = await self._read(lambda db: WEBHOOKS.first(db, _NAMED, name=name))
        if found is None:
            raise unknown(name)
        return found

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

    async def of(self, execution: int, *, kind: str) -> list[Webhook]:
        """Return the webhooks of one kind that are for one execution, by name."""
        where = "WHERE execution = :execution AND kind = :kind ORDER BY name"
        return await self._read(
            lambda db: WEBHOOKS.select(db, where, execution=execution, kind=kind)
        )

    async def page(
        self, *, by: str | None = None, limit: int = 50, cursor: str | None = None
    ) -> Page[Webhook]:
        """Return webhooks for many executions by name: all, or those of one maker."""
        wanted, values = conditions_of({"by = :by": by})
        where = " AND ".join(["execution IS NULL", "name > :after", *wanted])
        values["after"] = cursor or ""
        return await self._read(
            lambda db: WEBHOOKS.page(
                db, limit, lambda each: each.name, f"WHERE {where} ORDER BY name", **values
            )
        )

    async def change(self, id_: str, changes: Mapping[str, Any]) -> None:
        """Change columns of a webhook. It is no error if it was removed."""
        await self._write(lambda db: WEBHOOKS.update(db, "WHERE id = :id", changes, id=id_))

    async def enable(self, id_: str) -> None:
        """Enable a webhook again, and forget its failures."""
        await self.change(id_, {"disabled": None, "why": None, "failures": 0})

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
    if WEBHOOKS.any(db, _NAMED, name=webhook.name):
        raise ConflictError(
            f"there is a webhook {webhook.name!r} already",
            hint="choose another name, or remove that one first: `koco webhook remove`",
        )
    _require_few(db, "execution IS NULL AND by = :of", webhook.by, MOST)
    outbox.add(db, webhook)


def _add_to(db: Connection, execution: int, webhook: Webhook) -> None:
    if not db.execute("SELECT 1 FROM executions WHERE id = :id", {"id": execution}).fetchone():
        raise NotFoundError("there is no such execution")
    own = "WHERE execution = :execution AND kind = :kind AND name = :name"
    WEBHOOKS.delete(db, own, execution=execution, kind=webhook.kind, name=webhook.name)
    _require_few(db, "execution = :of", execution, MOST_OF_EXECUTION)
    row = {**WEBHOOKS.values(webhook), "execution": execution}
    outbox.add(db, WEBHOOKS.read([row[name] for name in WEBHOOKS.names]))


def _require_few(db: Connection, where: str, of: object, most: int) -> None:
    [(count,)] = db.execute(f"SELECT count(*) FROM webhooks WHERE {where}", {"of": of}).fetchall()
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
