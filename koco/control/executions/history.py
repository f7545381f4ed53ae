"""The past of an execution, for the runner that replays it, and for tests of its code.

Results that are encrypted in the store are decrypted here. Large ones are left out of the past;
the runner asks for them one by one.
"""

import asyncio
import base64
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import msgspec

from koco.control.events.step_records import Box
from koco.control.storage.blobs import Blobs
from koco.errors import NotFoundError, TooManyError
from koco.events.steps import Past, PastStep, StepStatus, encode_past
from koco.store.model import Execution, ExportedStep, History, PastResult
from koco.store.store import Store


class Histories:
    """Reads what is recorded of executions."""

    def __init__(self, store: Store, *, blobs: Blobs, opener: Callable[[], Box]) -> None:
        self._store = store
        self._blobs = blobs
        self._opener = opener
        #: Who gets an export now.
        self._exporting: set[str] = set()
        self._turn = asyncio.Lock()

    async def past(self, execution: Execution) -> str:
        """Return everything that a replay needs of an execution: see `encode_past`.

        Raises:
            SecretError: the results of its steps cannot be decrypted.
        """
        past = await self._store.steps.past(execution.id, marks=execution.policy.durable)
        box = self._opener()
        opened = [_opened(each, box) for each in past.steps]
        return encode_past(Past(steps=opened, locks=past.locks, marks=past.marks))

    async def result(self, execution: Execution, key: str) -> str:
        """Return the outcome of one step, as base64.

        Raises:
            NotFoundError: there is no such step, or it has no outcome.
            SecretError: it cannot be decrypted.
        """
        found = await self._store.steps.result(execution.id, key)
        data = found.result
        if found.blob is not None:
            data = await self._blobs.content(found.blob)
        if data is None:
            raise NotFoundError(f"the step {key!r} of {execution.fid} has no outcome")
        return base64.b64encode(self._opener().open(data, key)).decode()

    async def export(self, execution: Execution, *, by: str) -> AsyncGenerator[bytes, None]:
        """Yield the JSON of a `History`, with all results, in pieces.

        A caller gets one at a time. Large ones take seconds, so threads work on the pieces, on one
        of them at a time: two threads that are busy would keep the loop waiting.

        Raises:
            TooManyError: the caller exports another one.
            NotFoundError: a result was removed from the data directory by hand.
            SecretError: the results of its steps cannot be decrypted.
        """
        with self._only_one(by):
            async with self._turn:
                outline = await self._store.steps.outline(execution.id)
                head, tail = await asyncio.to_thread(_around, outline.history)
            lead = head
            for rows in outline.pieces:
                async with self._turn:
                    steps = await self._store.steps.exported(rows)
                    steps = [_as_it_was(each, outline.unsettled) for each in steps]
                    steps = [await self._in_full(each) for each in steps]
                    box = self._opener()
                    piece = await asyncio.to_thread(_encode, steps, box)
                if piece:
                    yield lead + piece
                    lead = b","
            yield tail if lead == b"," else head + tail

    async def _in_full(self, found: ExportedStep) -> ExportedStep:
        if found.step.blob is None:
            return found
        result = await self._blobs.content(found.step.blob)
        step = msgspec.structs.replace(found.step, blob=None)
        return found._replace(step=step, result=result)

    @contextmanager
    def _only_one(self, by: str) -> Iterator[None]:
        if by in self._exporting:
            raise TooManyError(
                f"{by!r} exports the steps of another execution",
                hint="try again when that is done: one at a time",
            )
        self._exporting.add(by)
        try:
            yield
        finally:
            self._exporting.discard(by)


def _around(history: History) -> tuple[bytes, bytes]:
    """Return what comes before and after the steps in the JSON of a history."""
    fields = msgspec.structs.asdict(history)
    del fields["steps"]
    locks = msgspec.json.encode(fields.pop("locks"))
    return msgspec.json.encode(fields)[:-1] + b',"steps":[', b'],"locks":' + locks + b"}"


def _as_it_was(found: ExportedStep, unsettled: Mapping[int, StepStatus]) -> ExportedStep:
    """Return a step as it was when the export began."""
    if (status := unsettled.get(found.row)) is None:
        return found
    step = msgspec.structs.replace(found.step, status=status, blob=None)
    return found._replace(step=step, result=None)


def _encode(steps: Sequence[ExportedStep], box: Box) -> bytes:
    """Return steps as JSON, separated by commas."""
    return msgspec.json.encode([_shown(each, box) for each in steps])[1:-1]


def _shown(found: ExportedStep, box: Box) -> PastResult:
    if found.result is None:
        return found.step
    result = base64.b64encode(box.open(found.result, found.step.key)).decode()
    return msgspec.structs.replace(found.step, result=result)


def _opened(step: PastStep, box: Box) -> PastStep:
    if step.result is None:
        return step
    return msgspec.structs.replace(step, result=box.open(step.result, step.key))
