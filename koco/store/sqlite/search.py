"""Full text: the words of executions' inputs, results and errors, by SQLite's FTS5.

The index follows the table of changes, a little later: a launch need not pay for it, and a
search has it catch up first. After an upgrade it also goes back, from the newest to the
oldest, through what is there already.
"""

import logging
import re
import sqlite3
from typing import Any, NamedTuple

import msgspec

from koco.errors import KocoError, UsageError
from koco.events import line
from koco.events.model import Status
from koco.store.model import masked
from koco.store.sqlite import events

log = logging.getLogger(__name__)

#: How much of an execution's inputs, and of its result, is indexed (characters).
TEXT_CHARS = 64 * 1024
#: How much is entered at once, executions and characters: a launch may have to wait for that.
_PIECE = 100
_PIECE_CHARS = 256 * 1024
#: The longest search: characters, and words and phrases. How long it may take (seconds), as others
#: wait for it: words that are begun with one letter only have many that fit.
_LONGEST, _MOST_WORDS, MOST_S = 1000, 32, 2.0

#: A phrase in quotes, the last one perhaps without its end; or a word. Each may end in `*`.
_TOKEN = re.compile(r'"([^"]*)(?:"(\*?)|$)|([^\s"]+)')


class NoSearchError(KocoError):
    """This Python's SQLite cannot search."""

    http_status = 501
    code = "no_search"


class Piece(NamedTuple):
    """What is to be entered: texts by execution, and what the index has then."""

    texts: list[tuple[int, str]]
    upto: int
    above: int


def prepare(db: sqlite3.Connection) -> None:
    """Make the index where there is none; without FTS5 there stays none."""
    if _has_index(db):
        return
    try:
        # Its own copy of the texts is what lets it forget one.
        db.execute(
            "CREATE VIRTUAL TABLE search USING fts5"
            " (text, columnsize = 0, tokenize = 'unicode61 remove_diacritics 2')"
        )
    except sqlite3.OperationalError as exc:
        if "fts5" not in str(exc):
            raise
        return
    last = "(SELECT coalesce(max(seq), 0) FROM changes)"
    db.execute(f"UPDATE indexed SET upto = {last}, above = {last}")


def require(db: sqlite3.Connection) -> None:
    """Refuse to search where there is no index.

    Raises:
        NoSearchError: there is none.
    """
    if not _has_index(db):
        raise NoSearchError(
            f"the control plane's SQLite ({sqlite3.sqlite_version}) has no full text search, FTS5",
            hint="all other filters work; a Python whose SQLite has FTS5 brings it",
        )


def _has_index(db: sqlite3.Connection) -> bool:
    row = db.execute("SELECT 1 FROM sqlite_master WHERE name = 'search'").fetchone()
    return row is not None


def expression(text: str) -> str:
    """Return what FTS5 is to match: each word and phrase in quotes, so that none is its syntax.

    Raises:
        UsageError: there is nothing in it to look for.
    """
    if len(text) > _LONGEST:
        raise UsageError(f"a search has {_LONGEST} characters at most, this one {len(text)}")
    found: list[str] = []
    for match in _TOKEN.finditer("".join(c if c.isprintable() else " " for c in text)):
        phrase, star, word = match.groups()
        if word is not None:
            phrase, star = word.rstrip("*"), "*" if word.endswith("*") else ""
        if any(c.isalnum() for c in phrase):
            found.append(f'"{phrase}"{star}')
    if len(found) > _MOST_WORDS:
        raise UsageError(f"a search has {_MOST_WORDS} words and phrases at most")
    if not found:
        raise UsageError(
            "the search has neither a letter nor a digit",
            hint='words that are all to be found; "a phrase"; begin*',
        )
    return " AND ".join(found)


def is_complete(db: sqlite3.Connection) -> bool:
    """Say whether every change is in the index."""
    row = db.execute(
        "SELECT above = 0 AND upto >= (SELECT coalesce(max(seq), 0) FROM changes) FROM indexed"
    ).fetchone()
    return bool(row[0])


def has_news(db: sqlite3.Connection) -> bool:
    """Say whether something has changed since the index was last brought up to date."""
    row = db.execute("SELECT upto < (SELECT max(seq) FROM changes) FROM indexed").fetchone()
    return bool(row[0])


def gather(db: sqlite3.Connection) -> Piece | None:
    """Return the next executions to enter: what is new first, then what is old; None at the end."""
    if not _has_index(db):
        return None
    upto, above = db.execute("SELECT upto, above FROM indexed").fetchone()
    select = "SELECT seq, execution FROM changes WHERE"
    new = db.execute(f"{select} seq > ? ORDER BY seq LIMIT ?", (upto, _PIECE)).fetchall()
    if new:
        texts, last = _texts(db, new)
        return Piece(texts, last, above)
    old = db.execute(f"{select} seq <= ? ORDER BY seq DESC LIMIT ?", (above, _PIECE)).fetchall()
    if old:
        texts, last = _texts(db, old)
        return Piece(texts, upto, last - 1)
    return Piece([], upto, 0) if above else None


def enter(db: sqlite3.Connection, piece: Piece) -> None:
    """Enter what was gathered, but for what was deleted meanwhile."""
    db.executemany(
        "INSERT OR REPLACE INTO search (rowid, text)"
        " SELECT ?1, ?2 WHERE EXISTS (SELECT 1 FROM executions WHERE id = ?1)",
        piece.texts,
    )
    db.execute("UPDATE indexed SET upto = ?, above = ?", (piece.upto, piece.above))


def forget(db: sqlite3.Connection, execution: int) -> None:
    """Take an execution out of the index."""
    if _has_index(db):
        db.execute("DELETE FROM search WHERE rowid = ?", (execution,))


def _texts(
    db: sqlite3.Connection, changes: list[tuple[int, int]]
) -> tuple[list[tuple[int, str]], int]:
    """Return texts by execution, as many as fit into a piece, and the last change's number."""
    found: list[tuple[int, str]] = []
    left, last = _PIECE_CHARS, 0
    for seq, number in changes:
        last = seq
        row = db.execute(
            "SELECT inputs, hidden, status, outcome_seq, error FROM executions WHERE id = ?",
            (number,),
        ).fetchone()
        if row is not None:
            found.append((number, _readable(db, number, *row)))
            left -= len(found[-1][1])
        if left <= 0:
            break
    return found, last


def _readable(db: sqlite3.Connection, number: int, *row: Any) -> str:
    """Return what is to be found of an execution: nothing where that cannot be read.

    One row must not keep all that come after it from being found.
    """
    try:
        return _text(db, number, *row)
    except (msgspec.MsgspecError, ValueError, TypeError, LookupError) as exc:
        log.error("search cannot find execution %d: its row cannot be read: %r", number, exc)
        return ""


def _text(
    db: sqlite3.Connection,
    number: int,
    inputs: str,
    hidden: str | None,
    status: str,
    outcome_seq: int | None,
    error: str | None,
) -> str:
    """Return what is to be found of an execution: nothing that nobody is shown."""
    shown = masked(msgspec.json.decode(inputs), msgspec.json.decode(hidden or "[]"))
    parts = [words(shown)]
    if status == Status.FINISHED and outcome_seq is not None:
        for chunk in events.after(db, number, outcome_seq - 1, 1):
            text = dict(line.number_lines(chunk.first, chunk.body))[outcome_seq]
            parts.append(words(line.decode(outcome_seq, text).get("payload")))
    elif error:
        parts.append(words(msgspec.json.decode(error)))
    return "\n".join(parts)


def words(value: Any) -> str:
    """Return the texts, numbers and names in a JSON value, as far as they are indexed."""
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
