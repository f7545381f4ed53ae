"""Finds problems that keep executions from running, now or soon: `koco doctor` and `/health`.

All checks run at once, and each has a deadline. The doctor must find parts that hang, so it must
not hang because of them.
"""

import asyncio
import importlib.util
import logging
import os
import shutil
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec

from koco import __version__
from koco.cluster.placement import Node
from koco.cluster.serve import name_of
from koco.control import patient_wait
from koco.control.container import Parts
from koco.control.health import event_canary, problems
from koco.control.members import missing
from koco.control.runners.worker import Runner
from koco.control.tasks import Tasks
from koco.errors import KocoError
from koco.events.model import Status
from koco.plurals import counted, verbal
from koco.sizes import format_size
from koco.store.model import Release

log = logging.getLogger(__name__)

#: How long one check may take (seconds).
LOOK_S = 5.0
#: How long a runner may take to answer (seconds).
_RUNNER_S = 2.0
#: How long each check of `/health` may take, and how old its answer may be (seconds).
_HEALTH_S, _FRESH_S = 2.0, 1.0

#: How long changes may wait for the store before a reason is looked for (seconds).
_COMMIT_S = 2.5
#: The hint for changes that wait for a standby.
_STANDBY = (
    "bring it back, or take it out of synchronous_standby_names on the server (ALTER SYSTEM, and"
    " pg_reload_conf()): reads go on, launches and events wait"
)

#: Less free space than this causes a warning (bytes).
_LITTLE_BYTES = 2 * 10**9
#: The hint for a disk without room for events.
_NO_ROOM = (
    "make room there, or `koco cancel` executions that write much and `koco delete` ended ones:"
    " events continue by themselves"
)
#: How long it may take to add up the sizes of files (seconds).
_SIZING_S = 1.0

#: A webhook of which so many attempts have failed one after the other is dead.
_FAILURES = 5
#: This many restarts of the control plane cause a warning, because they are no accident.
_RESTARTS = 3

OK: Final = "ok"
WARNING: Final = "warning"
FAILED: Final = "failed"


class Finding(msgspec.Struct, frozen=True):
    """A result of a check. `status` is ok, warning or failed; `hint` is advice for the user."""

    name: str
    status: Literal["ok", "warning", "failed"]
    message: str
    hint: str | None = None


class NodeCounts(msgspec.Struct, frozen=True):
    """The number of nodes."""

    alive: int
    dead: int


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """Whether executions can run, in numbers. Null means that it could not be checked."""

    status: Literal["ok", "degraded"]
    troubles: int | None
    nodes: NodeCounts | None
    restarts: int | None
    executions: dict[str, int]
    store: Literal["ok", "failed"]
    waits_for: Annotated[
        Literal["standby"] | None,
        msgspec.Meta(
            description="what the store's changes wait for: `standby` is a synchronous standby of"
            " PostgreSQL that is away"
        ),
    ] = None
    late_ms: Annotated[
        int, msgspec.Meta(description="how late the control plane's own process was meanwhile")
    ]
    leads: Annotated[
        bool,
        msgspec.Meta(description="whether this process leads; only that one knows about troubles"),
    ]


Look = Callable[[Parts], Awaitable[list[Finding]]]


class Doctor:
    """Checks one control plane and its cluster."""

    def __init__(self, parts: Parts, *, look_s: float = LOOK_S) -> None:
        self._parts = parts
        self._look_s = look_s
        self._tasks = Tasks("the doctor")
        self._turn = asyncio.Lock()
        self._looking = asyncio.Lock()
        self._health: Health | None = None
        self._seen = 0.0

    async def findings(self, *, of_services: bool = True) -> list[Finding]:
        """Run all checks and return their findings in order.

        Without `of_services`, the findings contain no names of services.
        """
        async with self._turn:  # only one event proof may run at a time
            looks = {**_LOOKS, **(_LOOKS_AT_SERVICES if of_services else {})}
            looks["events"] = self._events
            found = await asyncio.gather(*(self._one(*each) for each in looks.items()))
        return [each for findings in found for each in findings]

    async def health(self) -> Health:
        """Return whether executions can run.

        It contains no names, because anybody may ask for it. It is cached for `_FRESH_S` seconds,
        because they may ask as often as they like.
        """
        async with self._looking:
            if self._health is None or time.monotonic() - self._seen >= _FRESH_S:
                self._health = await _health(self._parts)
                self._seen = time.monotonic()
            return self._health

    async def _one(self, name: str, look: Look) -> list[Finding]:
        task = self._tasks.spawn(self._run(name, look))
        # Don't use `wait_for`: it waits for the cancelled task, which may hang as well.
        is_done, _ = await patient_wait.done(task, self._look_s)
        if is_done:
            return list(task.result())
        task.cancel()
        what = f"no answer within {self._look_s:g} s"
        return [Finding(name, FAILED, what, "the control plane's log may say what it waits for")]

    async def _run(self, name: str, look: Look) -> list[Finding]:
        try:
            return await look(self._parts)
        except KocoError as exc:
            return [Finding(name, FAILED, exc.message, exc.hint)]
        except Exception as exc:
            log.exception("the doctor's check %r failed", name)
            what = f"the check failed: {type(exc).__name__}"
            return [Finding(name, FAILED, what, "the control plane's log has the cause")]

    async def _events(self, parts: Parts) -> list[Finding]:
        took_s = await event_canary.travel_s(parts, parts.send)
        return [Finding("events", OK, f"one arrived after {took_s * 1e3:.1f} ms")]


