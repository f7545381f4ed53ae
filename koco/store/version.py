"""The version of a store's tables, which all engines share."""

from koco.errors import ConflictError

#: The version that this koco writes.
LATEST = 10


def require_known(version: int) -> None:
    """Refuse a store that a newer koco has written.

    Raises:
        ConflictError: a newer koco has written it.
    """
    if version > LATEST:
        raise ConflictError(
            f"the store has version {version}, this koco knows up to {LATEST}",
            hint="a newer koco wrote it: upgrade koco here",
        )
