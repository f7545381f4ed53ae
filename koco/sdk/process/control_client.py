"""Find the control plane's actor by name from anywhere in the cluster, and again after an upgrade.

An upgrade starts a new actor beside the old one, under the next name, and ends the old one once the
new one has taken over. So when a caller learns that the actor has died, it looks for another one
before it gives up.

A control plane may have more processes, its members. Each takes every call, and passes on to the
leader what only that can answer. So a caller needs any of them.
"""

import asyncio
import time
from typing import TYPE_CHECKING, Any, TypeVar

from koco.errors import UnreachableError
from koco.sdk.process.references import let_go

if TYPE_CHECKING:
    from koco.events.questions import A, Question

K = TypeVar("K")

#: The namespace of all of koco's actors.
NAMESPACE = "koco"
#: The first control plane's actor; its successors' names end with a number.
CONTROL = "control"

#: How the names of its other processes begin.
_MEMBER = "member"

#: After how many calls in a row to a process that is away another one is tried.
_AWAY = 4

#: How long the control plane may be gone before callers give up (seconds).
GONE_S = 60.0

#: Pauses between two tries while the control plane restarts (seconds); the last one stays.
_PAUSES_S = (0.02, 0.05, 0.1, 0.2, 0.5)


def name(generation: int) -> str:
    """Return the actor name of a control plane by its generation, from 1."""
    return CONTROL if generation == 1 else f"{CONTROL}:{generation}"


def generation(actor: str) -> int | None:
    """Return a control plane's generation by its actor's name; None for any other actor."""
    if actor == CONTROL:
        return 1
    stem, _, number = actor.partition(":")
    return int(number) if stem == CONTROL and number.isdecimal() else None


def member(generation: int, number: int) -> str:
    """Return the actor name of one of a control plane's other processes, by its number from 1."""
    return f"{_MEMBER}:{generation}:{number}"


def parse_member(actor: str) -> tuple[int, int] | None:
    """Return the generation and the number of a member by its actor's name; None for others."""
    stem, *numbers = actor.split(":")
    if stem != _MEMBER or len(numbers) != 2 or not all(map(str.isdecimal, numbers)):
        return None
    return int(numbers[0]), int(numbers[1])


def place(actor: str) -> tuple[int, int] | None:
    """Return the generation of a control plane's process, and its number among the members.

    The first process has the number 0. Returns None for the name of any other actor.
    """
    number = generation(actor)
    return (number, 0) if number else parse_member(actor)


def find_planes() -> dict[int, Any]:
    """Return the existing control planes by generation, oldest first, without members; blocks.

    There are two during an upgrade: the older one is in charge until it is ended.
    """
    return _planes(_names())


def find_members() -> dict[tuple[int, int], Any]:
    """Return the existing members of control planes by generation and number; blocks."""
    return _members(_names())


def _planes(names: list[str]) -> dict[int, Any]:
    found = {number: each for each in names if (number := generation(each))}
    return _found({number: found[number] for number in sorted(found)})


def _members(names: list[str]) -> dict[tuple[int, int], Any]:
    found = {place: each for each in names if (place := parse_member(each))}
    return _found({place: found[place] for place in sorted(found)})


def _names() -> list[str]:
    import ray

    entries = ray.util.list_named_actors(all_namespaces=True)
    return [entry["name"] for entry in entries if entry["namespace"] == NAMESPACE]


def _found(names: dict[K, str]) -> dict[K, Any]:
    import ray

    found: dict[K, Any] = {}
    for key, actor in names.items():
        try:
            found[key] = ray.get_actor(actor, namespace=NAMESPACE)
        except ValueError:
            continue  # it ended between the two calls
    return found


