"""Release tokens: a release's processes use them to get its secrets.

A token names the release and is signed with a random key from the store, so it cannot be guessed or
changed. It gives access to this release's secrets only, and only while the release has processes.
The processes read it from the key-value store of Ray's head: see
`koco.sdk.process.release_secrets`.
"""

import asyncio
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Collection

from koco import tokens
from koco.control.tasks import Tasks
from koco.errors import UnauthorizedError
from koco.sdk.process import release_secrets

#: How often tokens of releases that have ended are removed (seconds).
_LOOK_S = 600.0


class ReleaseTokens:
    """The tokens of all releases of one control plane."""

    def __init__(self, *, secret: bytes, url: str) -> None:
        """`url` is the control plane's URL for nodes."""
        self._secret = secret
        self._url = url
        #: Held so that a cleanup with an older list does not remove a token just published.
        self._turn = asyncio.Lock()
        self._tasks = Tasks("the release tokens")

    def token(self, service: str, number: int) -> str:
        """Return a release's token."""
        return f"{tokens.RELEASE}{service}_{number}_{self._sign(service, number)}"

    def release(self, token: str) -> tuple[str, int]:
        """Return the service and number that a token was made for.

        Raises:
            UnauthorizedError: This control plane did not make it.
        """
        service, _, rest = token.removeprefix(tokens.RELEASE).partition("_")
        number, _, signature = rest.partition("_")
        is_whole = token.startswith(tokens.RELEASE) and number.isdecimal() and len(number) < 16
        wanted = self._sign(service, int(number) if is_whole else 0)
        # Compare bytes, because `compare_digest` takes only ASCII text and callers may send any.
        is_ours = hmac.compare_digest(wanted.encode(), signature.encode("utf-8", "replace"))
        if not (is_whole and is_ours):
            raise UnauthorizedError("this is not the token of a release")
        return service, int(number)

    async def publish(self, service: str, number: int) -> None:
        """Let the processes of a release find its token, from any node."""
        async with self._turn:
            await self._publish(service, number)

    async def _publish(self, service: str, number: int) -> None:
        access = release_secrets.Access(self._url, self.token(service, number))
        await asyncio.to_thread(release_secrets.publish, service, number, access)

    def look_after(self, needed: Callable[[], Awaitable[Collection[tuple[str, int]]]]) -> None:
        """Keep the tokens of the `needed` releases published from now on, and remove all others.

        The first round runs at once, because an older control plane may have published none, and
        the URL of this one may be new.
        """
        self._tasks.keep(lambda: self._look_after(needed))

    async def _look_after(
        self, needed: Callable[[], Awaitable[Collection[tuple[str, int]]]]
    ) -> None:
        while True:
            async with self._turn:
                await self._keep_only(await needed())
            await asyncio.sleep(_LOOK_S)

    async def _keep_only(self, needed: Collection[tuple[str, int]]) -> None:
        for service, number in await asyncio.to_thread(release_secrets.list_published):
            if (service, number) not in needed:
                await asyncio.to_thread(release_secrets.forget, service, number)
        for service, number in needed:
            await self._publish(service, number)

    def _sign(self, service: str, number: int) -> str:
        signed = f"{service}/{number}".encode("utf-8", "surrogatepass")
        return hmac.new(self._secret, signed, hashlib.sha256).hexdigest()
