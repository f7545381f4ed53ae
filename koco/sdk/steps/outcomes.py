"""Encode how a step ended, so that the same value or exception comes back in another process.

Only runners decode this, because unpickling runs code.
"""

import inspect
import pickle
from collections.abc import Callable
from typing import Any

import msgspec

from koco.errors import StepResultError
from koco.events.text_values import str_of
from koco.sdk.steps import exceptions, pickling

#: How an outcome begins: plain data as MessagePack, any other value as pickle, an exception.
_PLAIN, _VALUE, _ERROR = b"m", b"p", b"e"

#: The types that MessagePack keeps. Of containers, their parts are looked at, too.
_ATOMS = frozenset({str, int, float, bool, type(None), bytes})
_CONTAINERS = frozenset({list, dict})
#: The deepest nesting that is kept as plain data.
_DEEPEST = 100

_encode: Callable[[Any], bytes] = msgspec.msgpack.Encoder().encode
_decode: Callable[[bytes | memoryview], Any] = msgspec.msgpack.Decoder().decode

_HINT = (
    "return plain data, a dataclass or a pydantic model of a module of the service; "
    "open files, connections and locks belong into the step that uses them"
)


def encode_value(value: Any, *, step: str) -> tuple[bytes, Any]:
    """Return a step's result, encoded and as it comes back. `step` is its key.

    Raises:
        StepResultError: the result cannot be kept.
    """
    if inspect.isawaitable(value):
        raise _still_running(value, step)
    if _is_plain(value):
        try:
            packed = _encode(value)
            # An atom comes back as it is.
            return _PLAIN + packed, value if type(value) in _ATOMS else _decode(packed)
        except (ValueError, OverflowError, RecursionError):
            pass  # half a surrogate pair, or a large number
    try:
        packed = pickling.dumps(value)
        # Loading is the only proof: a class may be found when it is pickled, and fail later.
        back = pickle.loads(packed)
    except Exception as exc:
        kind = type(value)
        raise StepResultError(
            f"the result of the step {step!r}, of type {kind.__module__}.{kind.__qualname__}, "
            f"cannot be kept: {type(exc).__name__}: {exc}",
            hint=_HINT,
        ) from exc
    return _VALUE + packed, back


def encode_error(exc: BaseException, *, step: str) -> bytes:
    """Return the exception of a step, encoded.

    Raises:
        StepResultError: the exception cannot be kept.
    """
    try:
        return _ERROR + exceptions.encode(exc)
    except Exception as failure:  # noqa: BLE001 - pickling runs code of the exception's class
        # Named, and not shown below it: the flow needs the step's own error.
        raise StepResultError(
            f"the step {step!r} failed with {type(exc).__name__}: {str_of(exc)}; "
            f"this exception cannot be kept: {failure}",
            hint="raise an exception whose class is in a module, with plain data in it",
        ) from exc


def decode(outcome: bytes) -> tuple[Any, BaseException | None]:
    """Return a step's result, or None and its exception."""
    kind, content = outcome[:1], memoryview(outcome)[1:]
    if kind == _PLAIN:
        return _decode(content), None
    if kind == _VALUE:
        return pickle.loads(content), None
    if kind == _ERROR:
        return None, exceptions.decode(bytes(content))
    raise ValueError(f"an outcome of an unknown kind: {kind!r}")


def _still_running(value: Any, step: str) -> StepResultError:
    if inspect.iscoroutine(value):
        value.close()  # else Python warns that nobody has awaited it
    return StepResultError(
        f"the step {step!r} has returned an awaitable, which is no result yet",
        hint="define the step with async def, and await inside",
    )


def _is_plain(value: Any) -> bool:
    """Return whether MessagePack keeps a value with the exact types of all its parts."""
    children = [value]
    for _ in range(_DEEPEST):
        # Level by level: a loop over each part takes ten times as long.
        kinds = set(map(type, children))
        if kinds <= _ATOMS:
            return True
        if not kinds <= _ATOMS | _CONTAINERS:
            return False
        inner: list[Any] = []
        for each in children:
            if type(each) is list:
                inner += each
            elif type(each) is dict:
                if set(map(type, each)) - {str}:
                    return False
                inner += each.values()
        children = inner
    return False
