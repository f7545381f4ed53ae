"""Launches: from inputs to an execution that is committed, once for each idempotency key."""

import asyncio
import hashlib
from typing import Any
from weakref import WeakValueDictionary

import msgspec

from koco.control import nesting
from koco.control.catalog import Catalog, Entry
from koco.control.endpoints import Endpoints
from koco.control.files import Files
from koco.control.supervisor import Supervisor
from koco.control.tasks import Tasks
from koco.errors import UsageError
from koco.events.line import encode_payload
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
        nesting.check(inputs, "the inputs")
        return await self._tasks.finish(self._launch(entry, inputs, user, key, about or {}, audited))

    async def _launch(
        self,
        entry: Entry,
        inputs: dict[str, Any],
        user: str,
        key: str | None,
        about: dict[str, Any],
        audited: AuditEntry | None,
    ) -> tuple[Execution, bool]:
        if key is None:
            new = await self._decide(entry, inputs, user)
            new = msgspec.structs.replace(new, about={**new.about, **about}, audited=audited)
            return await self._accept(new), True
        if not 1 <= len(key) <= KEY_LENGTH or not key.isprintable():
            raise UsageError(f"an idempotency key has 1 to {KEY_LENGTH} printable characters")
        digest = _digest(entry, inputs)
        # Two at once with one key: the second finds what the first has done.
        async with self._turns.setdefault((user, key), asyncio.Lock()):
            known = await self._store.keyed(user, key)
            if known is not None and known.key_digest == digest:
                return known, False
            if known is None:
                new = await self._decide(entry, inputs, user)
            else:  # the store refuses it, and says why
                new = _new(entry, inputs, user, ())
            about = {**new.about, **about}
            new = msgspec.structs.replace(
                new, key=key, key_digest=digest, about=about, audited=audited
            )
            return await self._accept(new), True

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
        return _new(entry, inputs, user, files)

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
        nesting.check(order.inputs, f"the inputs that the endpoint of {entry.service} orders")
        flow = next((flow for flow in release.flows if flow["name"] == order.flow), entry.flow)
        return msgspec.structs.replace(
            _new(Entry(entry.service, entry.release, flow, entry.form), order.inputs, user, files),
            entrypoint=order.entrypoint,
            moments=order.moments,
            about={"entrypoint": order.entrypoint, **msgspec.to_builtins(order.about)},
        )


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


def _digest(entry: Entry, inputs: dict[str, Any]) -> str:
    """Return what tells one launch from another: the flow, and the inputs as they were sent."""
    asked = msgspec.json.encode([entry.name, inputs], order="deterministic")
    return hashlib.sha256(asked).hexdigest()
