"""The replies to requests with idempotency keys, for a day."""

import time

from koco.store.engine.protocol import Connection
from koco.store.model import Reply
from koco.store.sql.repository import Repository
from koco.store.sql.table import Table

#: How long a reply is kept (seconds).
KEPT_S = 24 * 3600.0

_REPLIES = Table("replies", Reply, key=("user", "key"))
_FRESH = 'WHERE "user" = :user AND key = :key AND created >= :oldest'


class Replies(Repository):
    """Replies by user and idempotency key."""

    async def put(self, reply: Reply) -> None:
        """Store a reply, and delete expired ones."""

        def change(db: Connection) -> None:
            _REPLIES.delete(db, "WHERE created < :oldest", oldest=reply.created - KEPT_S)
            _REPLIES.put(db, reply)

        await self._write(change)

    async def find(self, user: str, key: str) -> Reply | None:
        """Return the stored reply for a user's idempotency key."""
        oldest = time.time() - KEPT_S
        return await self._read(
            lambda db: _REPLIES.first(db, _FRESH, user=user, key=key, oldest=oldest)
        )