class Control:
    """The control plane. Calls are repeated until it answers, even if it restarts or is replaced.

    It can be pickled, and calls the same control plane from another process.
    """

    def __init__(self, handle: Any = None, *, gone_s: float = GONE_S) -> None:
        self._handle = handle
        #: One that has been away for long: another one is looked for.
        self._avoided: Any = None
        #: The calls that wait for an answer.
        self._waiting: set[asyncio.Task[bytes]] = set()
        self._gone_s = gone_s

    def __reduce__(self) -> tuple[Any, ...]:
        return Control, (self._handle,)

    def turn_to(self, handle: Any) -> None:
        """Call this process from now on, also for what another one has not answered yet.

        Call it on the event loop of the calls.
        """
        self._handle, self._avoided = handle, None
        for each in tuple(self._waiting):
            each.cancel()

    async def call(self, method: str, blob: bytes) -> bytes:
        """Call an idempotent method of the actor; return its answer.

        Raises `UnreachableError` if there has been no control plane for too long.
        """
        tries = _Tries(self._gone_s)
        while True:
            handle = self._handle
            try:
                if handle is None:
                    # In a thread: looking up an actor blocks while Ray's head is down.
                    handle = self._handle = await asyncio.to_thread(_find, self._avoided)
                return await self._answer(getattr(handle, method).remote(blob))
            except asyncio.CancelledError:
                if handle is self._handle or _is_cancelled():
                    raise
                continue  # it has turned to another process
            except Exception as exc:  # noqa: BLE001 - `_pause_s` raises unknown errors again
                pause_s = self._pause_s(exc, tries)
            await asyncio.sleep(pause_s)

    async def _answer(self, ref: Any) -> bytes:
        async def wait() -> bytes:
            return bytes(await ref)

        waiting = asyncio.create_task(wait())
        self._waiting.add(waiting)
        try:
            return await waiting
        finally:
            waiting.cancel()
            self._waiting.discard(waiting)

    def call_sync(self, method: str, blob: bytes) -> bytes:
        """Do the same as `call`, blocking."""
        import ray

        tries = _Tries(self._gone_s)
        while True:
            try:
                # A local name, because another thread may reset the shared one.
                handle = self._handle
                if handle is None:
                    handle = self._handle = _find(self._avoided)
                return bytes(_get_quietly(getattr(handle, method).remote(blob)))
            except ray.exceptions.TaskCancelledError:
                raise  # the caller itself was cancelled
            except Exception as exc:  # noqa: BLE001 - as above
                pause_s = self._pause_s(exc, tries)
            time.sleep(pause_s)

    def _pause_s(self, exc: Exception, tries: "_Tries") -> float:
        """Return the pause before the next try; raise the exception if there is none."""
        from ray.exceptions import ActorDiedError, RayError

        if not isinstance(exc, RayError | _NoPlaneError):
            raise exc
        let_go(exc)
        if isinstance(exc, ActorDiedError | _NoPlaneError):
            self._handle = self._avoided = None
            return tries.gone(exc)
        pause_s = tries.away()  # it is restarting, or its store could not write
        if tries.is_long_away:
            self._avoided, self._handle = self._handle or self._avoided, None
        return pause_s


def _is_cancelled() -> bool:
    """Whether the current task itself was cancelled."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _get_quietly(ref: Any) -> Any:
    """Return the result of a call, without Ray's warning that waiting blocks an actor's loop.

    A thread waits here, and the warning would become a line of the flow's output.
    """
    import ray

    worker = ray._private.worker
    former, worker.blocking_get_inside_async_warned = worker.blocking_get_inside_async_warned, True
    try:
        return ray.get(ref)
    finally:
        worker.blocking_get_inside_async_warned = former


class _NoPlaneError(Exception):
    """There is no control plane at the moment."""


class _Tries:
    """Decides when to try again."""

    def __init__(self, gone_s: float) -> None:
        self._gone_s = gone_s
        self._gone_since: float | None = None
        self._count = self._away = 0

    @property
    def is_long_away(self) -> bool:
        """Whether so many calls in a row have failed that another process may do better."""
        return self._away > 0 and self._away % _AWAY == 0

    def away(self) -> float:
        """Return the pause before the next call to an actor that exists."""
        self._gone_since = None
        self._away += 1
        return self._next_s()

    def gone(self, exc: Exception) -> float:
        """Return the pause before the next search for a missing actor; raise after too long."""
        now = time.monotonic()
        self._gone_since = self._gone_since or now
        if now - self._gone_since > self._gone_s:
            raise UnreachableError("the control plane is gone") from exc
        return self._next_s()

    def _next_s(self) -> float:
        self._count += 1
        return _PAUSES_S[min(self._count, len(_PAUSES_S)) - 1]


def _find(avoided: Any) -> Any:
    """Return a process of the control plane in charge, if possible not the avoided one."""
    try:
        names = _names()
        planes = _planes(names)
        members = _members(names) if avoided is not None or not planes else {}
    except Exception as exc:  # Ray's head is down: the same as no answer
        if avoided is not None:
            return avoided  # which needs no head to answer
        raise _NoPlaneError(f"Ray's head does not list the actors: {exc}") from exc
    places = {**{(number, 0): each for number, each in planes.items()}, **members}
    if not places:
        raise _NoPlaneError("there is no control plane")
    oldest = min(places)[0]
    found = [places[place] for place in sorted(places) if place[0] == oldest]
    return next((each for each in found if each != avoided), found[0])


async def ask(question: "Question[A]", *, gone_s: float = 10.0) -> "A":
    """Ask the control plane a question that is not about an execution; return its answer.

    Raises:
        UnreachableError: there is no control plane.
        KocoError: the control plane answers with it.
    """
    # Imported here: `koco down` uses this module to find actors, perhaps without msgspec.
    from koco.events import wire

    blob = wire.encode_question("", question)
    return wire.decode_answer(await Control(gone_s=gone_s).call("ask", blob), question)
