"""Put a store aside, to make room for another one in its database."""

import time
from contextlib import closing

import psycopg
from psycopg import errors

from koco.errors import ConflictError
from koco.store.engine.postgres import failures, rights
from koco.store.engine.postgres.connection import connect
from koco.store.errors import StoreError

#: How long the server may take to notice that somebody has closed it (seconds).
_PATIENCE_S = 3.0


def put_aside(url: str, name: str) -> None:
    """Rename the schema with the tables of a store that no control plane has open. Blocks.

    Raises:
        ConflictError: a control plane has it open.
        StoreError: it cannot be renamed.
    """
    location = url.partition("?")[0]
    try:
        with closing(connect(url)) as db:
            until_s = time.monotonic() + _PATIENCE_S
            while rights.is_taken(db):
                if time.monotonic() > until_s:
                    raise ConflictError(
                        f"a control plane has {location} open", hint="`koco down` stops it"
                    )
                time.sleep(0.05)
            db.execute(f"ALTER SCHEMA koco RENAME TO {name}")
    except errors.InsufficientPrivilege as exc:
        raise StoreError(
            f"the store of {location} cannot be put aside: {exc.diag.message_primary}",
            hint="only the owner of the schema `koco` who has CREATE on the database can rename it:"
            f" restore as that one, or rename it yourself (`ALTER SCHEMA koco RENAME TO {name}`),"
            " and restore again",
        ) from exc
    except psycopg.Error as exc:
        raise failures.translate(exc, location, what="the store could not be put aside") from exc
