"""The API over a real socket, with a real store and real directories, but without Ray."""

import asyncio
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import uvicorn
from argon2 import PasswordHasher

from koco.api.app import create_app
from koco.control import tasks as background
from koco.control.access.audit import Audit
from koco.control.access.keys import Keys
from koco.control.access.login_throttle import Attempts
from koco.control.access.open_streams import Streams
from koco.control.access.passwords import Passwords
from koco.control.access.rate_limit import Rates
from koco.control.access.sessions import Sessions
from koco.control.access.users import Users
from koco.control.backup.making import Backups
from koco.control.events.spooler import Spooler
from koco.control.executions.files import Files
from koco.control.executions.supervisor import Supervisor
from koco.control.leadership import Leadership
from koco.control.server.listener import configured
from koco.control.services.release_tokens import ReleaseTokens
from koco.control.services.secrets import Vault
from koco.control.settings import Settings
from koco.control.start import Start
from koco.control.storage.blob_stores.protocol import BlobStore
from koco.control.storage.blobs import Blobs
from koco.control.storage.chunked import ChunkedUploads
from koco.control.storage.disk import Disk
from koco.control.tasks import Tasks
from koco.control.tracing.exporter import Exporter
from koco.control.webhooks.orders import Webhooks
from koco.events.model import Status
from koco.store.model import FailureEvent, Key, NewExecution
from koco.store.store import Store
from tests.support.contract import contract
from tests.support.releases import manifest

MANIFEST = manifest(files={"max_count": 100, "max_size_mb": 4, "max_total_mb": 8})

TS = "2026-01-31T12:00:00.123456Z"


