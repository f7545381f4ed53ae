"""Look into a store that no control plane has open: would it accept a key?"""

import sqlite3
from contextlib import closing
from pathlib import Path

from koco.store.engine.sqlite.connection import connect_to_look

_QUESTION = """
    SELECT NOT EXISTS (SELECT 1 FROM keys)
        OR EXISTS (SELECT 1 FROM keys WHERE digest = :digest OR former = :digest)
"""


def admits(path: Path, digest: bytes) -> bool:
    """Return whether a store has the key with this SHA-256, or no keys. Writes nothing.

    A store that cannot be read counts as one: the control plane says what is wrong with it.
    """
    if not path.is_file():
        return True
    try:
        with closing(connect_to_look(path)) as db:
            return bool(db.execute(_QUESTION, {"digest": digest}).fetchone()[0])
    except sqlite3.Error:
        return True
