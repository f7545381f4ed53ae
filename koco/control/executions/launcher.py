"""Launches: validate inputs and commit an execution, once for each idempotency key."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Protocol
from weakref import WeakValueDictionary

import msgspec

from koco.control.access import payload_checks
from koco.control.access.asker import Asker
from koco.control.executions import json_depth
from koco.control.executions.files import Files
from koco.control.executions.url_inputs import UrlInputs
from koco.control.services.bundles import Bundles
from koco.control.services.catalog import Catalog, Entry
from koco.control.services.endpoint_client import Call, Endpoints
from koco.control.services.endpoint_messages import Order
from koco.control.tasks import Tasks
from koco.control.tracing import arrived
from koco.errors import ConflictError, InputsError, NotFoundError, UsageError
from koco.events.line import encode_payload
from koco.forms import browser
from koco.forms.off_loop import is_small, run_check
from koco.kodosumi.endpoint import paths
from koco.store.model import AuditEntry, Execution, NewExecution, NewFile, Release
from koco.store.store import Store
from koco.store.webhook_model import Webhook
from koco.trace_context import Trace

#: The longest idempotency key.
KEY_LENGTH = 255

_LIVE = "`koco resume FID --release live` resumes it on the live release"


class Accepts(Protocol):
    """Commits launches: the supervisor, for example."""

    async def launch(self, new: NewExecution) -> Execution:
        """Commit an execution as queued."""
        ...


class Launches:
    """Accepts launches of flows, with koco's own endpoint or with the service's."""

    def __init__(
        self,
        store: Store,
        supervisor: Accepts,
        catalog: Catalog,
        *,
        endpoints: Endpoints,
        files: Files,
        urls: UrlInputs | None = None,
        bundles: Bundles | None = None,
    ) -> None:
        self._store = store
        self._supervisor = supervisor
        self._catalog = catalog
        self._endpoints = endpoints
        self._files = files
        self._urls = urls
        self._bundles = bundles
        self._tasks = Tasks("the launches")
        self._turns: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    async def launch(
        self,
        entry: Entry,
        inputs: dict[str, Any],
        *,
        user: str,
        key: str | None = None,
        about: dict[str, Any] | None = None,
        audited: AuditEntry | None = None,
        call: Call | None = None,
        as_browser: bool = False,
        asker: Asker | None = None,
        parent: str | None = None,
        tags: tuple[str, ...] = (),
        webhooks: tuple[Webhook, ...] = (),
        fid: str = "",
        trace: Trace | None = None,
    ) -> tuple[Execution, bool]:
        """Validate inputs and commit an execution; return it, and whether it is new.

        `about` holds additional fields for its `meta` event, and `audited` is its entry in the
        audit log. `call` is the request to the flow's own path, if the launch is one. With
        `as_browser`, an app in Kodosumi's dialect also gets the values that its form shows at
        first, as a browser sends them, unless `inputs` has the field. `parent` is the fid of the
        execution that launches it, `fid` its own if somebody was told it before. `tags` are added
        to those of the flow, and `webhooks` only hear of this execution. `trace` is the span that
        it belongs below, if that is not the request's.

        If the client disconnects, the launch continues, and a retry with the same key finds it;
        but files are fetched from URLs only while `asker` is there. An asker who has lost access
        meanwhile launches nothing.

        Raises:
            InputsError: the form or the service's own endpoint rejects the inputs, or a parameter
                of the flow's path is missing.
            UsageError: the inputs are nested too deeply, or the key is invalid.
            ConflictError: the key was used for something else.
            EndpointError: the service's own endpoint failed.
            TooManyError: the execution would have to wait, and the queue is full.
        """
        payload_checks.refuse(key or "", "the idempotency key")
        at = "" if call is None else f"{call.path}?{call.query}"
        digest = await run_check(
            lambda: _check_inputs(entry, inputs, at), is_quick=is_small(inputs)
        )

        async def decide() -> NewExecution:
            sent = _complete(entry, inputs) if as_browser else inputs
            new = await self._decide(entry, sent, user, call, asker)
            about_it = {**new.about, **(about or {})}
            return msgspec.structs.replace(
                new,
                about=about_it,
                audited=audited,
                parent=parent,
                tags=tuple(dict.fromkeys((*new.tags, *tags))),
                webhooks=webhooks,
                fid=fid,
                trace=trace,
            )

        return await self._tasks.finish(self._once(user, key, digest, decide, asker))

    async def check(self, entry: Entry, inputs: dict[str, Any]) -> None:
        """Validate inputs as `launch` does, as far as that is possible without launching.

        A service's own endpoint is not asked, and files are not fetched.

        Raises as `launch` does.
        """
        quick = is_small(inputs)
        await run_check(lambda: _check_inputs(entry, inputs, ""), is_quick=quick)
        if entry.form is None or entry.flow.dialect:
            return
        await entry.form.validate_async(inputs)
        if self._urls is not None:
            self._urls.require_allowed(entry.form, inputs)

    async def place(
        self,
        entry: Entry,
        order: Order,
        *,
        user: str,
        asked: bytes,
        key: str | None = None,
        about: dict[str, Any] | None = None,
        audited: AuditEntry | None = None,
        asker: Asker | None = None,
    ) -> tuple[Execution, bool]:
        """Commit an execution that a service's own page has ordered; see `launch`.

        `asked` is the request to the page, which identifies the launch if there is a key.

        Raises as `launch` does.
        """
        payload_checks.refuse(key or "", "the idempotency key")

        async def decide() -> NewExecution:
            new = await _carry_out(entry, await self._release(entry), order, user, ())
            about_it = {**new.about, **(about or {})}
            return msgspec.structs.replace(new, about=about_it, audited=audited)

        digest = hashlib.sha256(asked).hexdigest()
        return await self._tasks.finish(self._once(user, key, digest, decide, asker))

    async def _once(
        self,
        user: str,
        key: str | None,
        digest: str,
        decide: Callable[[], Awaitable[NewExecution]],
        asker: Asker | None,
    ) -> tuple[Execution, bool]:
        """Commit the execution that `decide` returns, once for each key.

        `digest` identifies the request, so that a key cannot be used for another one.
        """
        if key is None:
            return await self._accept(await decide(), asker), True
        if not 1 <= len(key) <= KEY_LENGTH or not key.isprintable():
            raise UsageError(f"an idempotency key has 1 to {KEY_LENGTH} printable characters")
        # If two come at once with one key, the second waits and finds the first one's execution.
        async with self._turns.setdefault((user, key), asyncio.Lock()):
            known = await self._store.executions.find_by_key(user, key)
            if known is not None:
                known.require_same(digest)
                return known, False
            new = msgspec.structs.replace(await decide(), key=key, key_digest=digest)
            return await self._accept(new, asker), True

    async def retry(
        self,
        entry: Entry,
        former: Execution,
        *,
        user: str,
        key: str | None = None,
        audited: AuditEntry | None = None,
        asker: Asker | None = None,
        only_once: bool = False,
    ) -> tuple[Execution, bool]:
        """Launch an ended execution again, on the release of its flow that is live now.

        The inputs are the stored ones, including the hidden ones. If koco has the live form, the
        form must accept them. A service's own endpoint is not asked again.

        Raises:
            ConflictError: the execution has not ended, or the key was used for something else.
            RetriedError: with `only_once`, it was retried or resumed before.
            InputsError: the live form rejects the inputs.
            LimitError: there are more or larger files than the live release allows.
            TooManyError: see `launch`.
        """
        _require_ended(former)

        async def decide() -> NewExecution:
            new = await self._repeat(entry, former, user, within="in")
            about = {**new.about, "retry_of": former.fid}
            return msgspec.structs.replace(
                new, about=about, retry_of=former.fid, audited=audited, only_once=only_once
            )

        return await self._tasks.finish(self._once(user, key, f"retry {former.fid}", decide, asker))

    async def resume(
        self,
        former: Execution,
        *,
        user: str,
        step: str | None = None,
        live: bool = False,
        key: str | None = None,
        audited: AuditEntry | None = None,
        asker: Asker | None = None,
        only_once: bool = False,
    ) -> tuple[Execution, bool]:
        """Launch an ended execution again, with its recorded steps before one of them.

        `step` is that step's key or its name; None means the one that failed, or none if none did.
        The new execution runs on the former one's release or, with `live`, on the one that is live
        now, whose form must accept the inputs. It has all files of the former one.

        Raises:
            NotFoundError: there is no such step.
            ConflictError: it has not ended, the code of its release has been removed, or the key
                was used for something else.
            Others: see `retry`.
        """
        _require_ended(former)
        digest = f"resume {former.fid} {step} {live}"
        release = None
        if not live:
            release = await self._store.releases.get(former.service, former.release)

        async def decide() -> NewExecution:
            entry = self._catalog.find(former.flow) if release is None else _own(release, former)
            new = await self._repeat(entry, former, user, within="")
            return msgspec.structs.replace(
                new,
                resume_of=former.fid,
                resume_from=step,
                audited=audited,
                only_once=only_once,
            )

        async def accept() -> tuple[Execution, bool]:
            async with _held(self._bundles, release):
                return await self._once(user, key, digest, decide, asker)

        return await self._tasks.finish(accept())

    async def _repeat(
        self, entry: Entry, former: Execution, user: str, *, within: str
    ) -> NewExecution:
        """Return the new execution that repeats a former one, with its files below a path."""
        found = await self._store.files.all_of(former.id, within=within)
        files = tuple(
            NewFile(path=file.path, sha256=file.sha256, size_bytes=file.size_bytes)
            for file in found
        )
        await self._files.check(files, service=entry.service, release=entry.release)
        inputs = former.inputs
        if entry.form is not None and entry.path is None:
            try:
                inputs = await entry.form.validate_async(inputs)
                self._require_brought(entry, inputs, files)
            except InputsError as exc:
                exc.hint = (
                    f"the flow's form has changed since {former.fid}:"
                    f" `koco run {entry.name}` launches it with other inputs"
                )
                raise
        new = _new_execution(entry, inputs, user, files)
        about = {"entrypoint": former.entrypoint} if former.entrypoint else {}
        return msgspec.structs.replace(
            new,
            entrypoint=former.entrypoint,
            moments=former.moments,
            dialect=former.dialect,
            pickled=await self._store.executions.pickled(former),
            hidden=tuple(dict.fromkeys((*former.hidden, *new.hidden))),
            tags=former.tags,
            about=about,
        )

    async def _accept(self, new: NewExecution, asker: Asker | None) -> Execution:
        # Deciding may have taken a while. This raises if the service was undeployed meanwhile, or
        # the caller has lost access.
        self._catalog.release(new.service)
        if asker is not None:
            asker.require()
        if new.trace is None and (trace := arrived.current.get()) is not None:
            new = msgspec.structs.replace(new, trace=trace)
        return await self._supervisor.launch(new)

    async def _decide(
        self,
        entry: Entry,
        inputs: dict[str, Any],
        user: str,
        call: Call | None,
        asker: Asker | None,
    ) -> NewExecution:
        """Validate the inputs; return the execution to create."""
        if self._urls is not None and entry.form is not None and not entry.flow.dialect:
            limits = partial(self._files.limits, entry.service, entry.release)
            inputs = await self._urls.fetch(
                entry.form, inputs, user=user, limits=limits, asker=asker
            )
        inputs, files = await self._files.resolve(
            inputs, user=user, service=entry.service, release=entry.release
        )
        if entry.path is not None:
            self._require_brought(entry, inputs, files)
            call = call or Call(paths.fill(entry.path, inputs))
            return await self._ordered(entry, call, inputs, user, files)
        if entry.form is not None:
            inputs = await entry.form.validate_async(inputs)
            self._require_brought(entry, inputs, files)
        return await _make_execution(entry, inputs, user, files)

    def _require_brought(
        self, entry: Entry, inputs: dict[str, Any], files: tuple[NewFile, ...]
    ) -> None:
        # In Kodosumi's dialect, a file may also be a URL, and the handler decides.
        if entry.form is not None and not entry.flow.dialect:
            self._files.require_brought(entry.form, inputs, files)

    async def _ordered(
        self,
        entry: Entry,
        call: Call,
        inputs: dict[str, Any],
        user: str,
        files: tuple[NewFile, ...],
    ) -> NewExecution:
        """Ask the service's own endpoint to validate the inputs; return the execution to create."""
        release = await self._release(entry)
        order = await self._endpoints.enter(
            release, call, inputs=inputs, user=user, as_form=entry.flow.page
        )
        return await _carry_out(entry, release, order, user, files)

    async def _release(self, entry: Entry) -> Release:
        """Return the release of a flow, which need not be read if it is the live one."""
        release = self._catalog.release(entry.service)
        if release.number != entry.release:  # the next one went live a moment ago
            release = await self._store.releases.get(entry.service, entry.release)
        return release


