"""What a transaction tells the other processes of a shared store: one notification."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec
from psycopg import sql

from koco.store.engine.postgres.connection import Connection
from koco.store.model import News, Topic

#: The channel.
CHANNEL = "koco"
#: The server takes less than 8,000 bytes.
_MOST_BYTES = 7900
#: Any credential may have changed.
_ALL_ACCESS = News(Topic.ACCESS, "")


class _Payload(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    #: Which process it is from.
    by: str
    news: Sequence[News] = ()
    fids: Sequence[str] = ()
    #: Whether there was more than fits, so that everything is to be looked up again.
    all: bool = False


class Heard(NamedTuple):
    """What other processes have told."""

    news: list[News]
    fids: list[str]
    #: Whether something may have been missed.
    has_gap: bool = False


def ending(db: Connection, by: str) -> str:
    """Return the statements that end a transaction and tell of it. `by` is this process."""
    if not (db.news or db.touched):
        return "COMMIT"
    text = sql.Literal(_payload(db, by).decode()).as_string(db.raw)
    return f"SELECT pg_notify('{CHANNEL}', {text}); COMMIT"


def missed() -> Heard:
    """Return what is to be done if anything may have been told and missed."""
    return Heard([_ALL_ACCESS], [], has_gap=True)


def heard(payloads: Iterable[str], by: str) -> Heard:
    """Return what others have told in some notifications."""
    found = Heard([], [])
    fids: dict[str, None] = {}
    has_gap = False
    for text in payloads:
        try:
            payload = msgspec.json.decode(text, type=_Payload)
        except msgspec.MsgspecError:
            found.news.append(_ALL_ACCESS)
            has_gap = True  # a newer koco has told it
            continue
        if payload.by != by:
            found.news.extend(payload.news)
            fids.update(dict.fromkeys(payload.fids))
            has_gap = has_gap or payload.all
    return Heard(found.news, list(fids), has_gap)


def _payload(db: Connection, by: str) -> bytes:
    """Return the notification. If it is too large, it says whose access has changed, at least."""
    access = [each for each in db.news if each.topic is Topic.ACCESS]
    for payload in (
        _Payload(by=by, news=db.news, fids=sorted(db.touched)),
        _Payload(by=by, news=access, all=True),
    ):
        if len(text := _encode(payload)) <= _MOST_BYTES:
            return text
    return _encode(_Payload(by=by, news=[_ALL_ACCESS], all=True))


def _encode(payload: _Payload) -> bytes:
    # Texts of PostgreSQL have no surrogates and no NUL, and JSON writes both as escapes.
    return msgspec.json.encode(payload)
