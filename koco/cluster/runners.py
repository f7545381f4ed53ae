"""Start, call and end runners as Ray actors, and translate Ray's errors into koco's.

Calls that block for a while (registering a named actor, looking one up) run in threads, because
the control plane's event loop must not wait for Ray.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
import ray
from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    RayActorError,
    RayError,
    RayTaskError,
    RuntimeEnvSetupError,
)

from koco.cluster import actor_names, memory_guard, node_processes, nodes
from koco.errors import KocoError
from koco.runner.process.identity import Process
from koco.runner.spec import Description, Launch, Presence, RunnerSpec
from koco.sdk.process.memory import CAUSE, MemoryExceeded
from koco.sdk.process.stacks import Stack

T = TypeVar("T")

log = logging.getLogger(__name__)

#: Calls that one runner may have in progress: `hold`, launches, cancels. Not a limit on executions.
_CALLS = 10_000


#: Matches the exception line of a traceback. If there are several, the last was not caught.
_RAISED = re.compile(r"^Traceback \(most recent call last\):\n(?:[ \t].*\n)*(\S.*)", re.MULTILINE)

#: Matches a terminal's colour codes.
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")

#: Time limits of a kill: Ray's part, and the whole (seconds).
_RAY_KILLS_S = 2.0
_KILL_S = 20.0

#: Why a runner died: it was lost with its node, or only its own last output can explain it (see
#: `koco.control.runners.last_words`).
NODE_LOST = "its node was lost, and its last output with it"
ENDED = "was killed, crashed or exited"

#: Pause before another call to a runner whose node is out of reach (seconds).
_OUT_OF_REACH_S = 0.2


class RunnerDied(KocoError):  # noqa: N818 - a fact about the world, not a mistake
    """The runner's process is gone; the message says why, as far as is known.

    `detail` is where it crashed and what it wrote last, if that is known.
    """

    code = "runner_died"

    def __init__(self, message: str, *, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail


class EnvironmentFailed(KocoError):  # noqa: N818 - as above
    """The runner's environment could not be built; `detail` is the installer's own output."""

    code = "environment_failed"

    def __init__(self, message: str, *, detail: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.detail = detail


class RunnerActor:
    """One runner, reached through its actor handle."""

    def __init__(self, handle: Any, runner_id: str) -> None:
        self._handle = handle
        self.id = runner_id
        #: The spec of a spare. Its process gets it with the call that imports the entrypoints.
        self.spec = b""
        #: Whether its process has answered. If so, its environment has been built.
        self.is_there = False
        #: Its node and process, once known.
        self._place: tuple[str, Process] | None = None
        self._is_node_lost = False

    @property
    def node(self) -> str:
        """The id of its node, or "" while that is unknown."""
        return self._place[0] if self._place else ""

    async def describe(self) -> Description:
        """Import the entrypoints in the runner and return the result."""
        await self.attach()
        self.is_there = True
        given = (self.spec,) if self.spec else ()
        blob = await _await_answer(self._handle.describe.remote(*given))
        # A runner of an older koco answers in msgpack.
        decode = msgspec.json.decode if blob[:1] == b"{" else msgspec.msgpack.decode
        return decode(blob, type=Description)

    async def attach(self) -> Presence:
        """Return the runner's report about itself, and remember its node and process."""
        blob = await self._call_until_reached(self._handle.attach.remote)
        presence = msgspec.msgpack.decode(blob, type=Presence)
        if presence.started:
            self._place = presence.node, Process(presence.pid, presence.started)
        return presence

    async def turn_to(self, control: Any) -> None:
        """Let the runner turn to this process of the control plane, which leads now.

        A runner of an older koco does so by itself, once its calls fail.
        """
        if hasattr(self._handle, "turn_to"):
            node = ray.get_runtime_context().get_node_id()
            await self._call_until_reached(lambda: self._handle.turn_to.remote(control, node))

    async def launch(self, launch: Launch) -> None:
        """Start an execution in the runner."""
        # JSON, unlike the other calls, because its integers have any size, as in Python.
        blob = msgspec.json.encode(launch)
        await self._call_until_reached(lambda: self._handle.launch.remote(blob))

    async def cancel(self, fid: str) -> None:
        """Ask an execution in the runner to end."""
        await self._call_until_reached(lambda: self._handle.cancel.remote(fid))

    async def hold(self) -> None:
        """Wait until the runner has ended as asked.

        Raises:
            RunnerDied: its process died.
            EnvironmentFailed: its environment could not be built.
        """
        await self._call_until_reached(self._handle.hold.remote)

    async def is_blocked(self, by: str) -> bool:
        """Return whether an execution blocks the loop that others in the runner need.

        Raises:
            AttributeError: the runner is of an older koco, which has no such call.
        """
        return await self._call_until_reached(lambda: self._handle.is_blocked.remote(by))

    @property
    def handle(self) -> Any:
        """Its Ray actor handle."""
        return self._handle

    async def stack(self, fid: str, *, everything: bool) -> list[Stack]:
        """Return the stacks of an execution in the runner, or of its whole process.

        Raises:
            AttributeError: the runner is of an older koco, which has no such call.
        """
        blob = await _await_answer(self._handle.stack.remote(fid, everything=everything))
        return msgspec.msgpack.decode(blob, type=list[Stack])

    async def end(self) -> None:
        """Ask the runner to exit."""
        try:
            await _await_answer(self._handle.end.remote())
        except (RunnerDied, ActorUnavailableError):
            return  # it has exited, as asked

    async def look(self) -> node_processes.Sighting | None:
        """Inspect its process from outside. Return None if the process is gone.

        Raises:
            NodeSilent: its node did not answer, or Ray does not know its process yet.
        """
        place = await self._locate()
        if place is None:
            raise node_processes.NodeSilent("Ray does not know where a runner is")
        node, process = place
        return await node_processes.on_node(node, node_processes.look, process)

    async def kill(self, *, after_s: float = 0.0) -> bool:
        """End its process reliably. Return whether it is confirmed to be gone.

        The process first has `after_s` seconds to end by itself. Ray's own kill is not reliable:
        the process may be stopped, or have left Ray, or have threads that continue after Ray has
        ended the actor.
        """
        if self._is_node_lost:
            return True
        if not after_s:
            await self._kill_by_ray()
        try:
            place = await self._locate()
            if place is None:
                return True  # it has no process yet and will not get one
            node, process = place
            limit_s = after_s + _KILL_S
            is_gone = await node_processes.on_node(
                node,
                node_processes.end_family,
                process,
                self.id,
                after_s=after_s,
                timeout_s=limit_s,
            )
        except node_processes.NodeSilent as exc:
            log.warning("a runner's process may still be there: %s", exc.message)
            is_gone = False
        if after_s:
            await self._kill_by_ray()  # in case it was not found, or its node is out of reach
        return is_gone

    async def _kill_by_ray(self) -> None:
        killing = asyncio.to_thread(ray.kill, self._handle, no_restart=True)
        try:
            await asyncio.wait_for(killing, _RAY_KILLS_S)
        except (TimeoutError, RayError) as exc:
            log.warning("Ray did not end a runner: %r", exc)

    async def _locate(self) -> tuple[str, Process] | None:
        """Return its node and process, or None if it has no process.

        Asks Ray if the runner itself has never answered.
        """
        if self._place is None:
            entry = await asyncio.to_thread(
                ray._private.state.actors, self._handle._ray_actor_id.hex()
            )
            self._place = await _place_of(entry)
        return self._place

    async def _call_until_reached(self, call: Callable[[], Awaitable[T]]) -> T:
        """Make a call, and repeat it until the runner's node can be reached or is lost.

        The call must be safe to repeat.
        """
        while True:
            try:
                return await _await_answer(call())
            except RunnerDied as exc:
                self._is_node_lost |= exc.message == NODE_LOST
                raise
            except ActorUnavailableError as exc:
                if await nodes.is_lost(self._handle):
                    self._is_node_lost = True
                    raise RunnerDied(NODE_LOST) from exc
                await asyncio.sleep(_OUT_OF_REACH_S)  # Ray will report it if the actor is dead


