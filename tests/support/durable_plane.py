"""A control plane of durable flows over a real store, with runners that live in this process."""

from pathlib import Path
from typing import Any

from koco.control.events.spooler import Spooler
from koco.control.events.step_records import StepRecords
from koco.control.executions.children import Children
from koco.control.executions.files import Files
from koco.control.executions.history import Histories
from koco.control.executions.launcher import Launches
from koco.control.executions.news import Listener
from koco.control.executions.waits import Waits
from koco.control.services.bundles import Bundles
from koco.control.services.catalog import Catalog
from koco.control.services.secrets import Vault
from koco.control.storage.blobs import Blobs
from koco.control.storage.disk import Disk
from koco.control.webhooks.orders import Webhooks
from koco.events.model import Status
from koco.events.steps import StepKind
from koco.manifest.model import Manifest
from koco.store.model import Execution, NewWait, Release
from koco.store.store import Store
from tests.support.pools import World


class Durable(World):
    """A world whose flow is durable, with everything that hears the store's news."""

    def __init__(self, store: Store) -> None:
        self.path = Path(store.engine.location).parent
        self.vault = Vault(store, self.path)
        super().__init__(store)

    def restart(self) -> None:
        super().restart()
        self.ends = False
        sender = Webhooks(self.store, self.settings, self.vault, url="").sender
        self.store.listen(Listener(self.supervisor, self.spooler, self.waiters, sender).heed)
        self.catalog = Catalog()
        self.bundles = Bundles(self.blobs, self.store, secret=b"b", url="")
        nothing: Any = None  # no service has an endpoint here
        self.launches = Launches(
            self.store,
            self.supervisor,
            self.catalog,
            endpoints=nothing,
            files=Files(self.store, self.spooler, self.blobs, secret=b"s"),
            bundles=self.bundles,
        )
        self.waits = Waits(
            self.store,
            self.spooler,
            waiters=self.waiters,
            children=Children(self.store, self.catalog, self.launches),
        )
        self.histories = Histories(self.store, blobs=self.blobs, opener=self.vault.opener)

    def make_spooler(self) -> Spooler:
        disk = Disk(self.path, self.settings, self.store.engine)
        self.blobs = Blobs(self.path, self.store, self.settings, disk)
        records = StepRecords(self.store, self.settings, blobs=self.blobs, box=self.vault.box)
        return Spooler(self.store, self.settings, disk=disk, records=records)

    async def durable(self, **more: Any) -> Release:
        return await self.live(durable=True, **more)

    async def go_live(self, declared: Manifest, *, service: str = "svc", **more: Any) -> Release:
        release = await super().go_live(declared, service=service, **more)
        self.catalog.put(release)
        self.supervisor.retire(service, keep=release.number)
        return release

    async def running(self, **more: Any) -> Execution:
        return await self.until((await self.launch(**more)).fid, Status.RUNNING)

    async def sleeps(self, execution: Execution, *, due: float, key: str = "sleep:0") -> None:
        new = NewWait(key=key, name="sleep", kind=StepKind.SLEEP, position=1, digest="", due=due)
        await self.store.steps.open_wait(execution.fid, new)

    async def asks(self, execution: Execution) -> None:
        """Open the lock `lid` of an execution."""
        await self.store.locks.open(
            execution.fid, "lid", name="ok", data=None, expires=4e9, key="lock.ok:0"
        )

    async def parked(self, *, due: float = 4e9) -> Execution:
        execution = await self.running()
        await self.sleeps(execution, due=due)
        assert await self.park(execution, "sleep:0")
        return await self.store.executions.get(execution.fid)

    async def park(self, execution: Execution, *keys: str) -> bool:
        is_parked = await self.supervisor.park(execution, keys=keys, lids=[])
        if is_parked:
            self.runner_of(execution.fid).fids.remove(execution.fid)
        return is_parked
