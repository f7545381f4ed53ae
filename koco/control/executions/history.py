"""The past of an execution, for the runner that replays it, and for tests of its code.

Results that are encrypted in the store are decrypted here. Large ones are left out of the past;
the runner asks for them one by one.
"""

import base64
from collections.abc import Callable

import msgspec

from koco.control.events.step_records import Box, read_blob
from koco.control.storage.blobs import Blobs
from koco.errors import NotFoundError
from koco.events.steps import Past, PastStep, encode_past
from koco.store.model import Execution, History, PastResult
from koco.store.store import Store


class Histories:
    """Reads what is recorded of executions."""

    def __init__(self, store: Store, *, blobs: Blobs, opener: Callable[[], Box]) -> None:
        self._store = store
        self._blobs = blobs
        self._opener = opener

    async def past(self, fid: str) -> str:
        """Return everything that a replay needs of an execution: see `encode_past`.

        Raises:
            NotFoundError: there is no such execution.
            SecretError: the results of its steps cannot be decrypted.
        """
        execution = await self._store.executions.get(fid)
        past = await self._store.steps.past(execution.id, marks=execution.policy.durable)
        box = self._opener()
        opened = [_opened(each, box) for each in past.steps]
        return encode_past(Past(steps=opened, locks=past.locks, marks=past.marks))

    async def result(self, fid: str, key: str) -> str:
        """Return the outcome of one step, as base64. Raises as `past` does."""
        execution = await self._store.executions.get(fid)
        found = await self._store.steps.result(execution.id, key)
        data = found.result
        if found.blob is not None:
            data = await read_blob(self._blobs, found.blob)
        if data is None:
            raise NotFoundError(f"the step {key!r} of {fid} has no outcome")
        return base64.b64encode(self._opener().open(data, key)).decode()

    async def export(self, execution: Execution) -> History:
        """Return what a test needs to replay an execution, with all results. Raises as `past`."""
        history = await self._store.steps.export(execution.id)
        steps = [await self._in_full(execution, each) for each in history.steps]
        return msgspec.structs.replace(history, steps=steps)

    async def _in_full(self, execution: Execution, step: PastResult) -> PastResult:
        if step.result is None and step.blob is None:
            return step
        result = await self.result(execution.fid, step.key)
        return msgspec.structs.replace(step, result=result, blob=None)


def _opened(step: PastStep, box: Box) -> PastStep:
    if step.result is None:
        return step
    return msgspec.structs.replace(step, result=box.open(step.result, step.key))