async def _health(parts: Parts) -> Health:
    ray, late_of_ray = await _within(_HEALTH_S, parts.cluster.describe())
    engine = parts.store.engine
    version, late_of_store = await _within(_HEALTH_S, engine.probe())
    tallies = await parts.store.executions.count_by_status()
    wrong, late_of_troubles = await _within(_HEALTH_S, problems.of(parts))
    leads = parts.leadership.leads
    has_leader = leads or await parts.leadership.find() is not None
    nodes = ray.nodes if ray else []
    alive = sum(1 for node in nodes if node.is_alive)
    late_s = max(late_of_ray, late_of_store, late_of_troubles)
    is_late = late_s > _HEALTH_S
    misses = None if version else (await _within(_HEALTH_S, engine.missed_standbys()))[0]
    failed = wrong is None or ray is None or version is None
    degraded = failed or wrong or is_late or parts.disk.trouble or not has_leader
    return Health(
        status="degraded" if degraded else "ok",
        troubles=len(wrong) if wrong is not None and leads else None,
        nodes=NodeCounts(alive, len(nodes) - alive) if ray else None,
        restarts=ray.restarts if ray else None,
        executions={status: tallies.get(status, 0) for status in Status if not status.is_final},
        store="failed" if version is None else "ok",
        waits_for=None if misses is None else "standby",
        late_ms=round(late_s * 1000),
        leads=leads,
    )


async def _within(seconds: float, work: Awaitable[Any]) -> tuple[Any, float]:
    """Return the result of a check, or None if it fails, and how late the loop was (seconds)."""
    task = asyncio.ensure_future(work)
    is_done, late_s = await patient_wait.done(task, seconds)
    if not is_done:
        task.cancel()
        log.warning("health: no answer within %g s", seconds)
        return None, late_s
    try:
        return task.result(), late_s
    except (KocoError, TimeoutError, OSError) as exc:
        log.warning("health: %r", exc)
        return None, late_s


async def _control_plane(parts: Parts) -> list[Finding]:
    restarts = (await parts.cluster.describe()).restarts
    what = f"{__version__}, process {os.getpid()}, up since {parts.started}"
    if restarts < _RESTARTS:
        return [Finding("control plane", OK, what)]
    hint = f"{parts.data_dir / 'control.log'} on the head says why"
    return [Finding("control plane", WARNING, f"{what}, restarted {restarts} times", hint)]


async def _processes(parts: Parts) -> list[Finding]:
    if (count := parts.start.api) == 1:
        return []
    nodes = (await parts.cluster.describe()).nodes
    gone = await missing.find(parts.store.engine, parts.start, nodes)
    found = [Finding("process", WARNING, f"{each.name} is missing", each.why) for each in gone]
    return found or [Finding("processes", OK, f"{count} share the store, and one leads")]


async def _services(parts: Parts) -> list[Finding]:
    live = await parts.store.releases.with_status("live")
    found = [
        Finding(f"service {service}", FAILED, trouble, "deploy a corrected one; `koco status`")
        for service, trouble in (await problems.of(parts)).items()
    ]
    newest: dict[str, Release] = {}
    for release in await parts.store.releases.with_status("failed"):
        newest[release.service] = release
    for release in live:
        failed = newest.get(release.service)
        if failed is not None and failed.number > release.number:
            text = failed.error.message if failed.error else ""
            what = f"release {failed.number} failed, {release.number} serves: {text}"
            found.append(
                Finding(f"service {release.service}", WARNING, what, "deploy a corrected one")
            )
    if not found:
        found.append(Finding("services", OK, f"{len(live)} live"))
    return found


