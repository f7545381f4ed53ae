"""The actor: starts the parts over one store, and again whenever its process does.

Ray restarts a dead actor by running `__init__` in a new process. Nothing is
carried over but the settings: the store has the rest.
"""

import asyncio
import logging
import logging.handlers
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import ray

from koco import __version__
from koco.cluster import names, runners
from koco.cluster.serve import Application, Serve
from koco.control import questions
from koco.control.blobs import Blobs
from koco.control.bundles import Bundles
from koco.control.catalog import Catalog
from koco.control.deployer import Deployer
from koco.control.endpoints import Endpoints
from koco.control.environments import Environments
from koco.control.files import Files
from koco.control.launches import Launches
from koco.control.locks import Locks
from koco.control.parts import Parts
from koco.control.pool import Actor
from koco.control.settings import Settings
from koco.control.spooler import Spooler
from koco.control.supervisor import Supervisor
from koco.control.tasks import Tasks
from koco.errors import KocoError
from koco.events import line
from koco.runner.spec import RunnerSpec
from koco.store.model import Release
from koco.store.sqlite import SqliteStore

log = logging.getLogger(__name__)

#: Pause before another try where the port or the store is still held (seconds).
_RETRY_S = 0.1
#: How long the start waits for the port before it goes on without (seconds).
_PORT_S = 5.0
#: Connections that may wait until they are accepted.
_BACKLOG = 2048
#: How long taking applications out of Serve may delay the end (seconds).
_FAREWELL_S = 5.0
#: How often blobs that nothing names are looked for (seconds).
_COLLECT_S = 3600.0
_LOG_BYTES = 10 * 1024 * 1024


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """What a control plane is started with."""

    data_dir: str
    host: str = "127.0.0.1"
    port: int
    #: Where the CLI and the cluster's nodes reach the API.
    url: str


