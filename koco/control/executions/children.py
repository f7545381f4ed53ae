"""Executions that other executions launch: who may launch what, each once.

A child belongs to the user of its parent. It may be launched if that user may launch it now, if
the parent's release names its flow in `calls`, or if it is of the same service.
"""

import asyncio
import hashlib
import logging
from fnmatch import fnmatchcase

from koco import trace_context
from koco.control.access import payload_checks, rights
from koco.control.executions.launcher import KEY_LENGTH, Launches
from koco.control.services.catalog import Catalog, Entry
from koco.errors import ConflictError, NotAllowedError, NotFoundError, TooManyError, UsageError
from koco.events.questions import CallFlow
from koco.store.model import AuditEntry, Execution
from koco.store.store import Store

log = logging.getLogger(__name__)

#: The most executions that may have launched each other, one below the other.
GENERATIONS = 32
#: The pause before a launch that found the queue full is tried again (seconds).
_AGAIN_S = 1.0
#: How much of a flow's name an error shows.
_SHOWN = 200


class LeftError(ConflictError):
    """The execution that asks has ended or left its process, so nobody waits for the answer."""


class Children:
    """Launches executions for executions."""

    def __init__(self, store: Store, catalog: Catalog, launches: Launches) -> None:
        self._store = store
        self._catalog = catalog
        self._launches = launches

    async def launch(self, parent: Execution, question: CallFlow) -> Execution:
        """Launch the execution that a flow asks for, or find it if it was launched before.

        If the queue is full, this waits for a place in it.

        Raises:
            NotAllowedError: this parent may not launch that flow.
            UsageError: the parents, and their parents, are too many.
            LeftError: the parent has ended or left its process.
            KocoError: see `Launches.launch`.
        """
        while True:
            try:
                return await self._launch(parent, question)
            except TooManyError as exc:
                about = {"fid": parent.fid}
                log.info("a launch by an execution waits: %s", exc.message, extra=about)
                await asyncio.sleep(_AGAIN_S)
            await self._require_here(parent)

    async def _require_here(self, parent: Execution) -> None:
        now = await self._store.executions.get(parent.fid)
        if now.status.is_final or now.attempt != parent.attempt:
            raise LeftError(f"execution {parent.fid} no longer waits for this launch")

    async def _launch(self, parent: Execution, question: CallFlow) -> Execution:
        entry = await self._find(parent, question.flow)
        await self._require_generation(parent)
        key = _key_of(parent.fid, question)
        execution, _ = await self._launches.launch(
            entry,
            question.inputs,
            user=parent.user,
            key=key,
            parent=parent.fid,
            trace=parent.trace.below(trace_context.span_id(parent.fid, question.key)),
            audited=AuditEntry(action="launch", who=parent.user, detail={"parent": parent.fid}),
        )
        return execution

    async def _find(self, parent: Execution, name: str) -> Entry:
        """Find a flow by its name among those that the parent may launch."""
        user = await rights.of(self._store, parent.user)
        user = user if user is not None and user.may("launch") else None
        release = await self._store.releases.get(parent.service, parent.release)
        calls = release.manifest.calls

        def may_launch(flow: str) -> bool:
            return (
                flow.partition("/")[0] == parent.service
                or (user is not None and user.reaches(flow))
                or any(fnmatchcase(flow, each) for each in calls)
            )

        if "/" in name and not may_launch(name):
            shown = name[:_SHOWN]
            raise NotAllowedError(
                f"{parent.fid} may not launch {shown}: neither {parent.user!r}, who launched it,"
                f" nor `calls` in the manifest of {parent.service} permits it",
                hint=f"add `calls: [{shown}]` to the manifest and deploy it again",
            )
        return self._catalog.find(name, sees=may_launch)

    async def _require_generation(self, parent: Execution) -> None:
        above, names = parent, [parent.flow]
        while above.parent is not None and len(names) < GENERATIONS:
            try:
                above = await self._store.executions.get(above.parent)
            except NotFoundError:
                break  # it was deleted
            names.append(above.flow)
        if len(names) >= GENERATIONS:
            raise UsageError(
                f"{GENERATIONS} executions have launched each other, one below the other:"
                f" {' < '.join(names[:3])} < …",
                hint="does a flow call itself, or two flows each other, without an end?",
            )


def _key_of(fid: str, question: CallFlow) -> str:
    """Return the idempotency key under which a step launches its execution.

    A key that the flow's author gives gets a prefix, because somebody may have launched the parent
    with the same one.
    """
    own = question.launch_key
    if own is None:
        return _fitting(f"child:{fid}", question.key)
    if not (0 < len(own) <= KEY_LENGTH and own.isascii() and own.isprintable()):
        raise UsageError(f"the key of a call has 1 to {KEY_LENGTH} printable ASCII characters")
    payload_checks.refuse(own, "the key of a call")
    return _fitting("call", own)


def _fitting(prefix: str, text: str) -> str:
    key = f"{prefix}:{text}"
    if len(key) <= KEY_LENGTH:
        return key
    return f"{prefix}:{hashlib.sha256(text.encode()).hexdigest()}"
