"""The process that leads, as the others see it: its URL, and calls of its actor."""

import asyncio
import time
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from koco.control.leadership import Leadership
from koco.sdk.process import control_client
from koco.store.engine.protocol import Engine
from koco.store.members import Leader

#: How long a leader counts as one that has not renewed its lease (seconds). A slow disk of the
#: server keeps it from doing so, and does not depose it.
_FRESH_S = 15.0
#: How long the answer of the store is believed (seconds).
_KNOWN_S = 0.5
#: Pause before another call while the leader is away (seconds).
_AGAIN_S = 0.1


class LeaderCalls:
    """Finds the leader in the store, and calls it."""

    def __init__(self, engine: Engine, me: str) -> None:
        """`me` is the name of this process's actor."""
        self._engine = engine
        self._me = me
        self._known: Leader | None = None
        self._until_s = 0.0
        self._handles: dict[str, Any] = {}

    async def find(self) -> Leader | None:
        """Return the leader, or None if none leads now."""
        if time.monotonic() > self._until_s:
            found = await self._engine.leader()
            is_fresh = found is not None and found.age_s < _FRESH_S
            self._known = found if is_fresh else None
            self._until_s = time.monotonic() + (_KNOWN_S if is_fresh else 0)
        return self._known

    async def url(self) -> str | None:
        """Return the URL of the leader's API, or None if none leads now."""
        found = await self.find()
        return found.url if found else None

    async def call(self, leadership: Leadership, method: str, blob: bytes) -> Any:
        """Call a method of the leader's actor, again and again until it answers.

        Returns None if this process has come to lead meanwhile.

        Raises:
            Exception: what the method raises.
        """
        while not leadership.leads:
            found = await self.find()
            if found is not None and found.member != self._me:
                try:
                    handle = await self._handle(found.member)
                    return await getattr(handle, method).remote(blob)
                except RayTaskError as exc:
                    raise exc.cause if isinstance(exc.cause, Exception) else exc from exc
                except (RayActorError, ValueError):
                    self.forget()
            await asyncio.sleep(_AGAIN_S)
        return None

    def forget(self) -> None:
        """Ask the store again, because the leader does not answer."""
        self._until_s = 0.0
        self._handles.clear()

    async def _handle(self, member: str) -> Any:
        if member not in self._handles:
            self._handles[member] = await asyncio.to_thread(
                ray.get_actor, member, namespace=control_client.NAMESPACE
            )
        return self._handles[member]
