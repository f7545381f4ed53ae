"""Full text search with PostgreSQL's text search vectors.

Words are found here and not by the server's parser, so that the same ones are as with SQLite: runs
of letters and digits, without regard to case and accents.

The newest matches are wanted, but the index of words has no order, and nobody knows whether a word
is in every text or in ten of millions. So each vector also has its range of ids as a word: `@7` is
the seventh range of 16,384 ids, `@@7` that of 524,288. A search begins with the newest texts, which
are read themselves, and goes back in ranges that grow as long as they have too few matches.
"""

import re
import time
import unicodedata
from collections.abc import Iterable, Sequence

from koco.store.engine.protocol import Connection, Word

#: PostgreSQL's limits: the highest position in a vector, and how many of a word it keeps.
_LAST_POSITION, _MOST_POSITIONS = 16383, 255
#: A word is indexed up to this length (characters).
_LONGEST = 400
#: The ranges that are words: what marks them, and the logarithm of their size.
_RANGES = (("@", 14), ("@@", 19))
#: How many of the newest texts are read at least, how much farther each step goes back than the
#: one before, and up to how many of the smaller ranges a step names.
_NEWEST, _GROWTH, _NAMED = 8192, 8, 32
#: Steps do not grow if they take longer than that, and none begins later (seconds).
_STEP_S, _ALL_S = 0.02, 0.1
#: What is neither a letter nor a digit: `_` counts as a word for `re`.
_GAPS = re.compile(r"[\W_]+")


class TextIndex:
    """The index of texts by execution; see `protocol.TextIndex`.

    It finds a phrase only within the first 16,383 words of a text.
    """

    table = "search"
    column = "execution"
    condition = "words @@ CAST(:match AS tsquery)"

    def require(self, db: Connection) -> None:
        """Check nothing: every PostgreSQL can search."""

    def exists(self, db: Connection) -> bool:
        """Return true."""
        return True

    def match(self, words: Sequence[Word]) -> str:
        """Return a `tsquery`. All words are quoted, so none is read as syntax."""
        return " & ".join(found for word in words if (found := _phrase(word)))

    def find(
        self, db: Connection, match: str, low: int, high: int, most: int
    ) -> tuple[list[int], int]:
        """Return the highest ids of matching texts, and how far it came."""
        began_s = step_s = time.monotonic()
        [(last,)] = db.execute("SELECT coalesce(max(execution), 0) FROM search").fetchall()
        high, size = min(high, last + 1), max(_NEWEST, 8 * most)
        found = _newest(db, match, max(low, high - size), high, most)
        while len(found) < most and (high := high - size) > low:
            now_s = time.monotonic()
            if now_s - began_s > _ALL_S:
                return found, high
            size *= _GROWTH if now_s - step_s < _STEP_S else 1
            step_s = now_s
            found += _indexed(db, match, max(low, high - size), high, most - len(found))
        return found, found[-1] if len(found) == most else low

    def put(self, db: Connection, texts: Iterable[tuple[int, str]]) -> None:
        """Index texts by execution."""
        db.executemany(
            "INSERT INTO search (execution, words)"
            " SELECT :id, CAST(:words AS tsvector)"
            " WHERE EXISTS (SELECT 1 FROM executions WHERE id = :id)"
            " ON CONFLICT (execution) DO UPDATE SET words = excluded.words",
            [{"id": number, "words": vector(text, number)} for number, text in texts],
        )

    def remove(self, db: Connection, execution: int) -> None:
        """Remove an execution's text."""
        db.execute("DELETE FROM search WHERE execution = :id", {"id": execution})


def vector(text: str, execution: int) -> str:
    """Return a text as a `tsvector`: its words with their positions, and its ranges."""
    found: dict[str, list[str]] = {}
    for position, word in enumerate(_words(text), 1):
        positions = found.setdefault(word, [])
        if position <= _LAST_POSITION and len(positions) < _MOST_POSITIONS:
            positions.append(str(position))
    words = [
        f"'{word}':{','.join(positions)}" if positions else f"'{word}'"
        for word, positions in found.items()
    ]
    return " ".join([*words, *(f"'{mark}{execution >> shift}'" for mark, shift in _RANGES)])


def _newest(db: Connection, match: str, low: int, high: int, most: int) -> list[int]:
    """Return the highest ids of matching texts in a range, each of whose texts is read."""
    rows = db.execute(
        "SELECT execution FROM search WHERE words @@ CAST(:match AS tsquery)"
        " AND execution >= :low AND execution < :high ORDER BY execution DESC LIMIT :most",
        {"match": match, "low": low, "high": high, "most": most},
    )
    return [number for (number,) in rows]


def _indexed(db: Connection, match: str, low: int, high: int, most: int) -> list[int]:
    """Return the highest ids of matching texts in a range, found in the index of words."""
    small, large = _RANGES
    mark, shift = small if high - low <= _NAMED << small[1] else large
    ranges = "|".join(
        f"'{mark}{number}'" for number in range(low >> shift, (high - 1 >> shift) + 1)
    )
    # Materialized, so that the planner does not read texts in their order until enough match.
    rows = db.execute(
        "WITH found AS MATERIALIZED"
        " (SELECT execution FROM search WHERE words @@ CAST(:match AS tsquery))"
        " SELECT execution FROM found WHERE execution >= :low AND execution < :high"
        " ORDER BY execution DESC LIMIT :most",
        {"match": f"({match}) & ({ranges})", "low": low, "high": high, "most": most},
    )
    return [number for (number,) in rows]


def _phrase(word: Word) -> str:
    found = [f"'{each}'" for each in _words(word.text)]
    if found and word.is_prefix:
        found[-1] += ":*"
    return f"({' <-> '.join(found)})" if found else ""


def _words(text: str) -> list[str]:
    plain = text if text.isascii() else _without_accents(text)
    return [word[:_LONGEST] for word in _GAPS.split(plain.lower()) if word]


def _without_accents(text: str) -> str:
    parts = unicodedata.normalize("NFD", text)
    return "".join(each for each in parts if unicodedata.category(each) != "Mn")
