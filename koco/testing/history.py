"""The recorded history of an execution, as plain data; `koco steps --export` writes the same."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from koco.errors import UsageError
from koco.events import datetimes, line
from koco.events.steps import Past, PastLock, PastStep, lock_id
from koco.sdk.in_memory import Memory
from koco.store.model import History, PastAnswer, PastResult

#: A history as a test names it: a file, or its content.
Given = str | Path | Mapping[str, Any]


def export(memory: Memory, inputs: Any, flow: str) -> dict[str, Any]:
    """Return everything that an execution in a test has recorded."""
    entries = memory.records.entries
    steps = memory.records.in_order(with_locks=False)
    history = History(
        fid=memory.fid,
        flow=flow,
        inputs=msgspec.json.decode(line.encode_payload(inputs)),
        moments=datetimes.find(inputs),
        steps=[_exported(each) for each in steps],
        locks=[
            PastAnswer(
                key=each.key,
                name=each.name,
                status=each.outcome.status,
                answer=each.outcome.answer,
                moments=each.outcome.moments,
                position=entries[each.key].position,
            )
            for each in memory.records.locks.values()
            if each.key
        ],
    )
    plain: dict[str, Any] = msgspec.to_builtins(history)
    return plain


def load(given: Given) -> History:
    """Return a history of a file, or of its content.

    Raises:
        UsageError: it is no history.
    """
    try:
        if isinstance(given, str | Path):
            return msgspec.json.decode(Path(given).read_bytes(), type=History)
        return msgspec.convert(dict(given), History)
    except (msgspec.MsgspecError, OSError) as exc:
        raise UsageError(
            f"this is no history of an execution: {exc}",
            hint="`koco steps FID --export FILE` writes one, and `testing.run(…).history` is one",
        ) from exc


def past_of(history: History) -> Past:
    """Return a history as the runner that replays it gets it."""
    return Past(
        steps=[_restored(each) for each in history.steps],
        locks=[
            PastLock(lock_id(history.fid, each.key), msgspec.json.encode(each.outcome))
            for each in history.locks
            if each.key
        ],
    )


def inputs_of(history: History) -> Any:
    """Return the inputs of an execution, with their dates."""
    return datetimes.restore(history.inputs, history.moments)


def _exported(step: PastStep) -> PastResult:
    result = None if step.result is None else base64.b64encode(step.result).decode()
    fields = {name: getattr(step, name) for name in PastResult.__struct_fields__ if name != "blob"}
    return PastResult(**{**fields, "result": result})


def _restored(step: PastResult) -> PastStep:
    if step.result is None and step.blob is not None:
        raise UsageError(
            f"the history has no result of the step {step.key!r}, because it is large",
            hint="export it again with `koco steps FID --export FILE`",
        )
    fields = {name: getattr(step, name) for name in PastResult.__struct_fields__ if name != "blob"}
    result = None if step.result is None else base64.b64decode(step.result)
    return PastStep(**{**fields, "result": result})
