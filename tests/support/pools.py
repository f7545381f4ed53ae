"""A supervisor over a real store, with runners that live in this process."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from koco.cluster.node_processes import Sighting
from koco.cluster.runners import RunnerDied
from koco.control.events.spooler import Spooler
from koco.control.executions.supervisor import Supervisor
from koco.control.executions.waiting.waiters import Waiters
from koco.control.settings import Settings
from koco.errors import KocoError
from koco.events import line, wire
from koco.events.model import Kind, Status
from koco.events.wire import Ack, Batch
from koco.manifest.descriptions import AppHandlers, FlowDescription
from koco.manifest.model import Manifest
from koco.runner.spec import PROTOCOL, Description, ImportFailure, Launch, Presence, RunnerSpec
from koco.sdk.process.crash import End
from koco.store.model import Execution, NewExecution, Release
from koco.store.store import Store
from tests.support.api_server import end_others
from tests.support.driver import calm_s
from tests.support.releases import manifest
from tests.support.stores import opened


class FakeRunner:
    """A runner without a process: runs what the test says, and dies when it says."""

    is_there = True
    node = "n"

    def __init__(self, spec: RunnerSpec, world: "World") -> None:
        self.spec = spec
        self.id = spec.id
        self.world = world
        self.fids: list[str] = []
        self.cancelled: list[str] = []
        self.is_ready = True
        self.protocol = PROTOCOL
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def describe(self) -> Description:
        await self.world.importing.wait()
        if self.world.dies_of_imports:
            self.die(self.world.dies_of_imports)
            raise RunnerDied(self.world.dies_of_imports)
        if self.world.problem and self.spec.release not in self.world.works:
            return Description(problems=[self.world.problem])
        if self.world.dies_after_imports:
            self.die()
            await asyncio.sleep(0.01)  # its answer is on its way meanwhile
        return Description(forms=dict.fromkeys(flow.name for flow in self.spec.flows))

    async def attach(self) -> Presence:
        if self.over.done():
            raise RunnerDied("its process is gone")
        await self.world.answering.wait()
        said = {"fids": self.fids, "is_ready": self.is_ready, "protocol": self.protocol}
        return Presence(pid=1, node="n", served=0, **said)

    async def launch(self, launch: Launch) -> None:
        self.world.orders.append(launch)
        if self.over.done():
            raise KocoError("died")
        if self.world.fault:
            raise self.world.fault
        if self.world.dies_of:
            self.die(self.world.dies_of)
            raise KocoError(self.world.dies_of)
        self.fids.append(launch.fid)
        ends = self.world.ends  # as it is now: a test may change it while the status is committed
        if self.world.begins and await self.report(launch.fid, Status.RUNNING):
            self.world.began.append(launch.fid)
            if ends:
                await self.report(launch.fid, Status.FINISHED, count=1)

    async def report(self, fid: str, status: Status, *, count: int = 0, value: object = 1) -> bool:
        body = line.encode(Kind.FINAL, value) if count else b""
        if status is Status.ERROR:
            body = line.encode(Kind.ERROR, {"type": "E", "message": "failed", "traceback": ""})
            count = 1
        batch = Batch(fid, secrets.token_hex(4), 1, count, body, self.spec.id, status)
        return not (await self.world.append(batch)).closed

    async def cancel(self, fid: str) -> None:
        self.cancelled.append(fid)
        await self.world.answering.wait()

    async def is_blocked(self, by: str) -> bool:
        return self.world.is_blocked

    async def hold(self) -> None:
        await self.over

    async def end(self) -> None:
        await self.world.leaving.wait()
        self.world.ended.append(self)
        if not self.over.done():
            self.over.set_result(None)

    async def look(self) -> Sighting | None:
        return self.world.sighting

    async def kill(self, *, after_s: float = 0.0) -> bool:
        await self.world.killing.wait()
        self.die("killed")
        return True

    def die(self, why: str = "killed") -> None:
        if not self.over.done():
            self.over.set_exception(KocoError(why))


class World:
    """A store, a supervisor over it, and its runners."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.settings = Settings()
        self.runners: list[FakeRunner] = []
        self.ended: list[FakeRunner] = []
        #: What beginning an execution raises.
        self.fault: Exception | None = None
        #: What runners were told to begin, and the fids of what they began.
        self.orders: list[Launch] = []
        self.began: list[str] = []
        self.begins = self.ends = True
        self.problem: ImportFailure | None = None
        #: The releases that this problem is not of.
        self.works: set[int] = set()
        self.dies_after_imports = False
        #: What runners die of while they import.
        self.dies_of_imports: str | None = None
        self.importing = asyncio.Event()
        self.importing.set()
        self.leaving = asyncio.Event()
        self.leaving.set()
        #: Whether a process that is killed goes.
        self.killing = asyncio.Event()
        self.killing.set()
        #: What a look at a process gives.
        self.sighting: Sighting | None = None
        #: What runners die of that are given an execution.
        self.dies_of: str | None = None
        #: Whether runners answer when they are asked what they hold.
        self.answering = asyncio.Event()
        self.answering.set()
        #: Whether something blocks the loops of runners.
        self.is_blocked = False
        #: What dead runners leave: which were collected, and how they ended.
        self.collected: list[str] = []
        self.left: End | None = None
        self.restart()

    def restart(self) -> None:
        """Begin anew over the same store, as a restarted control plane does."""
        self.spooler = self.make_spooler()
        self.waiters = Waiters()
        self.supervisor = Supervisor(
            self.store,
            self.spooler,
            start_runner=self.start,
            settings=self.settings,
            remains=self.collect,
            waiters=self.waiters,
        )

    def make_spooler(self) -> Spooler:
        return Spooler(self.store)

    async def collect(self, runner: str, node: str) -> End | None:
        self.collected.append(runner)
        return self.left

    async def start(self, spec: RunnerSpec, release: Release) -> FakeRunner:
        runner = FakeRunner(spec, self)
        self.runners.append(runner)
        return runner

    async def live(
        self,
        *,
        limits: Any = None,
        flows: tuple[str, ...] = ("flow",),
        durable: bool = False,
        app: AppHandlers | None = None,
        **runner: Any,
    ) -> Release:
        usual = {"min": 1, "max": 3, "idle_timeout": 300, "concurrency": 1, "executions": None}
        declared = manifest(
            flows=[{"name": name, "entrypoint": "m:f", "durable": durable} for name in flows],
            runner={**usual, **runner},
            limits=limits or {},
        )
        return await self.go_live(declared, app=app)

    async def go_live(
        self,
        declared: Manifest,
        *,
        service: str = "svc",
        bundle: str = "",
        flows: Sequence[FlowDescription] = (),
        app: AppHandlers | None = None,
    ) -> Release:
        """Let a new release of a service go live, and start its pool."""
        made = await self.store.releases.create(
            service,
            bundle=bundle or secrets.token_hex(4),
            fingerprint=secrets.token_hex(4),
            manifest=declared,
            by="",
        )
        release = await self.store.releases.go_live(service, made.number, flows, app)
        self.supervisor.pool(release).keep_warm()
        return release

    async def launch(self, flow: str = "flow", **more: Any) -> Execution:
        live = await self.store.releases.live("svc")
        assert live
        new = NewExecution(
            flow=f"svc/{flow}", service="svc", release=live.number, inputs={}, **more
        )
        return await self.supervisor.launch(new)

    async def append(self, batch: Batch) -> Ack:
        """Send a batch as a runner does."""
        [ack] = wire.decode_acks(await self.spooler.append(wire.encode_batches([batch])))
        return ack

    def runner_of(self, fid: str) -> FakeRunner:
        """Return the runner that had an execution last."""
        return next(runner for runner in reversed(self.runners) if fid in runner.fids)

    async def until(self, fid: str, *statuses: Status) -> Execution:
        while (now := await self.store.executions.get(fid)).status not in statuses:
            await asyncio.sleep(0.002)
        return now

    async def until_resumed(self, fid: str, times: int) -> Execution:
        """Return an execution once it was resumed so often and runs."""
        while (now := await self.until(fid, Status.RUNNING)).resumed < times:
            await asyncio.sleep(0.002)
        return now


async def soon(work: Awaitable[object], *, within_s: float) -> None:
    """Await something that has to be over soon, on a machine that has nothing else to do."""
    began = calm_s()
    await work
    assert calm_s() - began < within_s


def over_store(tmp_path: Path, body: Callable[[Store], Awaitable[None]]) -> None:
    """Run a test over a store of its own, and end what it leaves running."""

    async def main() -> None:
        try:
            async with opened("sqlite", tmp_path) as store:
                try:
                    await asyncio.wait_for(body(store), 60)
                finally:
                    await end_others()
        finally:
            await end_others()  # what the last writes of the store have woken

    asyncio.run(main())


def world(tmp_path: Path, body: Callable[[World], Awaitable[None]]) -> None:
    over_store(tmp_path, lambda store: body(World(store)))


async def eventually(claim: Callable[[], bool]) -> None:
    while not claim():
        await asyncio.sleep(0.002)