@dataclass
class Api:
    """A running API; `call` runs a coroutine on its loop."""

    url: str
    parts: Any
    loop: asyncio.AbstractEventLoop
    data_dir: Path

    def call(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(100)

    def http(self, key: str = "ada") -> httpx.Client:
        headers = {"Authorization": f"Bearer {key}"}
        # Not verified, because reading certificates would take most of a test's time.
        return httpx.Client(
            base_url=self.url,
            headers=headers,
            trust_env=False,
            timeout=100,
            verify=False,
            event_hooks={"response": [_check]},
        )

    def admit(self, name: str, *scopes: str, **more: Any) -> None:
        """Create a key whose secret is its name."""
        digest = hashlib.sha256(name.encode()).digest()
        key = Key(name=name, digest=digest, scopes=scopes, created=TS, **more)
        self.call(self.parts.store.keys.put(key))

    def sql(self, statement: str) -> None:
        """Change the store's file directly."""
        self.call(self.parts.store.engine.write(lambda db: db.execute(statement)))

    def execution(
        self, ended: Status | None = None, error: FailureEvent | None = None, **more: Any
    ) -> str:
        """Make an execution that waits, or has ended with this status; return its fid."""
        fields = {"flow": "svc/flow", "service": "svc", "release": 1, "inputs": {}, "user": "ada"}
        executions = self.parts.store.executions
        fid: str = self.call(executions.create(NewExecution(**{**fields, **more})))[0].fid
        if ended is not None:
            self.call(executions.settle(fid, ended, error))
        return fid

    def upload(self, data: bytes, key: str = "ada") -> str:
        sha256 = hashlib.sha256(data).hexdigest()
        headers = {"Upload-Offset": "0", "Upload-Length": str(len(data))}
        with self.http(key) as client:
            answer = client.patch(f"/v1/blobs/{sha256}", content=data, headers=headers)
        assert answer.status_code == 204, answer.text
        return sha256


def _check(answer: httpx.Response) -> None:
    """Check an answer against the API's document; of a stream, only its head."""
    kind = answer.headers.get("content-type", "")
    is_whole = "json" in kind and "ndjson" not in kind and answer.request.method != "HEAD"
    # `fields` leaves members out.
    is_whole = is_whole and "fields" not in answer.request.url.params
    body = answer.read() if is_whole else None
    url = answer.request.url.raw_path.decode()
    contract().check_answer(answer.request.method, url, answer.status_code, answer.headers, body)


@contextmanager
def serving(
    data_dir: Path,
    *,
    max_file_mb: float = 16,
    kept: BlobStore | None = None,
    store: Store | None = None,
    leadership: Leadership | None = None,
    **more: Any,
) -> Iterator[Api]:
    """Serve the files of a data directory, or blobs kept elsewhere, to the keys `ada` and `bob`.

    `store` is an engine's that is not open yet, if not the one in the directory. A process that
    does not lead deploys no service. `more` are further parts.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    api = Api("", None, loop, data_dir)
    store = store or Store.at(data_dir / "store.db")
    more["leadership"] = leadership or Leadership()
    server = api.call(_start(api, store, max_file_mb, kept, more))
    try:
        yield api
    finally:
        api.call(_stop(api, server))
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _start(
    api: Api, store: Store, max_file_mb: float, kept: BlobStore | None, more: dict[str, Any]
) -> Any:
    await store.open()
    for name in ("ada", "bob"):
        digest = hashlib.sha256(name.encode()).digest()
        await store.keys.put(Key(name=name, digest=digest, scopes=("read", "launch"), created=TS))
    if more["leadership"].leads and not await store.releases.with_status("starting"):
        await store.releases.create("svc", bundle="", fingerprint="", manifest=MANIFEST, by="ada")
    settings = Settings(max_file_mb=max_file_mb)
    disk = Disk(api.data_dir, settings, store.engine)
    store.engine.require_room = disk.require_room
    blobs = Blobs(api.data_dir, store, settings, disk, kept=kept)
    spooler = Spooler(store, settings, disk=disk)
    files = Files(store, spooler, blobs, secret=b"s" * 32)
    nothing: Any = None  # no runner is ever started here
    supervisor = Supervisor(store, spooler, start_runner=nothing, leadership=more["leadership"])
    streams = Streams(settings)
    # As cheap as argon2id gets, because there are many tests.
    passwords = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    attempts = Attempts()
    chunked = ChunkedUploads(api.data_dir, blobs, settings, disk)
    tasks = Tasks("the tests")

    def forget(owner: str) -> None:
        for each in (blobs, chunked):
            tasks.spawn(each.end(owner))

    users = Users(store, passwords, attempts, end=streams.end, forget=forget)
    vault = Vault(store, api.data_dir)
    url = "https://koco.example.com"
    api.parts = SimpleNamespace(
        schedules=NoSchedules(),
        start=Start(data_dir="", port=0, url=""),
        store=store,
        disk=disk,
        spooler=spooler,
        files=files,
        chunked=chunked,
        keys=Keys(store, end=streams.end, forget=forget),
        users=users,
        sessions=Sessions(store, users, passwords, settings, end=streams.end),
        attempts=attempts,
        url=url,
        data_dir=api.data_dir,
        supervisor=supervisor,
        settings=settings,
        streams=streams,
        rates=Rates(settings),
        audit=Audit(store),
        backups=Backups(api.data_dir, store, blobs, disk, url=url),
        heartbeat_s=10,
        node_url="",
        vault=vault,
        webhooks=Webhooks(store, settings, vault, url=url),
        traces=Exporter(store, spooler),
        **more,
        release_tokens=ReleaseTokens(secret=b"t" * 32, url=""),
    )
    sender = api.parts.webhooks.sender
    store.listen(lambda news: sender.wake())
    tasks.keep(sender.keep)
    config = configured(create_app(api.parts), settings, store=store, port=0)
    server = uvicorn.Server(config)
    task = asyncio.get_running_loop().create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.005)
    api.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    return server, task


async def _stop(api: Api, running: Any) -> None:
    server, task = running
    server.should_exit = server.force_exit = True
    await task
    await end_others()
    await api.parts.store.close()


class NoSchedules:
    """Stands for `Schedules`, of releases without any."""

    async def up_to_date(self) -> None:
        """Do nothing."""

    def of(self, flow: str) -> list[Any]:
        """Return nothing."""
        return []


async def end_others() -> None:
    """End all other tasks of the loop, and the tasks that they start while they end.

    A task that is left when the loop is closed would make a later test fail. A pool starts a
    runner for each that ends, so owners of tasks start no more.
    """
    loop = asyncio.get_running_loop()
    for _ in range(20):
        for owner in list(background._all):
            owner._is_stopped |= any(task.get_loop() is loop for task in tuple(owner._spawned))
        if not (others := asyncio.all_tasks() - {asyncio.current_task()}):
            return
        for each in others:
            each.cancel()
        await asyncio.wait(others, timeout=10)
