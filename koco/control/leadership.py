"""Which of a control plane's processes leads. With a store in a file there is one, and it does.

The leader runs executions, makes events durable, deploys, and is the only one that changes things;
the others answer what the store alone can answer, accept launches, and pass on the rest.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from koco.errors import KocoError, UnreachableError

#: How long a request waits for a leader (seconds): the next one takes over within five.
_PATIENCE_S = 15.0
#: How long between two looks for a leader while there is none (seconds).
_AGAIN_S = 0.1


class OnlyLeaderError(KocoError):
    """Only the leader knows the answer, or may do it: the API passes the request on."""

    http_status = 503
    code = "only_leader"


class LeaderLostError(KocoError):
    """The leader went away while it had a request, which may have been carried out."""

    http_status = 503
    code = "leader_lost"


class Leadership:
    """Whether this process leads, and where the leader is."""

    def __init__(
        self,
        find: Callable[[], Awaitable[str | None]] | None = None,
        *,
        forget: Callable[[], None] = lambda: None,
        secret: bytes = b"",
        tls_cert: str | None = None,
    ) -> None:
        """Without `find`, this process is the only one.

        `find` returns the URL of the leader's API, or None if none leads now; after `forget`, it
        looks anew.
        """
        self._find = find
        #: Makes `find` look anew, because the leader does not answer.
        self.forget = forget
        #: Known to the processes of this control plane only: signs what they pass on.
        self.secret = secret
        #: The certificate of their APIs.
        self.tls_cert = tls_cert
        self._leads = asyncio.Event()
        if find is None:
            self._leads.set()

    @property
    def is_alone(self) -> bool:
        """Whether there are no other processes."""
        return self._find is None

    @property
    def leads(self) -> bool:
        """Whether this process leads. It never stops doing so: one that is deposed ends."""
        return self._leads.is_set()

    def begin(self) -> None:
        """Lead from now on."""
        self._leads.set()

    async def comes(self, within_s: float) -> bool:
        """Wait until this process leads; return whether it does."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._leads.wait(), within_s)
        return self.leads

    def require(self, what: str) -> None:
        """Refuse what only the leader can do.

        Raises:
            OnlyLeaderError: this process does not lead.
        """
        if not self.leads:
            raise OnlyLeaderError(
                f"this process of the control plane does not lead: {what}",
                hint="try again in a moment",
            )

    async def find(self) -> str | None:
        """Return the URL of the leader's API, or None if none leads now."""
        return await self._find() if self._find else None

    async def url(self) -> str:
        """Return the URL of the leader's API. Wait for a leader if there is none.

        Raises:
            UnreachableError: there has been none for too long.
        """
        until_s = asyncio.get_running_loop().time() + _PATIENCE_S
        while (url := await self.find()) is None:
            if asyncio.get_running_loop().time() > until_s:
                raise UnreachableError(
                    f"no process of the control plane has led for {_PATIENCE_S:g} s",
                    hint="each process's control.log, in its data directory, says why",
                )
            await asyncio.sleep(_AGAIN_S)
        return url
