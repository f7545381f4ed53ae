"""Which of a control plane's processes leads. With a store in a file there is one, and it does.

The leader runs executions, makes events durable, deploys, and is the only one that changes things;
the others answer what the store alone can answer, accept launches, and pass on the rest.
"""

import asyncio
from collections.abc import Awaitable, Callable

from koco.errors import KocoError, UnreachableError

#: How long a request waits for a leader (seconds): the next one takes over within five.
_PATIENCE_S = 15.0
#: How long between two looks for a leader while there is none (seconds).
_AGAIN_S = 0.1


class OnlyLeaderError(KocoError):
    """Only the leader knows the answer, or may do it: the API passes the request on."""

    http_status = 503
    code = "only_leader"


class Leadership:
    """Whether this process leads, and where the leader is."""

    def __init__(self, find: Callable[[], Awaitable[str | None]] | None = None) -> None:
        """`find` returns the URL of the leader's API, or None if none leads now.

        Without it, this process is the only one.
        """
        self._find = find
        #: Whether this process leads. It never stops doing so: a process that is deposed ends.
        self.leads = find is None

    @property
    def is_alone(self) -> bool:
        """Whether there are no other processes."""
        return self._find is None

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
        if self._find is None:
            raise UnreachableError("this process is the only one of its control plane")
        until_s = asyncio.get_running_loop().time() + _PATIENCE_S
        while (url := await self._find()) is None:
            if asyncio.get_running_loop().time() > until_s:
                raise UnreachableError(
                    f"no process of the control plane has led for {_PATIENCE_S:g} s",
                    hint="`koco up` on the head starts it again",
                )
            await asyncio.sleep(_AGAIN_S)
        return url