async def _queue(parts: Parts) -> list[Finding]:
    tallies = await parts.store.executions.count_by_status()
    queued, running = tallies.get("queued", 0), tallies.get("running", 0)
    awaiting, starting = tallies.get("awaiting", 0), tallies.get("starting", 0)
    sleeping = tallies.get("sleeping", 0)
    what = (
        f"{running} running, {awaiting} {verbal(awaiting, 'awaits')} a person,"
        f" {sleeping} {verbal(sleeping, 'sleeps')}, {queued} in line"
    )
    if queued and not (running or starting):
        return [
            Finding("executions", WARNING, what, "`koco status` says what their services wait for")
        ]
    return [Finding("executions", OK, what)]


async def _store(parts: Parts) -> list[Finding]:
    engine = parts.store.engine
    await engine.check()  # by a new connection, if there are any: it may be another one than before
    probing = asyncio.ensure_future(engine.probe())
    await asyncio.wait({probing}, timeout=_COMMIT_S)
    if not probing.done() and (names := await engine.missed_standbys()) is not None:
        probing.cancel()
        what = f"changes wait for a synchronous standby, and none of {names!r} follows"
        return [Finding("store", FAILED, f"{what}: {engine.location}", _STANDBY)]
    version = await probing
    size = format_size(await engine.size_bytes())
    return [Finding("store", OK, f"writable, version {version}, {size}: {engine.location}")]


async def _disk(parts: Parts) -> list[Finding]:
    data_dir = parts.data_dir
    free = shutil.disk_usage(data_dir).free
    held = ""
    if _has_blobs(parts):
        size = await asyncio.to_thread(_folder_size, data_dir / "blobs")
        held = f"; bundles and files take {size}"
    what = f"{format_size(free)} free at {data_dir}{held}"
    if trouble := parts.disk.trouble:
        return [Finding("disk", FAILED, f"{trouble}{held}", _NO_ROOM)]
    if free >= _LITTLE_BYTES:
        return [Finding("disk", OK, what)]
    hint = "make room there: uploads are refused first, then events wait (disk_reserve_mb)"
    return [Finding("disk", WARNING, what, hint)]


def _has_blobs(parts: Parts) -> bool:
    """Return whether blobs are in the data directory."""
    return parts.files.blobs.kept.location == str(parts.data_dir / "blobs")


async def _blobs(parts: Parts) -> list[Finding]:
    kept = parts.files.blobs.kept
    if _has_blobs(parts):
        return []
    await kept.check()
    live = await parts.store.releases.with_status("live")
    gone = [each.service for each in live if await kept.size(each.bundle) is None]
    if gone:
        what = f"the code of live releases is not in {kept.location}: {', '.join(gone)}"
        hint = "`koco blobs copy` takes it there from where it was, or deploy them again"
        return [Finding("blobs", FAILED, what, hint)]
    return [Finding("blobs", OK, f"can be written and read: {kept.location}")]


def _folder_size(folder: Path) -> str:
    """Return the size of a folder as text, or a lower bound if adding up takes too long."""
    total, deadline = 0, time.monotonic() + _SIZING_S
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(f"{root}/{name}").st_size  # noqa: PTH116 - thousands of them
            except FileNotFoundError:
                continue  # collected meanwhile
        if time.monotonic() > deadline:
            return f"more than {format_size(total)}"
    return format_size(total)


async def _ray(parts: Parts) -> list[Finding]:
    ray = await parts.cluster.describe()
    what = f"{ray.version}, Python {ray.python}, token mode {ray.auth}"
    if ray.auth == "disabled":
        hint = "start Ray with RAY_AUTH_MODE=token: its dashboard lets anybody run code"
        return [Finding("ray", WARNING, what, hint), *_nodes(ray.nodes)]
    return [Finding("ray", OK, what), *_nodes(ray.nodes)]


def _nodes(nodes: list[Node]) -> list[Finding]:
    alive = [node for node in nodes if node.is_alive]
    cpus = sum(node.resources.get("CPU", 0) for node in alive)
    memory = format_size(sum(node.resources.get("memory", 0) for node in alive))
    found = [Finding("nodes", OK, f"{len(alive)} alive: {cpus:g} CPU, {memory}")]
    for node in nodes:
        if node.death:
            what = f"{node.address} is dead: {node.death}"
            found.append(Finding("node", WARNING, what, "restart it if you need it"))
    return found


