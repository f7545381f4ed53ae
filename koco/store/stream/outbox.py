"""What webhooks are to be told of a change, written in that change."""

import secrets
import time

import msgspec

from koco.events import line
from koco.store.engine.protocol import Connection
from koco.store.model import Topic
from koco.store.sql.table import Table, insertion
from koco.store.stream import ledger
from koco.store.stream.ledger import State
from koco.store.webhook_model import DeliveryStatus, Webhook, wants

WEBHOOKS = Table("webhooks", Webhook, key=("id",), json=("events", "flows"))

#: The webhooks that may hear of an execution: its own, and those for many. By indexes, because
#: this is part of every change of a status. Events are compared here and not by `LIKE`, for whose
#: pattern SQLite prepares the statement again each time.
_LISTENING = " UNION ALL ".join(
    "SELECT w.id, w.events, w.flows, w.origin, w.by, e.flow FROM executions e"
    f" JOIN webhooks w ON {which} WHERE e.id = :id AND e.service <> '' AND w.disabled IS NULL"
    for which in (
        "w.execution = e.id",
        'w.execution IS NULL AND w."user" IN (\'\', e."user")',
    )
)
_COLUMNS = ("message", "webhook", "fid", "flow", "event", "lid", "created", "status", "due")
NEW = insertion("deliveries", (*_COLUMNS, "origin", "by"))
_ADD = insertion("webhooks", (*WEBHOOKS.names, "origin"))
_TEXTS = msgspec.json.Decoder(tuple[str, ...])


def note(db: Connection, now: State, event: str, *, lid: str = "") -> None:
    """Enter what the webhooks of an execution are to be told of it."""
    rows = [
        entry(webhook, fid=now.fid, flow=flow, event=event, lid=lid, origin=origin, by=by)
        for webhook, events, flows, origin, by, flow in db.execute(_LISTENING, {"id": now.id})
        if event in _TEXTS.decode(events) and wants(_TEXTS.decode(flows), flow)
    ]
    if rows:
        db.executemany(NEW, rows)
        ledger.tell(db, Topic.OUTBOX, now.fid)


def entry(
    webhook: str, *, fid: str, flow: str, event: str, origin: str, by: str, lid: str = ""
) -> dict[str, object]:
    """Return the row of a delivery that is due now."""
    now_s = time.time()
    return {
        **{"message": new_message(), "webhook": webhook, "fid": fid, "flow": flow},
        **{"event": event, "lid": lid, "created": line.timestamp(now_s)},
        **{"status": DeliveryStatus.PENDING, "due": now_s, "origin": origin, "by": by},
    }


def disable_all(db: Connection, by: str) -> None:
    """Disable the webhooks of a key or a user that has no access any more."""
    why = f"its maker {by!r} has no access any more"
    db.execute(
        "UPDATE deliveries SET status = :failed, due = NULL, error = :why WHERE due IS NOT NULL"
        " AND webhook IN (SELECT id FROM webhooks WHERE by = :by AND disabled IS NULL)",
        {"failed": DeliveryStatus.FAILED, "why": why, "by": by},
    )
    off = {"disabled": line.timestamp(), "why": why}
    WEBHOOKS.update(db, "WHERE by = :by AND disabled IS NULL", off, by=by)


def new_message() -> str:
    """Return the id of a new message."""
    return f"msg_{secrets.token_hex(12)}"


def add(db: Connection, webhook: Webhook) -> None:
    """Add a webhook."""
    row = WEBHOOKS.values(webhook) | {"origin": webhook.origin}
    row["created"] = webhook.created or line.timestamp()
    db.execute(_ADD, row)