@asynccontextmanager
async def _held(bundles: Bundles | None, release: Release | None) -> AsyncIterator[None]:
    """Keep the code of a release from being collected during the block.

    Raises:
        ConflictError: it has been removed already.
    """
    if bundles is None or release is None:
        yield
        return
    if not await bundles.has(release.bundle):
        raise ConflictError(
            f"the code of release {release.number} of {release.service} has been removed",
            hint=f"{_LIVE}; `koco up --set keep_releases=N` keeps more of them",
        )
    async with bundles.hold(release.bundle):
        yield


def _own(release: Release, former: Execution) -> Entry:
    """Return the flow of an execution as its own release has it, without its form."""
    short = former.flow.partition("/")[2]
    flow = next((each for each in release.flows if each.name == short), None)
    if flow is None:
        raise NotFoundError(
            f"release {release.number} of {release.service} has no flow {short!r}", hint=_LIVE
        )
    return Entry(release.service, release.number, flow, None)


def _require_ended(former: Execution) -> None:
    if not former.status.is_final:
        raise ConflictError(
            f"execution {former.fid} has not ended: it is {former.status}",
            hint=f"`koco wait {former.fid}` waits for that, `koco cancel` ends it",
        )


async def _carry_out(
    entry: Entry, release: Release, order: Order, user: str, files: tuple[NewFile, ...]
) -> NewExecution:
    """Return the execution that a service's own endpoint has ordered."""
    flow = next((flow for flow in release.flows if flow.name == order.flow), entry.flow)
    ordered = Entry(entry.service, entry.release, flow, entry.form)
    what = f"the inputs that the endpoint of {entry.service} orders"
    quick = is_small(order.inputs)
    about = msgspec.to_builtins(order.about)
    await run_check(lambda: json_depth.check([order.inputs, about], what), is_quick=quick)
    return msgspec.structs.replace(
        await _make_execution(ordered, order.inputs, user, files),
        entrypoint=order.entrypoint,
        moments=order.moments,
        dialect=order.dialect,
        pickled=order.pickled,
        about={"entrypoint": order.entrypoint, **about},
    )


