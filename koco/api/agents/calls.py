"""What a request over an agent's protocol may do: list flows, launch, follow, answer, cancel.

With the caller's sight and scopes, the audit log and the limits of `/v1`. What the caller may not
see does not exist.
"""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import msgspec

from koco.api.http import audit, auth
from koco.api.http.request import Request
from koco.api.routes import flows
from koco.api.routes.executions import results
from koco.control.access.open_streams import Stream
from koco.control.events.chunk_reader import Wanted
from koco.control.executions.files import MARK
from koco.control.services.catalog import Entry
from koco.errors import ConflictError, KocoError, LimitError, NotFoundError
from koco.events.model import Status
from koco.forms import Model
from koco.store.model import Execution, File, Lock
from koco.store.webhook_model import Webhook
from koco.trace_context import Trace

#: How long a cancelled execution may take to end by itself (seconds), as with `/v1`.
_GRACE_S = 5.0


class Event(msgspec.Struct, frozen=True):
    """One event of an execution."""

    seq: int
    ts: str
    kind: str
    payload: Any = None


_EVENTS = msgspec.json.Decoder(Event)


class Calls:
    """The flows and executions that the caller of a request may use.

    Its route has a guard for `read` and `reads=True`; methods that change something require
    `launch` and write their own entries to the audit log.
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        self.parts = request.parts
        self.caller = request.auth

    def require_launch(self, action: str, target: str = "") -> None:
        """Require the scope `launch` for a change, which the audit log gets to know.

        The methods that change something do so, too.

        Raises:
            NotAllowedError: the caller does not have it.
        """
        audit.add(self.request, action=action, target=target)
        auth.require_scope(self.caller, "launch")

    # flows

    def flows(self, protocol: str) -> list[Entry]:
        """Return the flows that the caller may see and launch over a protocol, by name."""
        return [each for each in flows.visible(self.request) if _is_exposed(each, protocol)]

    def flow(self, name: str, protocol: str) -> Entry:
        """Return one of them by its full name.

        Raises:
            NotFoundError: there is none. The caller may not see it, for example.
        """
        with contextlib.suppress(NotFoundError, ConflictError):  # its form is faulty, for example
            entry = self.parts.catalog.find(name, sees=self.caller.reaches)
            if entry.name == name and _is_exposed(entry, protocol):
                return entry
        raise NotFoundError(f"no flow is called {name[:200]!r}")

    async def launch(
        self,
        entry: Entry,
        inputs: dict[str, Any],
        *,
        key: str | None = None,
        tags: tuple[str, ...] = (),
        webhooks: tuple[Webhook, ...] = (),
        about: dict[str, Any] | None = None,
        prefilled: bool = False,
        trace: Trace | None = None,
    ) -> tuple[Execution, bool]:
        """Launch a flow; return the execution once it is committed, and whether it is new.

        `key` is the idempotency key, if it is not in the request's header. `webhooks` hear of this
        execution: see `koco.control.webhooks`. `about` and `prefilled` are those of
        `koco.api.routes.flows.accept`. `trace` is the span that it belongs below, if the protocol
        tells it otherwise than in the request's headers. If the client disconnects, the launch
        continues, and the same call with the same key finds it.

        Raises:
            NotAllowedError: the caller has no scope `launch`.
            InputsError and others: as `koco.control.executions.launcher.Launches.launch`.
        """
        with self._audited("launch", entry.name):
            return await flows.accept(
                self.request,
                entry,
                inputs,
                key=key,
                tags=tags,
                webhooks=webhooks,
                about=about,
                prefilled=prefilled,
                trace=trace,
            )

    # executions

    async def execution(self, fid: str) -> Execution:
        """Return an execution that the caller may see, by its whole fid.

        Raises:
            NotFoundError: there is none.
        """
        found = await self.parts.store.executions.find(fid, self.caller.sight)
        if found is None:
            raise NotFoundError(f"no execution is called {fid[:200]!r}")
        return found

    def waiting(self) -> AbstractContextManager[Stream]:
        """Count a request as an open stream while the block runs, if it waits for an execution.

        Begin it before the launch, because a refused request must not launch anything. A request
        that is answered with a `LiveStream` is counted by that.

        Raises:
            TooManyError: the caller, or all callers, have too many streams open.
            UnauthorizedError: from the block: the caller's credential has ended.
        """
        return self.parts.streams.open(self.caller)

    async def wait(self, execution: Execution, *, seconds: float) -> Execution:
        """Return an execution once it is over or awaits a person, or as it is after `seconds`."""

        def is_enough(now: Execution) -> bool:
            return now.status.is_final or now.status is Status.AWAITING

        return await results.wait_until(self.parts, execution, is_enough, timeout_s=seconds)

    async def outcome(self, execution: Execution) -> results.Result:
        """Return the result or the error of an execution that has ended."""
        return await results.read_outcome(self.parts, execution)

    async def events(
        self, execution: Execution, *, after: int = 0, kinds: frozenset[str] = frozenset()
    ) -> AsyncGenerator[Event | None]:
        """Yield events as they are committed, until the final status; None is a heartbeat.

        `kinds` selects some; the final status is yielded in any case.
        """
        async for batch in self.batches(execution, after=after, kinds=kinds):
            for event in batch:
                yield event
            if not batch:
                yield None

    async def batches(
        self, execution: Execution, *, after: int = 0, kinds: frozenset[str] = frozenset()
    ) -> AsyncGenerator[list[Event]]:
        """Do the same in lists of events that came together; an empty one is a heartbeat."""
        wanted, rest = Wanted(kinds, tells_end=True), b""
        pieces = self.parts.spooler.follow(
            execution, wanted, since=after, heartbeat_s=self.parts.heartbeat_s
        )
        async for piece in pieces:
            lines, newline, rest = (rest + piece).rpartition(b"\n")
            piece = b""  # noqa: PLW2901 - free it while waiting for the next one
            if newline:
                yield decode_lines(lines)

    async def cancel(self, fid: str) -> Execution:
        """Ask an execution to end; return it as it is then.

        Raises:
            NotFoundError, NotAllowedError: as `execution` and `launch`.
            ConflictError: it has ended already.
        """
        with self._audited("cancel_execution", fid):
            found = await self.execution(fid)
            return await self.parts.supervisor.cancel(found.fid, grace_s=_GRACE_S)

    # locks

    async def locks(self, execution: Execution) -> list[Lock]:
        """Return an execution's open locks, oldest first."""
        snapshot = await self.parts.store.snapshots.get(execution.fid, outcome=False, locks=True)
        return list(snapshot.locks)

    async def form(self, lock: Lock) -> Model | None:
        """Return the form that a lock is answered with; None if it takes any JSON value.

        Raises:
            EndpointError, TimedOutError: the service's own endpoint does not tell it.
        """
        elements = await self.parts.locks.form(lock, user=self.caller.name)
        return None if elements is None else Model.from_list(elements)

    async def answer(self, fid: str, lid: str, values: Any) -> Lock:
        """Answer a lock of an execution; its flow has the answer when this returns.

        Raises:
            NotFoundError, NotAllowedError: as `execution` and `launch`; or there is no such lock.
            InputsError: its form or its lease refuses the values. The lock stays open.
            ConflictError: it is no longer open.
        """
        with self._audited("answer_lock", f"{fid}/{lid}"):
            execution = await self.execution(fid)
            lock = await self.parts.locks.find(execution, lid)
            return await self.parts.locks.answer(lock.lid, values, by=self.caller.name)

    # files

    async def files(self, execution: Execution, place: str = "out") -> list[File]:
        """Return the files of an execution at or below a place: by default those that it made."""
        return await self.parts.files.listing(execution, place)

    async def upload(self, name: str, content: bytes) -> dict[str, Any]:
        """Keep a file that came in a request; return the input that stands for it.

        Raises:
            NotAllowedError: the caller has no scope `launch`, and so no use for it.
            LimitError, TooManyError, NoRoomError: see `koco.control.storage.blobs`.
        """
        auth.require_scope(self.caller, "launch")

        async def body() -> AsyncIterator[bytes]:
            yield content

        sha256, _ = await self.parts.files.blobs.receive_content(
            self.caller.uploader, body(), by=self.caller.owner
        )
        return {MARK: {"name": name, "sha256": sha256}}

    async def content(self, file: File, *, most_bytes: int) -> bytes:
        """Return the content of a file.

        Raises:
            LimitError: it is larger than `most_bytes`.
        """
        if file.size_bytes > most_bytes:
            raise LimitError(f"{file.path} has more than {most_bytes} bytes")
        return await self.parts.files.blobs.content(file.sha256)

    def url(self, path: str) -> str:
        """Return the URL of a path of this control plane: see `url_of`."""
        return url_of(self.request, path)

    @contextmanager
    def _audited(self, action: str, target: str) -> Iterator[None]:
        """Require the scope `launch`, and have the audit log say what became of a change."""
        try:
            self.require_launch(action, target)
            yield
        except KocoError as exc:
            audit.note_code(self.request, exc.code)
            raise


def url_of(request: Request, path: str) -> str:
    """Return the URL of a path of this control plane, as `koco up --public-url` has it.

    Never by the request's `Host`: who sends one would choose what a card names, and caches and
    signatures would hand that on to others.
    """
    return f"{request.parts.url.rstrip('/')}{path}"


def decode_lines(lines: bytes) -> list[Event]:
    """Return the events in whole lines of a stream."""
    return [_EVENTS.decode(line) for line in lines.split(b"\n") if line]


def _is_exposed(entry: Entry, protocol: str) -> bool:
    """Whether a flow may be called over a protocol. A page launches nothing by itself."""
    return protocol in entry.flow.expose and not entry.fault and not entry.flow.page
