"""All unfinished uploads of a control plane: their sizes, their owners, and the owners' limits.

A key or a user is an owner, not its name: what a revoked key has begun is not the next key's of
that name (`Caller.owner`). The limits of number and size count by name, however files arrive.
"""

import hashlib

from koco.control.settings import Settings
from koco.errors import TooManyError
from koco.sizes import MB

#: When an owner with too many unfinished uploads should try again (seconds).
_RETRY_S = 60.0
#: The length of a name's hash in file names (characters).
_NAMED = 32


class Unfinished:
    """The unfinished uploads, by the names that `upload_name` makes."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        #: The bytes that have arrived, or the announced size of an upload in progress (bytes).
        self.sizes: dict[str, int] = {}

    def of(self, owner: str) -> list[str]:
        """Return the names of an owner's unfinished uploads."""
        begin = upload_name(owner, "")
        return [name for name in self.sizes if name.startswith(begin)]

    def require(self, name: str, size_bytes: int, *, whose: str, is_new: bool = True) -> None:
        """Refuse an upload beyond its owner's limits, in number (if it is new) or size.

        Raises:
            TooManyError: a limit is reached.
        """
        others = [
            size
            for other, size in self.sizes.items()
            if other != name and other[:_NAMED] == name[:_NAMED]
        ]
        most, most_mb = self._settings.max_unfinished_uploads, self._settings.max_unfinished_mb
        hint = (
            "complete or cancel them, or wait: uploads without progress for"
            f" {self._settings.unfinished_hours:g} hours are removed"
        )
        if is_new and len(others) >= most:
            raise TooManyError(
                f"{whose!r} has {len(others)} unfinished uploads;"
                f" this control plane's max_unfinished_uploads is {most}",
                hint=hint,
                retry_after_s=_RETRY_S,
            )
        if (total_bytes := sum(others) + size_bytes) > most_mb * MB:
            raise TooManyError(
                f"with this one {whose!r} has unfinished uploads of {total_bytes / MB:.4g} MB;"
                f" this control plane's max_unfinished_mb is {most_mb:g}",
                hint=hint,
                retry_after_s=_RETRY_S,
            )


def folder_name(owner: str) -> str:
    """Return the name of an owner's folder. Hashed, because names may be unsafe in a path."""
    name, _, made = owner.partition(" ")
    return _hash(name) + (f".{_hash(made)}" if made else "")


def upload_name(owner: str, upload: str) -> str:
    """Return a name for an owner's upload that is safe in a path."""
    return f"{folder_name(owner)}-{upload}"


def name_of(owner: str) -> str:
    """Return the name of the key or user that is an owner."""
    return owner.partition(" ")[0]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_NAMED]
