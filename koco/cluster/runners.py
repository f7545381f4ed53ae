"""Runners as Ray actors: start, reach, end; with errors in koco's words.

The calls that block for a while (registering a named actor, looking one up) run
in threads: the control plane's event loop must not wait for Ray.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
import ray
from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    RayActorError,
    RuntimeEnvSetupError,
)

from koco.cluster import names, nodes
from koco.errors import KocoError
from koco.runner.actor import Runner
from koco.runner.spec import Description, Launch, Presence, RunnerSpec

T = TypeVar("T")

#: Calls that one runner may have under way: `hold`, launches, cancels. Not a limit on executions.
_CALLS = 10_000


#: What colours text in a terminal.
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")

#: Pause before another call to a runner whose node is out of reach (seconds).
_OUT_OF_REACH_S = 0.2


class RunnerDied(KocoError):  # noqa: N818 - a fact about the world, not a mistake
    """The runner's process is gone; the message says why, as far as Ray knows."""

    code = "runner_died"


class EnvironmentFailed(KocoError):  # noqa: N818 - as above
    """The runner's environment could not be built; `detail` is the installer's own output."""

    code = "environment_failed"

    def __init__(self, message: str, *, detail: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.detail = detail


class RunnerActor:
    """One runner, reached through its actor handle."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        #: Whether its process has answered: its environment is built then.
        self.is_there = False

    async def describe(self) -> Description:
        """Import the entrypoints there; say what that gave."""
        await _answer(self._handle.attach.remote())
        self.is_there = True
        blob = await _answer(self._handle.describe.remote())
        return msgspec.msgpack.decode(blob, type=Description)

    async def attach(self) -> Presence:
        """Ask what it holds."""
        blob = await _answer(self._handle.attach.remote())
        return msgspec.msgpack.decode(blob, type=Presence)

    async def launch(self, launch: Launch) -> None:
        """Begin an execution there."""
        # JSON, unlike the rest: it has whole numbers of any size, as Python has.
        blob = msgspec.json.encode(launch)
        await self._reached(lambda: self._handle.launch.remote(blob))

    async def cancel(self, fid: str) -> None:
        """Ask an execution there to end."""
        await self._reached(lambda: self._handle.cancel.remote(fid))

    async def hold(self) -> None:
        """Wait until it has ended as asked.

        Raises:
            RunnerDied: its process died, or its environment failed.
        """
        await self._reached(self._handle.hold.remote)

    async def end(self) -> None:
        """Ask it to leave."""
        try:
            await _answer(self._handle.end.remote())
        except (RunnerDied, ActorUnavailableError):
            return  # leaving is what was asked

    def kill(self) -> None:
        """End its process now."""
        ray.kill(self._handle, no_restart=True)

    async def _reached(self, call: Callable[[], Awaitable[T]]) -> T:
        """Make a call that may be made twice, until its node can be reached or is lost."""
        while True:
            try:
                return await _answer(call())
            except ActorUnavailableError as exc:
                if await nodes.is_lost(self._handle):
                    raise RunnerDied("its node died") from exc
                await asyncio.sleep(_OUT_OF_REACH_S)  # gone or not, Ray will tell


async def start(
    spec: RunnerSpec, *, control: Any, runtime_env: dict[str, Any], options: dict[str, Any]
) -> RunnerActor:
    """Ask Ray for a runner; return at once. `hold` and `describe` tell whether it lives."""

    def create() -> Any:
        return (
            ray.remote(Runner)
            .options(
                name=names.runner(spec.service, spec.release, spec.id),
                namespace=names.NAMESPACE,
                lifetime="detached",
                max_restarts=0,
                max_concurrency=_CALLS,
                enable_task_events=False,
                runtime_env=runtime_env,
                **{"num_cpus": 0, **options},
            )
            .remote(msgspec.msgpack.encode(spec), control)
        )

    creating = asyncio.ensure_future(asyncio.to_thread(create))
    try:
        return RunnerActor(await asyncio.shield(creating))
    except asyncio.CancelledError:
        # The thread goes on, and what it makes would be nobody's.
        creating.add_done_callback(_unwanted)
        raise


def _unwanted(creating: "asyncio.Future[Any]") -> None:
    if not creating.cancelled() and creating.exception() is None:
        ray.kill(creating.result(), no_restart=True)


async def present() -> dict[str, RunnerActor]:
    """Return the runners that are alive in the cluster, by actor name."""

    def look() -> dict[str, RunnerActor]:
        found: dict[str, RunnerActor] = {}
        for entry in ray.util.list_named_actors(all_namespaces=True):
            name = entry["name"]
            if entry["namespace"] != names.NAMESPACE or names.parse_runner(name) is None:
                continue
            try:
                found[name] = RunnerActor(ray.get_actor(name, namespace=names.NAMESPACE))
            except ValueError:
                continue  # it ended between the two questions
        return found

    return await asyncio.to_thread(look)


async def _answer(reference: Awaitable[T]) -> T:
    """Await a call's answer, with Ray's errors in koco's words, most specific first."""
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


def _environment_failed(text: str) -> EnvironmentFailed:
    """Keep what the installer said, drop Ray's own frames around it."""
    text = _COLOURS.sub("", text)
    marker = "lines of stdout:"
    detail = text.partition(marker)[2].strip() if marker in text else text.strip()
    return EnvironmentFailed(
        f"the environment could not be built: {_installer_said(text) or _last_line(text)}",
        detail="\n".join(line.strip() for line in detail.splitlines() if line.strip()),
        hint="check what the manifest's `runtime` has nodes install",
    )


def _installer_said(text: str) -> str | None:
    """Return pip's or uv's last error; with uv's, the innermost cause, which says most."""
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
    """Say in a sentence why Ray says that a process died."""
    if "OutOfMemory" in text or "memory monitor" in text.lower():
        return "it used too much memory and was killed (out of memory)"
    if "node has died" in text.lower() or "node died" in text.lower():
        return "its node died"
    pid = re.search(r"^\s*pid: (\d+)", text, re.MULTILINE)
    process = f"its process (pid {pid[1]})" if pid else "its process"
    if "connection error code 2" in text:
        return f"{process} was killed, crashed or exited"
    detail = re.search(r"Worker exit detail: ([^\n]*)", text)
    return f"{process} ended: {detail[1] if detail else _last_line(text)}"
