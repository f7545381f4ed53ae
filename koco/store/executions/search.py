"""Full text search over executions' inputs, results and errors.

The index follows the table of changes with a delay, so that launches do not pay for it. A search
first brings it up to date. If search becomes possible later than there are executions, the index
also covers those, from the newest to the oldest.
"""

import logging
import re
from typing import Any, NamedTuple

import msgspec

from koco.errors import UsageError
from koco.events import line
from koco.events.model import Status
from koco.store.engine.protocol import Connection, Word
from koco.store.model import masked
from koco.store.stream import ledger

log = logging.getLogger(__name__)

#: How much of an execution's inputs, and of its result, is indexed (characters).
TEXT_CHARS = 64 * 1024
#: How many executions and characters are indexed at once. A launch may have to wait for that.
_PIECE = 100
_PIECE_CHARS = 256 * 1024
#: The longest search: characters, then words and phrases. And the time limit (seconds), because
#: others wait for it: a prefix of one letter matches very many words.
_LONGEST, _MOST_WORDS, MOST_S = 1000, 32, 2.0

#: A phrase in quotes, the last one perhaps unclosed, or a word. Each may end in `*`.
_TOKEN = re.compile(r'"([^"]*)(?:"(\*?)|$)|([^\s"]+)')


class Piece(NamedTuple):
    """A piece to index: texts by execution, and the index's position before and after it."""

    before: tuple[int, int]
    texts: list[tuple[int, str]]
    upto: int
    above: int


def parse(text: str) -> list[Word]:
    """Return the words and phrases of a search.

    Raises:
        UsageError: it has none, or too many.
    """
    if len(text) > _LONGEST:
        raise UsageError(f"a search has {_LONGEST} characters at most, this one {len(text)}")
    found: list[Word] = []
    for match in _TOKEN.finditer("".join(c if c.isprintable() else " " for c in text)):
        phrase, star, word = match.groups()
        if word is not None:
            phrase, star = word.rstrip("*"), "*" if word.endswith("*") else ""
        if any(c.isalnum() for c in phrase):
            found.append(Word(phrase, is_prefix=bool(star)))
    if len(found) > _MOST_WORDS:
        raise UsageError(f"a search has {_MOST_WORDS} words and phrases at most")
    if not found:
        raise UsageError(
            "the search has neither a letter nor a digit",
            hint='give words, all of which must be found; or "a phrase"; or begin*',
        )
    return found


def is_complete(db: Connection) -> bool:
    """Whether the index has every change."""
    row = db.execute(
        "SELECT above = 0 AND upto >= (SELECT coalesce(max(seq), 0) FROM changes) FROM indexed"
    ).fetchone()
    return bool(row[0])


def has_news(db: Connection) -> bool:
    """Whether anything has changed since the index was last updated."""
    row = db.execute("SELECT upto < (SELECT max(seq) FROM changes) FROM indexed").fetchone()
    return bool(row[0])


def gather(db: Connection) -> Piece | None:
    """Return the next executions to index: first new ones, then old ones; None at the end."""
    if not db.dialect.search.exists(db):
        return None
    upto, above = before = tuple(db.execute("SELECT upto, above FROM indexed").fetchone())
    values = {"upto": upto, "above": above, "most": _PIECE}
    select = "SELECT seq, execution FROM changes WHERE"
    new = db.execute(f"{select} seq > :upto ORDER BY seq LIMIT :most", values).fetchall()
    if new:
        texts, last = _texts(db, new)
        return Piece(before, texts, last, above)
    old = db.execute(f"{select} seq <= :above ORDER BY seq DESC LIMIT :most", values).fetchall()
    if old:
        texts, last = _texts(db, old)
        return Piece(before, texts, upto, last - 1)
    return Piece(before, [], upto, 0) if above else None


def enter(db: Connection, piece: Piece) -> None:
    """Index a piece, except for executions deleted meanwhile.

    If another process has indexed something meanwhile, its texts may be newer: it does nothing.
    """
    was_upto, was_above = piece.before
    moved = db.execute(
        "UPDATE indexed SET upto = :upto, above = :above"
        " WHERE upto = :was_upto AND above = :was_above",
        {
            "upto": piece.upto,
            "above": piece.above,
            "was_upto": was_upto,
            "was_above": was_above,
        },
    )
    if moved.rowcount:
        db.dialect.search.put(db, piece.texts)


def _texts(db: Connection, changes: list[tuple[int, int]]) -> tuple[list[tuple[int, str]], int]:
    """Return texts by execution, as many as fit into a piece, and the last change's number."""
    found: list[tuple[int, str]] = []
    left, last = _PIECE_CHARS, 0
    for seq, number in changes:
        last = seq
        row = db.execute(
            "SELECT inputs, hidden, status, outcome_seq, error FROM executions WHERE id = :id",
            {"id": number},
        ).fetchone()
        if row is not None:
            found.append((number, _readable(db, number, *row)))
            left -= len(found[-1][1])
        if left <= 0:
            break
    return found, last


def _readable(db: Connection, number: int, *row: Any) -> str:
    """Return the searchable text of an execution, or nothing if it cannot be read.

    One damaged row must not keep all later ones out of the index.
    """
    try:
        return _text(db, number, *row)
    except (msgspec.MsgspecError, ValueError, TypeError, LookupError) as exc:
        log.error("search cannot find execution %d: its row cannot be read: %r", number, exc)
        return ""


def _text(
    db: Connection,
    number: int,
    inputs: str,
    hidden: str | None,
    status: str,
    outcome_seq: int | None,
    error: str | None,
) -> str:
    """Return the searchable text of an execution, without hidden values."""
    shown = masked(msgspec.json.decode(inputs), msgspec.json.decode(hidden or "[]"))
    parts = [words(shown)]
    if status == Status.FINISHED and outcome_seq is not None:
        if (text := ledger.event(db, number, outcome_seq)) is not None:
            parts.append(words(line.decode(outcome_seq, text).get("payload")))
    elif error:
        parts.append(words(msgspec.json.decode(error)))
    return "\n".join(parts)


def words(value: Any) -> str:
    """Return the texts, numbers and names in a JSON value, up to the indexed length."""
    found: list[str] = []
    left, todo = TEXT_CHARS, [value]
    while todo and left > 0:
        each = todo.pop()
        if isinstance(each, dict):
            for name, inner in reversed(each.items()):
                todo += (inner, name)
        elif isinstance(each, list):
            todo += reversed(each)
        elif isinstance(each, str | int | float) and not isinstance(each, bool):
            found.append(str(each)[:left])
            left -= len(found[-1]) + 1
    return "\n".join(found)