async def _make_execution(
    entry: Entry, inputs: dict[str, Any], user: str, files: tuple[NewFile, ...]
) -> NewExecution:
    return await run_check(
        lambda: _new_execution(entry, inputs, user, files), is_quick=is_small(inputs)
    )


def _new_execution(
    entry: Entry, inputs: dict[str, Any], user: str, files: tuple[NewFile, ...]
) -> NewExecution:
    return NewExecution(
        flow=entry.name,
        service=entry.service,
        release=entry.release,
        # Dates and the like travel as JSON; the runner reads them with the same form.
        inputs=msgspec.json.decode(encode_payload(inputs)),
        user=user,
        hidden=entry.form.hidden if entry.form is not None else (),
        tags=entry.flow.tags,
        files=files,
        dialect=entry.flow.dialect,
    )


def _complete(entry: Entry, inputs: dict[str, Any]) -> dict[str, Any]:
    """Return the inputs as a browser sends a form, if the flow's app is in Kodosumi's dialect."""
    if entry.form is None or entry.path is None or not entry.flow.dialect:
        return inputs
    return browser.complete(entry.form, inputs)


def _check_inputs(entry: Entry, inputs: dict[str, Any], at: str) -> str:
    """Reject inputs that could not be displayed later; return the launch's digest."""
    json_depth.check(inputs, "the inputs")
    payload_checks.refuse(inputs, "the inputs")
    return _digest(entry, inputs, at)


def _digest(entry: Entry, inputs: dict[str, Any], at: str) -> str:
    """Return a digest of the flow and the inputs as they were sent, which identifies a launch.

    `at` are the path and query of the request if a handler sees them.
    """
    asked = msgspec.json.encode([entry.name, inputs, *([at] if at else [])], order="deterministic")
    return hashlib.sha256(asked).hexdigest()
