"""The actor: starts the parts over one store, and again whenever its process does.

Ray restarts a dead actor by running `__init__` in a new process. Nothing is
carried over but the settings: the store has the rest.
"""

import asyncio
import logging
import logging.handlers
import platform
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import ray
from ray._private.authentication.authentication_utils import is_token_auth_enabled

from koco import __version__
from koco.cluster import names, nodes, placement, runners
from koco.cluster.serve import Application, Serve
from koco.control import questions
from koco.control.applications import Applications
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
    #: Where users reach the API.
    url: str
    #: Where the cluster's nodes reach what is theirs of it, in clear.
    node_url: str
    #: Whether that is another listener than the API's: see `koco.api.nodes`.
    nodes_apart: bool = False
    #: PEM files on the head; without them the API speaks plain HTTP.
    tls_cert: str | None = None
    tls_key: str | None = None
    #: What processes of koco's need where the cluster lacks it: `{py_modules, pip}`.
    environment: dict[str, Any] = {}


class ControlPlane:
    """The detached actor `control` in the namespace `koco`."""

    def __init__(
        self,
        start: bytes,
        make_app: Callable[[Parts], Any],
        only_for_nodes: Callable[[Any], Any],
    ) -> None:
        self._start_with = msgspec.msgpack.decode(start, type=Start)
        self._make_app = make_app
        self._only_for_nodes = only_for_nodes
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
        """Return `{version, url, start}` once the API answers; `start` is a `Start`."""
        parts = await self._parts()
        start = msgspec.to_builtins(self._start_with)
        return {"version": __version__, "url": parts.url, "start": start}

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
        listening = [asyncio.create_task(_listen(*place)) for place in self._places()]
        await asyncio.wait(listening, timeout=_PORT_S)
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
        settings = Settings()
        settings.change(await store.settings())
        blobs = Blobs(data_dir, store, settings)
        self._tasks.spawn(_collect(blobs))
        bundles = Bundles(
            blobs, store, secret=await store.secret("bundles"), url=self._start_with.node_url
        )
        environments = Environments(bundles, base=self._start_with.environment)

        async def start_runner(spec: RunnerSpec, release: Release) -> Actor:
            return await runners.start(
                spec,
                control=self._control,
                runtime_env=await environments.of(release),
                options=placement.options(release.manifest["runner"]),
            )

        spooler = Spooler(store)
        supervisor = Supervisor(store, spooler, start_runner=start_runner)
        catalog = Catalog()
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
                options=release.manifest.get("serve") or {},
            )

        applications = Applications(endpoints.serve, supervisor, catalog, make=application)
        return Parts(
            store=store,
            spooler=spooler,
            supervisor=supervisor,
            deployer=Deployer(
                store, supervisor, catalog, bundles=bundles, applications=applications
            ),
            catalog=catalog,
            bundles=bundles,
            files=files,
            endpoints=endpoints,
            locks=locks,
            launches=Launches(store, supervisor, catalog, endpoints=endpoints, files=files),
            cluster=_Ray(),
            send=self._control.append.remote,
            settings=settings,
            url=self._start_with.url,
            node_url=self._start_with.node_url,
            started=line.timestamp(),
            store_path=str(store.path),
        )

    def _places(self) -> list[tuple[str, int]]:
        """Return where to listen: for the API and, where that is apart, for nodes."""
        places = [(self._start_with.host, self._start_with.port)]
        if self._start_with.nodes_apart:
            node = urlsplit(self._start_with.node_url)
            places.append((node.hostname or "", node.port or 0))
        return places

    async def _serve(self, parts: Parts, listening: "list[asyncio.Task[socket.socket]]") -> None:
        app = self._make_app(parts)
        tls = {"ssl_certfile": self._start_with.tls_cert, "ssl_keyfile": self._start_with.tls_key}
        await asyncio.gather(
            _answer(app, listening[0], **tls),
            *(_answer(self._only_for_nodes(app), each) for each in listening[1:]),
        )


async def _answer(app: Any, listening: "asyncio.Task[socket.socket]", **tls: str | None) -> None:
    """Answer what comes to a listener."""
    import uvicorn

    listener = await listening
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=1,
        **tls,  # type: ignore[arg-type]
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
        """Ask Ray, in threads: its answers come over the network."""
        restarts, found = await asyncio.gather(asyncio.to_thread(self._restarts), nodes.look())
        return {
            "version": ray.__version__,
            "nodes": [
                {
                    "id": node.id,
                    "address": node.address,
                    "alive": node.is_alive,
                    "resources": node.resources,
                    "free": node.free,
                    "labels": node.labels,
                    "death": node.death,
                }
                for node in found
            ],
            "restarts": restarts,
            "python": platform.python_version(),
            "auth": "token" if is_token_auth_enabled() else "disabled",
        }

    async def nodes(self) -> list[placement.Node]:
        """Return the nodes as they are now."""
        return await nodes.look()

    def _restarts(self) -> int:
        actor_id = ray.get_runtime_context().get_actor_id()
        return int(ray._private.state.actors(actor_id).get("NumRestarts", 0))


def _log_to(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=_LOG_BYTES, backupCount=3)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.getLogger("koco").addHandler(handler)
    logging.getLogger("koco").setLevel(logging.INFO)
    logging.getLogger("uvicorn.error").addHandler(handler)
