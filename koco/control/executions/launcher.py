"""Launches: from inputs to an execution that is committed, once for each idempotency key."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Any
from weakref import WeakValueDictionary

import msgspec

from koco.control.access import payload_checks
from koco.control.executions import json_depth
from koco.control.executions.files import Files
from koco.control.executions.supervisor import Supervisor
from koco.control.services.catalog import Catalog, Entry
from koco.control.services.endpoint_client import Endpoints
from koco.control.tasks import Tasks
from koco.errors import ConflictError, InputsError, UsageError
from koco.events.line import encode_payload
from koco.forms.off_loop import is_small, run_check
from koco.store.model import AuditEntry, Execution, NewExecution, NewFile
from koco.store.protocol import Store

#: The longest idempotency key.
KEY_LENGTH = 255


class Launches:
    """Accepts launches of flows, whoever has their endpoint."""

    def __init__(
        self,
        store: Store,
        supervisor: Supervisor,
        catalog: Catalog,
        *,
        endpoints: Endpoints,
        files: Files,
    ) -> None:
        self._store = store
        self._supervisor = supervisor
        self._catalog = catalog
        self._endpoints = endpoints
        self._files = files
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
    ) -> tuple[Execution, bool]:
        """Validate inputs and commit an execution; say whether it is new.

        `about` is what its `meta` event says beside the usual, `audited` what the audit log
        is to say of it.

        It goes on where its asker gives up: what a client that hangs up has begun is
        neither cut in two nor, with a key, done twice.

        Raises:
            InputsError: the form, or the service's own endpoint, refuses the inputs.
            UsageError: they are nested too deeply, or the key is no key.
            ConflictError: the key was used for something else.
            EndpointError: the service's own endpoint failed.
            TooManyError: it would have to wait, and as many do as may.
        """
        payload_checks.refuse(key or "", "what says which launch it is")
        digest = await run_check(lambda: _checked(entry, inputs), is_quick=is_small(inputs))

        async def decide() -> NewExecution:
            new = await self._decide(entry, inputs, user)
            about_it = {**new.about, **(about or {})}
            return msgspec.structs.replace(new, about=about_it, audited=audited)

        return await self._tasks.finish(self._once(user, key, digest, decide))

    async def _once(
        self,
        user: str,
        key: str | None,
        digest: str,
        decide: Callable[[], Awaitable[NewExecution]],
    ) -> tuple[Execution, bool]:
        """Commit what is decided, once for each key; `digest` tells what was asked under it."""
        if key is None:
            return await self._accept(await decide()), True
        if not 1 <= len(key) <= KEY_LENGTH or not key.isprintable():
            raise UsageError(f"an idempotency key has 1 to {KEY_LENGTH} printable characters")
        # Two at once with one key: the second finds what the first has done.
        async with self._turns.setdefault((user, key), asyncio.Lock()):
            known = await self._store.keyed(user, key)
            if known is not None:
                known.require_same(digest)
                return known, False
            new = msgspec.structs.replace(await decide(), key=key, key_digest=digest)
            return await self._accept(new), True

    async def retry(
        self,
        entry: Entry,
        former: Execution,
        *,
        user: str,
        key: str | None = None,
        audited: AuditEntry | None = None,
    ) -> tuple[Execution, bool]:
        """Launch again what an execution was ordered to do, on what is live of its flow now.

        Its inputs are as they were stored, also those that nobody is shown. The live form
        must take them, where koco has it: a service's own endpoint is not asked again.

        Raises:
            ConflictError: it has not ended; or the key was used for something else.
            InputsError: the form refuses what it was launched with.
            LimitError: the live release allows no so many or so large files.
            TooManyError: see `launch`.
        """
        if not former.status.is_final:
            raise ConflictError(
                f"execution {former.fid} has not ended: it is {former.status}",
                hint=f"`koco wait {former.fid}` waits for that, `koco cancel` ends it",
            )

        async def decide() -> NewExecution:
            new = await self._again(entry, former, user)
            return msgspec.structs.replace(new, audited=audited)

        return await self._tasks.finish(self._once(user, key, f"retry {former.fid}", decide))

    async def _again(self, entry: Entry, former: Execution, user: str) -> NewExecution:
        """Return what is to be run where it is what a former execution was."""
        found = await self._store.files(former.id, within="in")
        files = tuple(
            NewFile(path=file.path, sha256=file.sha256, size_bytes=file.size_bytes)
            for file in found
        )
        await self._files.check(files, service=entry.service, release=entry.release)
        inputs = former.inputs
        if entry.form is not None and entry.path is None:
            try:
                inputs = await entry.form.validate_async(inputs)
                self._files.require_brought(entry.form, inputs, files)
            except InputsError as exc:
                exc.hint = (
                    f"the flow's form has changed since {former.fid}:"
                    f" `koco run {entry.name}` launches it with other inputs"
                )
                raise
        new = _new(entry, inputs, user, files)
        about = {"entrypoint": former.entrypoint} if former.entrypoint else {}
        return msgspec.structs.replace(
            new,
            entrypoint=former.entrypoint,
            moments=former.moments,
            hidden=tuple(dict.fromkeys((*former.hidden, *new.hidden))),
            tags=former.tags,
            about={**about, "retry_of": former.fid},
            retry_of=former.fid,
        )

    async def _accept(self, new: NewExecution) -> Execution:
        # Deciding may have taken its time: of what was undeployed since, nothing is launched.
        self._catalog.release(new.service)
        return await self._supervisor.launch(new)

    async def _decide(self, entry: Entry, inputs: dict[str, Any], user: str) -> NewExecution:
        """Return what is to be run, once the inputs have passed."""
        inputs, files = await self._files.resolve(
            inputs, user=user, service=entry.service, release=entry.release
        )
        if entry.path is not None:
            if entry.form is not None:
                self._files.require_brought(entry.form, inputs, files)
            return await self._ordered(entry, entry.path, inputs, user, files)
        if entry.form is not None:
            inputs = await entry.form.validate_async(inputs)
            self._files.require_brought(entry.form, inputs, files)
        return await _made(entry, inputs, user, files)

    async def _ordered(
        self,
        entry: Entry,
        path: str,
        inputs: dict[str, Any],
        user: str,
        files: tuple[NewFile, ...],
    ) -> NewExecution:
        """Have the service's own endpoint decide."""
        release = self._catalog.release(entry.service)
        if release.number != entry.release:  # the next one went live a moment ago
            release = await self._store.release(entry.service, entry.release)
        order = await self._endpoints.enter(release, path, inputs=inputs, user=user)
        flow = next((flow for flow in release.flows if flow["name"] == order.flow), entry.flow)
        ordered = Entry(entry.service, entry.release, flow, entry.form)
        what = f"the inputs that the endpoint of {entry.service} orders"
        quick = is_small(order.inputs)
        await run_check(lambda: json_depth.check(order.inputs, what), is_quick=quick)
        return msgspec.structs.replace(
            await _made(ordered, order.inputs, user, files),
            entrypoint=order.entrypoint,
            moments=order.moments,
            about={"entrypoint": order.entrypoint, **msgspec.to_builtins(order.about)},
        )


async def _made(
    entry: Entry, inputs: dict[str, Any], user: str, files: tuple[NewFile, ...]
) -> NewExecution:
    return await run_check(lambda: _new(entry, inputs, user, files), is_quick=is_small(inputs))


def _new(
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
        tags=tuple(entry.flow.get("tags") or ()),
        files=files,
    )


def _checked(entry: Entry, inputs: dict[str, Any]) -> str:
    """Refuse inputs that nobody could be shown; return what tells this launch from another."""
    json_depth.check(inputs, "the inputs")
    payload_checks.refuse(inputs, "the inputs")
    return _digest(entry, inputs)


def _digest(entry: Entry, inputs: dict[str, Any]) -> str:
    """Return what tells one launch from another: the flow, and the inputs as they were sent."""
    asked = msgspec.json.encode([entry.name, inputs], order="deterministic")
    return hashlib.sha256(asked).hexdigest()
