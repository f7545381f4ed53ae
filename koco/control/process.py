"""A process of a control plane: its parts over one store, started again whenever it is.

Ray restarts a dead actor by running `__init__` in a new process. Only the settings are carried
over, because the store has the rest.

If there is one process, it leads. Of several, the one that gets the store's lease does, and the
others answer what they can; one that loses the lease ends, because what it has in memory is no
longer true, and Ray starts it again.
"""

import asyncio
import contextlib
import gc
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import ray

from koco import __version__, versions
from koco.control import duties, handover, head_requests, log_file, rpc
from koco.control.access.head_key import HeadKey
from koco.control.assembly.whole import assemble
from koco.control.candidate import Candidate
from koco.control.container import Parts
from koco.control.leadership import Leadership
from koco.control.members import places
from koco.control.members.leader import LeaderCalls
from koco.control.server import store_wait
from koco.control.server.listener import Listening
from koco.control.server.local_calls import LocalCalls
from koco.control.start import Start
from koco.control.tasks import Tasks
from koco.control.tracing import variables
from koco.errors import ConflictError, KocoError
from koco.runner.process import identity
from koco.sdk.process import control_client, local_socket
from koco.store.errors import AwayError
from koco.store.store import Store

log = logging.getLogger(__name__)

#: How long the start waits for the port (seconds). Then it goes on without it or, during a
#: takeover, gives up.
_PORT_S = 5.0
#: How long a control plane that must hand over may go on starting (seconds).
_STARTING_S = 10.0
#: How long removing applications from Serve may delay the end (seconds).
_FAREWELL_S = 5.0


