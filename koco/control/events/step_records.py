"""Recorded steps: out of the events that bring them, and ready for the store.

A runner sends a step's record as a member of its event (`koco.events.steps`). Before the commit it
is taken out, large results become blobs, and if the service asks for it, results are encrypted. A
batch without records costs a search for their mark and nothing else.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Protocol

import msgspec

from koco.control.events import record_bounds
from koco.control.settings import Settings
from koco.control.storage.blob_stores.protocol import BlobsAwayError
from koco.control.storage.blobs import Blobs
from koco.errors import KocoError, LimitError, NoRoomError, UsageError
from koco.events import line
from koco.events.steps import RECORD, StepRecord, split_line
from koco.events.wire import Batch
from koco.sizes import MB
from koco.store.model import Recorded
from koco.store.store import Store

#: Larger results are blobs (bytes).
_APART_BYTES = int(MB)
#: What is shown instead of values that are encrypted.
ENCRYPTED = "(encrypted)"
#: The members of a step's event that show values.
_SHOWN = ("preview", "error")
#: For how many executions it is remembered whether their steps are encrypted.
_KNOWN = 10_000


class Box(Protocol):
    """Encrypts and decrypts: see `koco.control.services.secrets.Box`."""

    def seal(self, data: bytes, name: str) -> bytes:
        """Encrypt."""
        ...

    def open(self, data: bytes, name: str) -> bytes:
        """Decrypt."""
        ...


class StepRecords:
    """Takes the records of steps out of batches of events."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        *,
        blobs: Blobs | None = None,
        box: Callable[[], Awaitable[Box]] | None = None,
    ) -> None:
        """Without `blobs`, results of all sizes stay in the store; without `box`, in plain."""
        self._store = store
        self._settings = settings
        self._blobs = blobs
        self._box = box
        self._encrypts: dict[str, bool] = {}

    async def take(self, batch: Batch) -> tuple[Batch, list[Recorded]]:
        """Return a batch without its records, and the records.

        Raises:
            ValueError: a record cannot be read, or a number or text in it is out of bounds.
            KocoError: it may not be stored, or not encrypted.
        """
        if batch.body.find(RECORD) < 0:
            return batch, []
        split = [split_line(text) for text in batch.body.split(b"\n")]
        found = [(at, record) for at, (_, record) in enumerate(split) if record is not None]
        if not found:
            return batch, []
        if not batch.runner:
            raise UsageError("only the runner of an execution records its steps")
        lines = [text for text, _ in split]
        for _, record in found:
            self._require_size(record)
            if fault := record_bounds.fault_of_record(record):
                raise ValueError(fault)
        if await self._is_encrypted(batch.fid):
            box = await self._open_box()
            found = [(at, _seal(record, box)) for at, record in found]
            for at, _ in found:
                lines[at] = _without_values(lines[at])
        records = [Recorded(line=at, record=record) for at, record in found]
        return msgspec.structs.replace(batch, body=b"\n".join(lines)), records

    @asynccontextmanager
    async def stored(
        self, batches: Sequence[tuple[Batch, Sequence[Recorded]]]
    ) -> AsyncIterator[Sequence[Sequence[Recorded] | KocoError]]:
        """Put large results into blobs, and keep these while the block commits their names.

        Yields the records of each batch as they are stored, or why they cannot be stored now.
        """
        blobs = self._blobs
        if blobs is None or not any(_is_large(each) for _, records in batches for each in records):
            yield [records for _, records in batches]
            return
        # Spared until the commit, because a blob that no row names may be collected.
        async with AsyncExitStack() as spared:
            yield [await _placed(blobs, batch, records, spared) for batch, records in batches]

    def _require_size(self, record: StepRecord) -> None:
        size_bytes = len(record.result or b"")
        if size_bytes > self._settings.max_step_mb * MB:
            raise LimitError(
                f"the result of the step {record.key!r} has {size_bytes / MB:.4g} MB;"
                f" max_step_mb is {self._settings.max_step_mb:g}",
                hint="large data can be a file of the execution",
            )

    async def _is_encrypted(self, fid: str) -> bool:
        if (known := self._encrypts.get(fid)) is not None:
            return known
        execution = await self._store.executions.get(fid)
        release = await self._store.releases.get(execution.service, execution.release)
        if len(self._encrypts) >= _KNOWN:
            self._encrypts.clear()
        self._encrypts[fid] = release.manifest.encrypt
        return release.manifest.encrypt

    async def _open_box(self) -> Box:
        if self._box is None:
            raise KocoError("there is no key to encrypt the results of steps with")
        return await self._box()


async def _placed(
    blobs: Blobs, batch: Batch, records: Sequence[Recorded], spared: AsyncExitStack
) -> Sequence[Recorded] | KocoError:
    """Put a batch's large results into blobs; return its records, or why it must wait."""
    is_end = batch.status is not None and batch.status.is_final
    placed: list[Recorded] = []
    for each in records:
        result = each.record.result
        if result is None or not _is_large(each):
            placed.append(each)
            continue
        digest = await asyncio.to_thread(hashlib.sha256, result)
        sha256 = digest.hexdigest()
        await spared.enter_async_context(blobs.garbage.spare(sha256))
        size_bytes = len(batch.body)
        try:
            await blobs.put(sha256, result, events_bytes=size_bytes, is_last=batch.is_last)
        except (NoRoomError, BlobsAwayError) as exc:
            if is_end:
                continue  # its flow has not seen the outcome, and must be able to end
            return exc
        record = msgspec.structs.replace(each.record, result=None)
        placed.append(msgspec.structs.replace(each, record=record, blob=sha256))
    return placed


def _is_large(recorded: Recorded) -> bool:
    return len(recorded.record.result or b"") > _APART_BYTES


def _seal(record: StepRecord, box: Box) -> StepRecord:
    result = record.result
    return msgspec.structs.replace(
        record,
        result=None if result is None else box.seal(result, record.key),
        arguments=record.arguments and ENCRYPTED,
        preview=record.preview and ENCRYPTED,
    )


def _without_values(text: bytes) -> bytes:
    """Return the line of a step's event without the values that it shows."""
    payload = msgspec.json.decode(line.payload_of(text))
    hidden = {name: ENCRYPTED for name in _SHOWN if payload.get(name)}
    return line.with_payload(text, {**payload, **hidden})
