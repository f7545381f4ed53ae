"""Full text search with PostgreSQL's text search vectors.

Words are found here and not by the server's parser, so that the same ones are as with SQLite: runs
of letters and digits, without regard to case and accents.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence

from koco.store.engine.protocol import Connection, Word

#: PostgreSQL's limits: the highest position in a vector, and how many of a word it keeps.
_LAST_POSITION, _MOST_POSITIONS = 16383, 255
#: A word is indexed up to this length (characters).
_LONGEST = 400
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

    def put(self, db: Connection, texts: Iterable[tuple[int, str]]) -> None:
        """Index texts by execution."""
        db.executemany(
            "INSERT INTO search (execution, words)"
            " SELECT :id, CAST(:words AS tsvector)"
            " WHERE EXISTS (SELECT 1 FROM executions WHERE id = :id)"
            " ON CONFLICT (execution) DO UPDATE SET words = excluded.words",
            [{"id": execution, "words": vector(text)} for execution, text in texts],
        )

    def remove(self, db: Connection, execution: int) -> None:
        """Remove an execution's text."""
        db.execute("DELETE FROM search WHERE execution = :id", {"id": execution})


def vector(text: str) -> str:
    """Return a text as a `tsvector`: its words with their positions."""
    found: dict[str, list[str]] = {}
    for position, word in enumerate(_words(text), 1):
        positions = found.setdefault(word, [])
        if position <= _LAST_POSITION and len(positions) < _MOST_POSITIONS:
            positions.append(str(position))
    return " ".join(
        f"'{word}':{','.join(positions)}" if positions else f"'{word}'"
        for word, positions in found.items()
    )


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