async def start(
    spec: RunnerSpec, *, control: Any, runtime_env: dict[str, Any], options: dict[str, Any]
) -> RunnerActor:
    """Ask Ray for a runner and return at once.

    `hold` and `describe` raise an error if the runner does not come up.
    """

    def create() -> Any:
        from koco.runner.actor import Runner  # 1 MB, of use to runners alone

        return (
            ray.remote(Runner)
            .options(
                name=actor_names.runner(spec.service, spec.release, spec.id),
                namespace=actor_names.NAMESPACE,
                lifetime="detached",
                max_restarts=0,
                max_concurrency=_CALLS,
                enable_task_events=False,
                runtime_env=runtime_env,
                **{"num_cpus": 0, **options},
            )
            .remote(msgspec.json.encode(spec), control)
        )

    creating = asyncio.ensure_future(asyncio.to_thread(create))
    try:
        return RunnerActor(await asyncio.shield(creating), spec.id)
    except asyncio.CancelledError:
        # The thread continues, and the actor that it creates would have no owner.
        creating.add_done_callback(_kill_unwanted)
        raise


async def kill_leftovers() -> int:
    """End the processes of runners whose actors have ended. Return the number of processes.

    A process is left over if the control plane ended while it was ending a runner whose threads
    continued.
    """
    actors = await asyncio.to_thread(ray._private.state.actors)
    known = {node["NodeID"] for node in await asyncio.to_thread(ray.nodes) if node["Alive"]}
    dead: dict[str, dict[str, tuple[int, float]]] = {}
    for actor in actors.values():
        key = actor_names.parse_runner(actor["Name"])
        if key and actor["State"] == "DEAD" and actor["Pid"]:
            of_node = dead.setdefault(actor["Address"]["NodeID"], {})
            of_node[key[2]] = actor["Pid"], actor["StartTime"] / 1000
    found = 0
    for node in known & dead.keys():
        try:
            found += await node_processes.on_node(node, node_processes.kill_leftovers, dead[node])
        except node_processes.NodeSilent as exc:
            log.warning("processes of former runners may still be there: %s", exc.message)
    return found


