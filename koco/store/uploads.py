"""The blobs that users have uploaded, and may therefore name."""

from koco.events import line
from koco.store import releases
from koco.store.engine.protocol import Connection
from koco.store.sql.repository import Repository
from koco.store.sql.table import replacement

_PUT = replacement("uploads", ("user", "sha256", "size_bytes", "created"), key=("user", "sha256"))
#: The length of a time stamp's prefix up to the hour.
_HOUR = len("2026-01-31T12")


class Uploads(Repository):
    """Uploaded blobs by user."""

    async def add(self, user: str, sha256: str, size_bytes: int) -> None:
        """Record that a user uploaded a blob, and so may refer to it."""
        row = {
            "user": user,
            "sha256": sha256,
            "size_bytes": size_bytes,
            "created": line.timestamp(),
        }
        await self._write(lambda db: db.execute(_PUT, row))

    async def renew(self, user: str, sha256: str) -> int | None:
        """Return the size of a blob that a user uploaded, and keep it for another day."""
        found = await self._read(lambda db: find(db, user, sha256))
        if found is None:
            return None
        size_bytes, since = found
        # Written only if the hour has changed: often enough, and it saves a commit for most calls.
        if since[:_HOUR] != line.timestamp()[:_HOUR]:
            await self.add(user, sha256, size_bytes)
        return size_bytes

    async def find_unused(self, blobs: list[str], *, before: str, keep_releases: int) -> list[str]:
        """Delete the records from before a time; return those of `blobs` without references.

        A release refers to its bundle while it is live or starting, while executions of it run,
        and while it is among the last few of its service that were live.
        """

        def change(db: Connection) -> list[str]:
            db.execute("DELETE FROM uploads WHERE created < :before", {"before": before})
            bundles = releases.bundles_in_use(db, keep=keep_releases)
            return [blob for blob in blobs if blob not in bundles and not _is_named(db, blob)]

        return await self._write(change)


def named_blobs(db: Connection) -> list[str]:
    """Return all blobs that something refers to, by name."""
    rows = db.execute(
        "SELECT sha256 FROM files UNION SELECT sha256 FROM uploads"
        " UNION SELECT blob FROM steps WHERE blob IS NOT NULL"
        " UNION SELECT bundle FROM releases WHERE bundle <> '' ORDER BY 1"
    )
    return [name for (name,) in rows]


def find(db: Connection, user: str, sha256: str) -> tuple[int, str] | None:
    """Return the size of a blob that a user uploaded, and the time from which it is kept."""
    row = db.execute(
        'SELECT size_bytes, created FROM uploads WHERE "user" = :user AND sha256 = :sha256',
        {"user": user, "sha256": sha256},
    ).fetchone()
    return (row[0], row[1]) if row else None


def _is_named(db: Connection, blob: str) -> bool:
    row = db.execute(
        "SELECT 1 WHERE EXISTS (SELECT 1 FROM files WHERE sha256 = :blob)"
        " OR EXISTS (SELECT 1 FROM uploads WHERE sha256 = :blob)"
        " OR EXISTS (SELECT 1 FROM steps WHERE blob = :blob)",
        {"blob": blob},
    ).fetchone()
    return row is not None