class Plane:
    """A control plane; its actor (`koco.control.actor`) forwards calls to it."""

    def __init__(
        self,
        start: bytes,
        make_app: Callable[[Parts], Any],
        only_for_nodes: Callable[[Any], Any],
    ) -> None:
        self._start_with = msgspec.msgpack.decode(start, type=Start)
        variables.use(self._start_with.telemetry)
        self._make_app = make_app
        self._only_for_nodes = only_for_nodes
        context = ray.get_runtime_context()
        self._control = context.current_actor
        self._name = context.get_actor_name() or control_client.CONTROL
        self._node = ray.util.get_node_ip_address()
        self._generation, self._number = control_client.place(self._name) or (1, 0)
        if self._number:
            self._start_with = places.of_member(self._start_with, self._number, node=self._node)
        self._code = versions.code_digest()
        self._data_dir = Path(self._start_with.data_dir)
        self._head_key = HeadKey(self._data_dir)
        suffix = f"-{self._number}" if self._number else ""
        log_file.write_to(self._data_dir / f"control{suffix}.log")
        identity.restore_sigterm()
        self._store: Store | None = None
        self._leader_calls: LeaderCalls | None = None
        self._listening: Listening | None = None
        self._local_calls = LocalCalls(
            local_socket.path(), {"append": self.append, "ask": self.ask, "take": self.take}
        )
        self._has: Parts | None = None
        #: During a takeover: the task that releases port and store, and the event that ends
        #: standing by.
        self._letting_go: asyncio.Task[None] | None = None
        self._resumed = asyncio.Event()
        self._started = asyncio.get_running_loop().create_task(self._start())

    # calls from outside

    async def append(self, blob: bytes) -> bytes:
        """Commit events; see `Spooler.append`."""
        parts = await self._parts()
        passed = await self._pass_on(parts, "append", blob)
        return bytes(passed) if passed is not None else await parts.spooler.append(blob)

    async def take(self, blob: bytes) -> bytes:
        """Return launches to a runner that asks for them; see `Handout.take`."""
        return await (await self._parts()).supervisor.handout.take(blob)

    async def ask(self, blob: bytes) -> bytes:
        """Answer a flow's question; see `koco.control.rpc`."""
        while True:
            parts = await self._parts()
            passed = await self._pass_on(parts, "ask", blob)
            if passed is not None:
                return bytes(passed)
            # The task ends with these parts, and the question is put to the next ones: a closed
            # store gives no answer, and the event it waits for may reach only the next parts.
            answering = self._tasks.spawn(rpc.answer(parts, blob))
            await asyncio.wait({answering})
            if parts is self._has:
                answer: bytes = answering.result()
                return answer

    async def ready(self) -> dict[str, Any]:
        """Return `{version, url, start}` once the API answers; `start` is a `Start`.

        Raises:
            UnreachableError: there are several processes, and none of them leads.
        """
        parts = await self._parts()
        if not parts.leadership.is_alone:
            await parts.leadership.url()
        start = msgspec.to_builtins(self._start_with)
        return {"version": __version__, "url": parts.url, "start": start}

    async def admit(self, digest: bytes, *, recover: bool) -> bool:
        """Return whether a key, given by its SHA-256, is known.

        Raises:
            NotAllowedError: the key would have to be made the admin key: see `operate`.
        """
        return await head_requests.admit(await self._parts(), digest, recover=recover)

    async def configure(self, values: dict[str, Any]) -> None:
        """Refuse to change settings without a proof: see `operate`."""
        await head_requests.configure(await self._parts(), values)

    async def operate(self, blob: bytes) -> bool:
        """Carry out a request of the head's user; see `head_requests.carry_out`."""
        parts = await self._parts()
        passed = await self._pass_on(parts, "operate", blob)
        if passed is not None:
            return bool(passed)
        return await head_requests.carry_out(parts, self._head_key, blob)

    async def close(self) -> None:
        """Remove koco's applications from Serve and close the store; the process is ended next."""
        parts = await self._parts()
        try:
            await asyncio.wait_for(parts.endpoints.serve.sweep(lambda _: False), _FAREWELL_S)
        except (KocoError, TimeoutError) as exc:
            log.warning("Serve applications are left behind: %r", exc)
        if parts.leadership.is_alone:  # otherwise another process would come to lead
            await parts.store.close()

    async def identity(self) -> dict[str, Any]:
        """Return, without waiting, what runs here: `{version, code, start, store, state}`.

        `store` is the version of the store's file. `state` is `starting`, `running` or `failed`.
        """
        return {
            "version": __version__,
            "code": self._code,
            "start": msgspec.to_builtins(self._start_with),
            "store": await asyncio.to_thread(self._make_store().engine.version),
            "state": "running" if self._has else "failed" if self._has_failed else "starting",
        }

    async def hand_over(self) -> None:
        """Release the port and the store; calls wait meanwhile. See `koco.control.handover`."""
        if self._letting_go is None:
            self._resumed.clear()
            self._letting_go = asyncio.create_task(self._let_go(self._started))
            self._started = asyncio.create_task(self._stand_by(self._letting_go))
        await asyncio.shield(self._letting_go)

    async def resume(self) -> None:
        """Resume service, because the other control plane has not taken over."""
        self._resumed.set()

    async def _parts(self) -> Parts:
        if self._has_failed:
            # The store could not be opened then. Perhaps it can now, if its disk has room again.
            self._started = asyncio.create_task(self._start())
        # Shielded, because a caller that gives up must not stop the start.
        return await asyncio.shield(self._started)

    @property
    def _has_failed(self) -> bool:
        return self._started.done() and self._started.exception() is not None

    def _make_store(self) -> Store:
        if self._start_with.api > 1:
            return Store.at(self._start_with.store, member=self._name)
        return Store.at(self._start_with.store or self._data_dir / "store.db")

    async def _pass_on(self, parts: Parts, method: str, blob: bytes) -> Any:
        """Have the leader answer a call; return None if this process leads."""
        if parts.leadership.leads or self._leader_calls is None:
            return None
        return await self._leader_calls.call(parts.leadership, method, blob)

    # starting and stopping

    async def _start(self) -> Parts:
        while True:
            try:
                return await self._start_once()
            except AwayError as exc:
                log.warning("the store went away during the start: %s", exc)

    async def _start_once(self) -> Parts:
        log.info("starting, version %s", __version__)
        self._tasks = Tasks("the control plane")
        await store_wait.wait_for(self._make_store().engine, self._start_with, self._places())
        former = await handover.before(self._generation)
        if former and self._start_with.code not in ("", self._code):
            raise KocoError(
                f"Ray's processes would run a different koco: {__version__} at {versions.HERE}",
                hint="make the cluster's Python use this koco, or run `koco down` first",
            )
        if former:
            await handover.end_members(self._generation)
        # Listen from now on, because the port is free before the store is. Early requests wait.
        self._listening = Listening(*self._places())
        async with handover.take_over(former, give_up=self._close):
            self._has = await self._open(self._listening, must_listen=bool(former))
        # All objects made so far stay. If the garbage collector scanned them each time, requests
        # would wait a tenth of a second for it.
        gc.freeze()
        log.info("started at %s", self._has.url)
        return self._has

    async def _open(self, listening: Listening, *, must_listen: bool) -> Parts:
        store = self._make_store()
        await store.open()
        self._store = store
        leadership = Leadership()
        if store.engine.is_shared:
            self._leader_calls = LeaderCalls(store.engine, self._name)
            leadership = Leadership(
                self._leader_calls.url,
                forget=self._leader_calls.forget,
                secret=await store.secrets.own("members"),
                tls_cert=self._start_with.tls_cert,
            )
        parts = await assemble(
            store,
            self._start_with,
            control=self._control,
            code=self._code,
            tasks=self._tasks,
            leadership=leadership,
        )
        # Before anything starts, because runners and endpoints fetch their bundle from here at
        # once, and a refused connection would count as a failed environment.
        if not await listening.bound(_PORT_S) and must_listen:
            raise KocoError(
                f"something else listens on {self._start_with.host}:{self._start_with.port}",
                hint="use another one with `--port`",
            )
        if leadership.is_alone:
            await self._lead(parts)
            self._serve(parts, listening)
            # Only now, because serving makes known who writes the messages of other protocols.
            self._tasks.keep(parts.webhooks.sender.keep)
            return parts
        candidate = Candidate(
            parts,
            name=self._name,
            url=places.api_url(self._start_with, node=self._node),
            node=self._node,
            data_dir=self._data_dir,
            owns_data_dir=not self._number,
            lead=lambda: self._lead_on(parts),
        )
        await candidate.follow()
        self._serve(parts, listening)
        await candidate.started(self._tasks.spawn(candidate.come_to_lead()))
        return parts

    async def _lead(self, parts: Parts) -> None:
        """Take up what only the leader does, except for sending webhooks."""
        self._head_key.ensure()
        await duties.take_up(parts, self._tasks, control=self._control)
        parts.leadership.begin()
        await self._local_calls.open()

    async def _lead_on(self, parts: Parts) -> None:
        """Take up all that the leader does, in a process that serves already."""
        await self._lead(parts)
        self._tasks.keep(parts.webhooks.sender.keep)

    async def _let_go(self, started: "asyncio.Task[Parts]") -> None:
        log.info("handing over")
        _, pending = await asyncio.wait({started}, timeout=_STARTING_S)
        if pending:
            started.cancel()
            await asyncio.wait(pending)
        if self._has:
            self._has.spooler.dismiss()
            self._has = None
        await self._close()

    async def _close(self) -> None:
        """Stop accepting requests, end everything that runs here, and close the store."""
        self._local_calls.close()  # before the store, so that its socket has whoever has the store
        listening, self._listening = self._listening, None
        if listening:
            await listening.close()
        Tasks.stop()
        store, self._store = self._store, None
        if store:
            await store.close()

    async def _stand_by(self, letting_go: "asyncio.Task[None]") -> Parts:
        await asyncio.wait({letting_go})
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._resumed.wait(), handover.STAND_BY_S)
            self._letting_go = None
            try:
                return await self._start()
            except ConflictError:
                # The other one has the store, or has upgraded it beyond what this one can read.
                self._letting_go = letting_go
                self._resumed.clear()

    def _places(self) -> list[tuple[str, int]]:
        """Return where to listen: for the API and, if they have their own listener, for nodes."""
        places = [(self._start_with.host, self._start_with.port)]
        if self._start_with.nodes_apart:
            node = urlsplit(self._start_with.node_url)
            places.append((node.hostname or "", node.port or 0))
        return places

    def _serve(self, parts: Parts, listening: Listening) -> None:
        app = self._make_app(parts)
        start = self._start_with
        tls = {"ssl_certfile": start.tls_cert, "ssl_keyfile": start.tls_key}
        listening.serve(app, parts.settings, store=parts.store, **tls)
        if start.nodes_apart:
            listening.serve(self._only_for_nodes(app), parts.settings, store=parts.store)