async def _environments(parts: Parts) -> list[Finding]:
    pip, uv = importlib.util.find_spec("pip") is not None, shutil.which("uv") is not None
    there = ", ".join(
        f"{name} {'there' if is_there else 'missing'}"
        for name, is_there in (("pip", pip), ("uv", uv))
    )
    live = await parts.store.releases.with_status("live")
    runtimes = [release.manifest.runtime for release in live]
    lacks_pip = not pip and any(r.dependencies or r.requirements for r in runtimes)
    lacks_uv = not uv and any(r.pyproject for r in runtimes)
    if lacks_pip or lacks_uv:
        hint = "install it in the nodes' Python: live services need it when a runner starts"
        return [Finding("environments", FAILED, f"on the head: {there}", hint)]
    return [Finding("environments", OK, f"on the head: {there}")]


async def _serve(parts: Parts) -> list[Finding]:
    live = [r for r in await parts.store.releases.with_status("live") if r.app is not None]
    if not live:
        return [Finding("serve", OK, "no service has an endpoint of its own")]
    statuses = await parts.endpoints.serve.statuses()
    drift = await parts.deployer.drift.look()
    found = [
        Finding("serve", WARNING, f"{service}: {what}", "`koco deploy` restores it")
        for service, what in drift.items()
    ]
    for release in live:
        status = statuses.get(name_of(release.service, release.number), "MISSING")
        if status in ("NOT_STARTED", "DEPLOYING"):
            what = f"the endpoint of {release.service} is coming up"
            found.append(Finding("serve", WARNING, what, "check again in some seconds"))
        elif status != "RUNNING":
            what = f"the endpoint of {release.service} is {status.lower()} in Serve"
            found.append(Finding("serve", FAILED, what, "`koco deploy` restores it"))
    return found or [Finding("serve", OK, counted(len(live), "endpoint", "runs"))]


async def _runners(parts: Parts) -> list[Finding]:
    runners = {
        f"{runner.id} of {service} (release {number})": runner
        for (service, number), pool in parts.supervisor.pools.items()
        for runner in pool.runners.values()
    }

    async def ask(runner: Runner) -> bool:
        try:
            await asyncio.wait_for(runner.actor.attach(), _RUNNER_S)
        except (KocoError, TimeoutError):
            return False
        return True

    answers = await asyncio.gather(*map(ask, runners.values()))
    names = zip(runners, answers, strict=True)
    silent = {name: runners[name].vigil.says for name, answered in names if not answered}
    if not silent:
        return [Finding("runners", OK, f"{len(runners)} {verbal(len(runners), 'answers')}")]
    hint = "if it has work, a broken one is ended after 10 s; `koco stack` shows what it runs"
    return [
        Finding(
            "runners", WARNING, f"no answer within {_RUNNER_S:g} s from {name}{_suffix(says)}", hint
        )
        for name, says in silent.items()
    ]


def _suffix(says: str | None) -> str:
    return f": {says}" if says else ""


async def _leftovers(parts: Parts) -> list[Finding]:
    hint = "`ray.kill` ends a detached actor; an undeploy ends actors that a runner keeps for later"
    found = []
    for each in await parts.leftovers.look():
        whose = each.fid or f"{each.service}, release {each.release}"
        what = f"{each.kind} {each.name} of {whose} still works (process {each.pid})"
        found.append(Finding("left in Ray", WARNING, what, hint))
    return found or [Finding("left in Ray", OK, "nothing")]


async def _webhooks(parts: Parts) -> list[Finding]:
    """Say how many webhooks are dead, without their names, which only their makers may see."""
    dead = await parts.store.webhooks.failing(_FAILURES)
    off = sum(1 for each in dead if each.disabled is not None)
    hint = "`koco webhook list` says which and why; `koco webhook test` tries one"
    found = []
    if off:
        what = f"{counted(off, 'webhook', 'is')} disabled: nothing is sent there"
        found.append(Finding("webhooks", WARNING, what, hint))
    if failing := len(dead) - off:
        what = f"{counted(failing, 'webhook', 'takes')} no messages: {_FAILURES} attempts or more"
        found.append(Finding("webhooks", WARNING, f"{what} have failed", hint))
    waiting = (await parts.store.deliveries.waiting()).number
    return found or [Finding("webhooks", OK, f"{counted(waiting, 'message', 'waits')} to be sent")]


_LOOKS: dict[str, Look] = {
    "control plane": _control_plane,
    "processes": _processes,
    "store": _store,
    "disk": _disk,
    "blobs": _blobs,
    "ray": _ray,
    "environments": _environments,
    "executions": _queue,
    "webhooks": _webhooks,
}
_LOOKS_AT_SERVICES: dict[str, Look] = {
    "services": _services,
    "runners": _runners,
    "left in Ray": _leftovers,
    "serve": _serve,
}