class ControlPlane:
    """The detached actor `control` in the namespace `koco`."""

    def __init__(self, start: bytes, make_app: Callable[[Parts], Any]) -> None:
        self._start_with = msgspec.msgpack.decode(start, type=Start)
        self._make_app = make_app
        self._control = ray.get_runtime_context().current_actor
        self._is_open = False
        _log_to(Path(self._start_with.data_dir) / "control.log")
        self._started = asyncio.get_running_loop().create_task(self._start())
        self._server: asyncio.Task[None] | None = None
        self._tasks = Tasks("the control plane")

    # what others call

    async def append(self, blob: bytes) -> bytes:
        """Commit events; see `Spooler.append`."""
        return await (await self._parts()).spooler.append(blob)

    async def ask(self, blob: bytes) -> bytes:
        """Answer a flow's question; see `koco.control.questions`."""
        return await questions.answer(await self._parts(), blob)

    async def ready(self) -> dict[str, Any]:
        """Return `{version, url}` once the API answers."""
        parts = await self._parts()
        return {"version": __version__, "url": parts.url}

    async def admit(self, digest: bytes, *, recover: bool) -> bool:
        """Make a key, given by its SHA-256, the admin key where there is none, or where asked.

        Returns whether it is a known key afterwards.
        """
        store = (await self._parts()).store
        if await store.key(digest) is not None:
            return True
        if await store.has_keys() and not recover:
            return False
        return await store.add_key("admin", digest=digest, scopes=("admin",))

    async def configure(self, values: dict[str, Any]) -> None:
        """Set what an operator has asked for (`koco.control.settings`), for now and later."""
        parts = await self._parts()
        await parts.store.set(values)
        parts.settings.change(values)

    async def close(self) -> None:
        """Take koco's applications out of Serve and close the store; the process is ended next."""
        parts = await self._parts()
        try:
            await asyncio.wait_for(parts.endpoints.serve.keep_only(set()), _FAREWELL_S)
        except (KocoError, TimeoutError) as exc:
            log.warning("Serve applications are left behind: %r", exc)
        await parts.store.close()

    async def _parts(self) -> Parts:
        if not self._is_open and self._started.done():
            # The store could not be opened, and may be by now: its disk has room again, say.
            self._started = asyncio.get_running_loop().create_task(self._start())
        # Shielded: a caller that gives up must not stop the start.
        return await asyncio.shield(self._started)

    # starting

    async def _start(self) -> Parts:
        data_dir = Path(self._start_with.data_dir)
        log.info("starting, version %s", __version__)
        store = SqliteStore(data_dir / "store.db")
        await store.open()
        self._is_open = True
        parts = await self._assemble(store, data_dir)
        # Before anything starts: runners and endpoints fetch their bundle from here at once, and
        # what was refused would count as an environment that failed. Who asks early, waits.
        listening = asyncio.create_task(_listen(self._start_with.host, self._start_with.port))
        await asyncio.wait({listening}, timeout=_PORT_S)
        await parts.supervisor.recover(
            {
                key: actor
                for name, actor in (await runners.present()).items()
                if (key := names.parse_runner(name)) is not None
            }
        )
        await parts.locks.recover()
        await parts.deployer.recover()
        self._server = asyncio.create_task(self._serve(parts, listening))
        log.info("started at %s", parts.url)
        return parts

    async def _assemble(self, store: SqliteStore, data_dir: Path) -> Parts:
        bundles = Bundles(
            data_dir / "bundles", secret=await store.secret("bundles"), url=self._start_with.url
        )

        environments = Environments(bundles)

        async def start_runner(spec: RunnerSpec, release: Release) -> Actor:
            return await runners.start(
                spec,
                control=self._control,
                runtime_env=await environments.of(release),
                options={},
            )

        spooler = Spooler(store)
        supervisor = Supervisor(store, spooler, start_runner=start_runner)
        catalog = Catalog()
        settings = Settings()
        settings.change(await store.settings())
        blobs = Blobs(data_dir, store, settings)
        self._tasks.spawn(_collect(blobs))
        files = Files(store, spooler, blobs, secret=await store.secret("files"))
        endpoints = Endpoints(Serve(), secret=await store.secret("endpoints"))

        locks = Locks(store, spooler, endpoints=endpoints)
        supervisor.on_ended = locks.on_final

        async def application(release: Release) -> Application:
            return Application(
                service=release.service,
                release=release.number,
                import_path=release.manifest["app"],
                runtime_env=await environments.of(release),
                timeout_s=release.manifest["endpoint"]["timeout"],
            )

        return Parts(
            store=store,
            spooler=spooler,
            supervisor=supervisor,
            deployer=Deployer(
                store, supervisor, catalog, serve=endpoints.serve, application=application
            ),
            catalog=catalog,
            bundles=bundles,
            files=files,
            endpoints=endpoints,
            locks=locks,
            launches=Launches(store, supervisor, catalog, endpoints=endpoints, files=files),
            cluster=_Ray(),
            settings=settings,
            url=self._start_with.url,
            started=line.timestamp(),
            store_path=str(store.path),
        )

    async def _serve(self, parts: Parts, listening: "asyncio.Task[socket.socket]") -> None:
        import uvicorn

        listener = await listening
        config = uvicorn.Config(
            self._make_app(parts),
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        await uvicorn.Server(config).serve(sockets=[listener])


async def _collect(blobs: Blobs) -> None:
    """Remove what nobody names any more, now and every hour."""
    while True:
        try:
            if count := await blobs.collect():
                log.info("removed %d blobs and parts of uploads that nothing names", count)
        except (KocoError, OSError):
            log.exception("what nothing names could not be removed")  # a full disk, say
        await asyncio.sleep(_COLLECT_S)


async def _listen(host: str, port: int) -> socket.socket:
    """Bind the API's port, however long it takes: the former process may still hold it."""
    while True:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        # With the protocol named: asyncio turns Nagle's algorithm off only then, and with
        # it on every answer on a kept connection waits 40 ms.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen(_BACKLOG)
            return listener
        except OSError as exc:
            listener.close()
            log.warning("cannot listen on %s:%s yet: %s", host, port, exc)
            await asyncio.sleep(_RETRY_S)


class _Ray:
    """The cluster, as `koco status` shows it."""

    async def describe(self) -> dict[str, Any]:
        """Ask Ray, in a thread: its answers come over the network."""
        return await asyncio.to_thread(self._look)

    def _look(self) -> dict[str, Any]:
        actor_id = ray.get_runtime_context().get_actor_id()
        info = ray._private.state.actors(actor_id)
        return {
            "version": ray.__version__,
            "nodes": [
                {
                    "id": node["NodeID"],
                    "address": node["NodeManagerAddress"],
                    "alive": node["Alive"],
                    "resources": {
                        name: amount
                        for name, amount in node["Resources"].items()
                        if not name.startswith("node:")
                    },
                }
                for node in ray.nodes()
            ],
            "restarts": int(info.get("NumRestarts", 0)),
        }


def _log_to(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=_LOG_BYTES, backupCount=3)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.getLogger("koco").addHandler(handler)
    logging.getLogger("koco").setLevel(logging.INFO)
    logging.getLogger("uvicorn.error").addHandler(handler)
