"""Passwords: hashed by argon2id in a thread, one at a time.

Each hash takes 64 MiB and a tenth of a second of two cores on purpose. So many at once
are a way to exhaust a machine: few wait in line, and the rest is told to come again.
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

#: Characters of a password: as NIST SP 800-63B has it where it is all that is shown, and
#: more than anybody types.
SHORTEST, LONGEST = 12, 1024
#: How many may wait for their turn.
_LINE = 16


def checked(password: str) -> str:
    """Return a password that somebody may have from now on.

    Raises:
        UsageError: it is too short or too long.
    """
    if not SHORTEST <= len(_plain(password)) <= LONGEST:
        raise UsageError(
            f"a password has from {SHORTEST} to {LONGEST} characters",
            hint="four or five words that have nothing to do with one another are a good one",
        )
    return password


class Passwords:
    """Makes hashes and compares with them; without a hasher, with argon2-cffi's own choice.

    That is RFC 9106's second recommended option: 64 MiB, three passes, four lanes. What it
    is one day is taken over as people log in: see `is_old`.
    """

    def __init__(self, hasher: "PasswordHasher | None" = None) -> None:
        self._made = hasher
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._nobodys = ""

    def require_turn(self) -> None:
        """Refuse where too many wait already.

        Raises:
            TooManyError: they do.
        """
        if self._waiting >= _LINE:
            raise TooManyError(
                "too many log in at once", hint="try again in 2 s; a key gets in", retry_after_s=2
            )

    async def hash(self, password: str) -> str:
        """Return the hash of a password, with its salt and how it was made."""
        return await self._run(lambda: self._hasher.hash(_plain(password)))

    async def verify(self, known: str | None, password: str) -> bool:
        """Say whether a password is the one of a hash; without one it takes as long."""
        from argon2.exceptions import VerifyMismatchError

        # Made before it is needed: who is unknown must not take longer the first time either.
        self._nobodys = self._nobodys or await self.hash(secrets.token_hex())

        def compare() -> bool:
            try:
                return self._hasher.verify(known or self._nobodys, _plain(password))
            except VerifyMismatchError:
                return False

        return await self._run(compare) and known is not None

    def is_old(self, known: str) -> bool:
        """Say whether a hash was made otherwise than it would be now."""
        return self._hasher.check_needs_rehash(known)

    @property
    def _hasher(self) -> "PasswordHasher":
        if self._made is None:
            from argon2 import PasswordHasher  # by the first user: others need none of it

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
    """Return a password in one form: keyboards write the same character in several."""
    return unicodedata.normalize("NFKC", password)
