"""Passwords: hashed by argon2id in a thread, one at a time.

Each hash takes 64 MiB and a tenth of a second of two cores on purpose. Many at once could exhaust a
machine, so only a few may wait in line, and the others must try again later.
"""

import asyncio
import secrets
import unicodedata
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from koco.errors import TooManyError, UsageError

if TYPE_CHECKING:
    from argon2 import PasswordHasher

T = TypeVar("T")

#: Length of a password in characters. The minimum follows NIST SP 800-63B for a password
#: as the only factor; the maximum is longer than anybody types.
SHORTEST, LONGEST = 12, 1024
#: How many may wait in line.
_LINE = 16


def normalize(password: str) -> str:
    """Return a new password if it is acceptable.

    Raises:
        UsageError: it is too short or too long.
    """
    if not SHORTEST <= len(_plain(password)) <= LONGEST:
        raise UsageError(
            f"a password must have {SHORTEST} to {LONGEST} characters",
            hint="four or five unrelated words make a good one",
        )
    return password


class Passwords:
    """Makes and verifies hashes; without a `hasher`, with argon2-cffi's default parameters.

    These are RFC 9106's second recommended option: 64 MiB, three passes, four lanes. If the default
    changes, hashes are renewed when users log in: see `is_old`.
    """

    def __init__(self, hasher: "PasswordHasher | None" = None) -> None:
        self._made = hasher
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._nobodys = ""

    def require_turn(self) -> None:
        """Check that there is room in the line.

        Raises:
            TooManyError: too many wait already.
        """
        if self._waiting >= _LINE:
            raise TooManyError(
                "too many users are logging in at once",
                hint="try again in 2 s; a key works meanwhile",
                retry_after_s=2,
            )

    async def hash(self, password: str) -> str:
        """Return the hash of a password, which includes its salt and parameters."""
        return await self._run(lambda: self._hasher.hash(_plain(password)))

    async def verify(self, known: str | None, password: str) -> bool:
        """Return whether a password matches a hash. Without a hash this takes as long."""
        from argon2.exceptions import VerifyMismatchError

        # Made in advance, because an unknown user must not take longer the first time either.
        self._nobodys = self._nobodys or await self.hash(secrets.token_hex())

        def compare() -> bool:
            try:
                return self._hasher.verify(known or self._nobodys, _plain(password))
            except VerifyMismatchError:
                return False

        return await self._run(compare) and known is not None

    def is_old(self, known: str) -> bool:
        """Return whether a hash was made with other parameters than the current ones."""
        return self._hasher.check_needs_rehash(known)

    @property
    def _hasher(self) -> "PasswordHasher":
        if self._made is None:
            from argon2 import PasswordHasher  # only the first user needs it

            self._made = PasswordHasher()
        return self._made

    async def _run(self, work: Callable[[], T]) -> T:
        self._waiting += 1
        try:
            async with self._turn:
                return await asyncio.to_thread(work)
        finally:
            self._waiting -= 1


def _plain(password: str) -> str:
    """Normalize a password, because keyboards write the same character in several forms."""
    return unicodedata.normalize("NFKC", password)
