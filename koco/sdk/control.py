"""The control plane's actor: found by name from anywhere in the cluster, again when it is replaced.

An upgrade puts a new actor beside the old one, under the next name, and ends the
old one once the new one has taken over. So whoever is told that the actor has
died looks for another before it gives up.
"""

import asyncio
import time
from typing import Any

from koco.errors import UnreachableError
from koco.sdk.references import let_go

#: The namespace of all of koco's actors.
NAMESPACE = "koco"
#: The control plane's actor; those that replaced it have a number behind it.
CONTROL = "control"

#: How long a control plane may be gone before those who need it give up (seconds).
GONE_S = 60.0

#: Pauses between two tries while the control plane restarts (seconds); the last one stays.
_PAUSES_S = (0.02, 0.05, 0.1, 0.2, 0.5)


def name(generation: int) -> str:
    """Return the name of the actor that replaced so many before it, less one."""
    return CONTROL if generation == 1 else f"{CONTROL}:{generation}"


def generation(actor: str) -> int | None:
    """Return which one a control plane's actor is by its name, None for any other actor."""
    if actor == CONTROL:
        return 1
    stem, _, number = actor.partition(":")
    return int(number) if stem == CONTROL and number.isdecimal() else None


def present() -> dict[int, Any]:
    """Return the control planes that there are, by generation, oldest first; blocks.

    Two while one takes over: the older one has the say until it is ended.
    """
    import ray

    entries = ray.util.list_named_actors(all_namespaces=True)
    names = [entry["name"] for entry in entries if entry["namespace"] == NAMESPACE]
    found: dict[int, Any] = {}
    for number in sorted(filter(None, map(generation, names))):
        try:
            found[number] = ray.get_actor(name(number), namespace=NAMESPACE)
        except ValueError:
            continue  # it ended between the two questions
    return found


class Control:
    """The control plane, called until it answers: while it restarts, and while it is replaced.

    It may be pickled: in another process it is the same control plane.
    """

    def __init__(self, handle: Any = None, *, gone_s: float = GONE_S) -> None:
        self._handle = handle
        self._gone_s = gone_s

    def __reduce__(self) -> tuple[Any, ...]:
        return Control, (self._handle,)

    async def call(self, method: str, blob: bytes) -> bytes:
        """Call a method of the actor that bears repetition; return its answer.

        Raises:
            UnreachableError: there has been no control plane for too long.
        """
        tries = _Tries(self._gone_s)
        while True:
            try:
                if self._handle is None:
                    # In a thread: looking an actor up blocks while Ray's own head is away.
                    self._handle = await asyncio.to_thread(_leading)
                return bytes(await getattr(self._handle, method).remote(blob))
            except Exception as exc:  # noqa: BLE001 - `_pause_s` raises what it does not know
                pause_s = self._pause_s(exc, tries)
            await asyncio.sleep(pause_s)

    def call_sync(self, method: str, blob: bytes) -> bytes:
        """Do the same, blocking."""
        import ray

        tries = _Tries(self._gone_s)
        while True:
            try:
                # Of its own: another thread may let go of the one that they share.
                handle = self._handle
                if handle is None:
                    handle = self._handle = _leading()
                return bytes(_waited(getattr(handle, method).remote(blob)))
            except ray.exceptions.TaskCancelledError:
                raise  # it is the caller that was cancelled
            except Exception as exc:  # noqa: BLE001 - as above
                pause_s = self._pause_s(exc, tries)
            time.sleep(pause_s)

    def _pause_s(self, exc: Exception, tries: "_Tries") -> float:
        """Return how long to wait before the next try, or raise where there is none."""
        from ray.exceptions import ActorDiedError, RayError

        if not isinstance(exc, RayError | _NoneError):
            raise exc
        let_go(exc)
        if isinstance(exc, ActorDiedError | _NoneError):
            self._handle = None
            return tries.gone(exc)
        return tries.away()  # it restarts, or its store could not write


def _waited(ref: Any) -> Any:
    """Return what a call does, without Ray's warning that waiting blocks an actor's event loop.

    What waits here is a thread, and the warning would be a line of the flow's.
    """
    import ray

    worker = ray._private.worker
    former, worker.blocking_get_inside_async_warned = worker.blocking_get_inside_async_warned, True
    try:
        return ray.get(ref)
    finally:
        worker.blocking_get_inside_async_warned = former


class _NoneError(Exception):
    """There is no control plane just now."""


class _Tries:
    """When to try again."""

    def __init__(self, gone_s: float) -> None:
        self._gone_s = gone_s
        self._gone_since: float | None = None
        self._count = 0

    def away(self) -> float:
        """Return the pause before another try at what is there."""
        self._gone_since = None
        return self._next_s()

    def gone(self, exc: Exception) -> float:
        """Return the pause before another look for what is gone; raise where it stays so."""
        now = time.monotonic()
        self._gone_since = self._gone_since or now
        if now - self._gone_since > self._gone_s:
            raise UnreachableError("the control plane is gone") from exc
        return self._next_s()

    def _next_s(self) -> float:
        self._count += 1
        return _PAUSES_S[min(self._count, len(_PAUSES_S)) - 1]


def _leading() -> Any:
    try:
        found = present()
    except Exception as exc:  # Ray's own head is away: as good as no answer
        raise _NoneError(f"Ray does not say which actors there are: {exc}") from exc
    if not found:
        raise _NoneError("there is no control plane")
    return found[min(found)]


async def ask(question: str, arguments: dict[str, Any], *, gone_s: float = 10.0) -> Any:
    """Ask the control plane something that is about no execution; return its answer.

    Raises:
        UnreachableError: there is no control plane.
        KocoError: what it answers with.
    """
    # Here, not above: `koco down` looks actors up by this module where msgspec may be missing.
    from koco.events import wire

    blob = wire.encode_question("", question, arguments)
    return wire.decode_answer(await Control(gone_s=gone_s).call("ask", blob))