async def _place_of(actor: dict[str, Any] | None) -> tuple[str, Process] | None:
    """Return the node and process of an actor from Ray's entry, or None if it has no process."""
    if not actor or not actor["Pid"]:
        return None
    node, began_s = actor["Address"]["NodeID"], actor["StartTime"] / 1000
    process = await node_processes.on_node(node, node_processes.find_worker, actor["Pid"], began_s)
    return None if process is None else (node, process)


def _kill_unwanted(creating: "asyncio.Future[Any]") -> None:
    if not creating.cancelled() and creating.exception() is None:
        ray.kill(creating.result(), no_restart=True)


async def present() -> dict[str, RunnerActor]:
    """Return the runners that are alive in the cluster, by their actors' names."""

    def look() -> dict[str, RunnerActor]:
        found: dict[str, RunnerActor] = {}
        for entry in ray.util.list_named_actors(all_namespaces=True):
            name = entry["name"]
            key = actor_names.parse_runner(name)
            if entry["namespace"] != actor_names.NAMESPACE or key is None:
                continue
            try:
                handle = ray.get_actor(name, namespace=actor_names.NAMESPACE)
                found[name] = RunnerActor(handle, key[2])
            except ValueError:
                continue  # it ended between the two calls
            found[name].is_there = True
        return found

    return await asyncio.to_thread(look)


async def _await_answer(reference: Awaitable[T]) -> T:
    """Await a call's answer. Translates Ray's errors into koco's, the most specific first."""
    try:
        return await reference
    except RuntimeEnvSetupError as exc:
        raise _environment_failed(str(exc)) from exc
    except ActorUnavailableError:
        raise
    except ActorDiedError as exc:
        if "runtime_env" in str(exc) and "failed to be created" in str(exc):
            raise _environment_failed(str(exc)) from exc
        raise RunnerDied(_cause(str(exc))) from exc
    except RayActorError as exc:
        raise RunnerDied(_cause(str(exc))) from exc
    except RayTaskError as exc:
        if isinstance(exc.cause, MemoryExceeded):
            raise RunnerDied(str(exc.cause)) from exc
        raise


def _environment_failed(text: str) -> EnvironmentFailed:
    """Return an error with the installer's output, without Ray's own frames around it."""
    text = _COLOURS.sub("", text)
    marker = "lines of stdout:"
    detail = text.partition(marker)[2].strip() if marker in text else text.strip()
    return EnvironmentFailed(
        f"the environment could not be built: {_installer_error(text) or _last_line(text)}",
        detail="\n".join(line.strip() for line in detail.splitlines() if line.strip()),
        hint="check the packages in the manifest's `runtime`",
    )


def _installer_error(text: str) -> str | None:
    """Return pip's or uv's last error, or None if there is none.

    uv's error comes with its innermost cause, because that explains most.
    """
    errors = list(re.finditer(r"^\s*(?:ERROR|error): (.*)$", text, re.MULTILINE))
    if not errors:
        return None
    causes = re.findall(
        r"^\s*(?:cause|Caused by|╰─▶):? (.*)$", text[errors[-1].end() :], re.MULTILINE
    )
    return ": ".join([errors[-1][1].rstrip(": "), *causes[-1:]])


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "Ray gave no reason"


def _cause(text: str) -> str:
    """Turn Ray's report of a process's death into one sentence."""
    if "OutOfMemory" in text or "memory monitor" in text.lower():
        return f"{CAUSE}was ended by Ray as its node had no more"
    if "node has died" in text.lower() or "node died" in text.lower():
        return NODE_LOST
    pid = re.search(r"^\s*pid: (\d+)", text, re.MULTILINE)
    if pid and (message := memory_guard.cause(int(pid[1]))):
        return CAUSE + message
    process = f"its process (pid {pid[1]})" if pid else "its process"
    if "worker_setup" in text and (raised := _RAISED.findall(text)):
        return f"{process} could not be prepared: {raised[-1].partition(': ')[2] or raised[-1]}"
    if "connection error code 2" in text:
        return f"{process} {ENDED}"
    detail = re.search(r"Worker exit detail: ([^\n]*)", text)
    return f"{process} ended: {detail[1] if detail else _last_line(text)}"
