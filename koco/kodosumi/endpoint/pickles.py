"""Decide whether a launch travels as a name and JSON, and pickle it if it cannot.

Kodosumi hands any callable and any value from a service's endpoint to its runner. koco's orders are
JSON, so a launch that is not is pickled by value. Only a runner of the same release unpickles it.
"""

import base64
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from koco.errors import UsageError
from koco.events import line
from koco.kodosumi.payloads import shaped
from koco.sizes import format_size
from koco.tokens import MASK

#: The largest pickled launch (bytes). In base64, it fits into an endpoint's answer together with
#: the inputs to display.
MOST_BYTES = 8 * 1024 * 1024
#: The size of the inputs to display, as JSON, from which large values are shown by their size only
#: (bytes). The runner gets the pickled ones.
_DISPLAY_BYTES = 256 * 1024
#: How deeply inputs may be nested to travel as JSON.
_DEEPEST = 100
#: The length to which the name of an entrypoint is cut that is only for display.
_SHOWN = 200


def import_path(entry_point: Any) -> str | None:
    """Return `module:qualname` if a runner finds this very object there, or else None."""
    module, name = getattr(entry_point, "__module__", None), _name(entry_point)
    if not isinstance(module, str) or not name or module == "__main__" or "<" in name:
        return None
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return f"{module}:{name}" if found is entry_point else None


def describe(entry_point: Any) -> str:
    """Return the name under which an entrypoint is shown, as Kodosumi shows it."""
    if isinstance(entry_point, str):
        return entry_point
    name = getattr(entry_point, "__name__", None) or repr(entry_point)
    return f"{getattr(entry_point, '__module__', None)}.{name}"[:_SHOWN]


def is_json(inputs: Any, hidden: Sequence[str] = ()) -> bool:
    """Return whether inputs are an object that JSON holds without loss.

    It is not if a hidden name occurs below the top level, because koco masks the top level only.
    """
    return type(inputs) is dict and _is_json(inputs, frozenset(hidden), depth=0)


def to_display(inputs: Any, hidden: Sequence[str] = ()) -> dict[str, Any]:
    """Return inputs as a JSON object to show, with the values of hidden names masked.

    A value that is no object is shown under the name of its type, as Kodosumi's events do; a list
    under `__list__`. If they are long, the largest of them are shown as their sizes.
    """
    if inputs is None:
        return {}
    plain = msgspec.json.decode(line.encode_payload(shaped(inputs)))
    if isinstance(plain, list):
        plain = {"__list__": plain}
    elif not isinstance(plain, dict):
        plain = {type(inputs).__name__: plain}
    return _shorten(_mask(plain, frozenset(hidden)))


def _shorten(shown: dict[str, Any]) -> dict[str, Any]:
    """Return inputs with sizes in place of the largest values, until the rest is short enough."""
    sizes = {name: len(name) + len(msgspec.json.encode(value)) for name, value in shown.items()}
    total, found = sum(sizes.values()), dict(shown)
    for name in sorted(sizes, key=sizes.__getitem__, reverse=True):
        if total <= _DISPLAY_BYTES:
            return found
        found[name] = f"… ({format_size(sizes[name])})"
        total += len(name) + len(found[name]) - sizes[name]
    if total <= _DISPLAY_BYTES:
        return found
    return {"…": f"{len(shown)} inputs ({format_size(sum(sizes.values()))})"}


def dump(entry_point: str | Callable[..., Any], inputs: Any) -> str:
    """Return `(entry_point, inputs)` pickled, in base64.

    Raises:
        UsageError: they cannot be pickled, or are too large.
    """
    from ray import cloudpickle  # the endpoint has it loaded; the import of this module is cheap

    try:
        blob: bytes = cloudpickle.dumps((entry_point, inputs))
    except Exception as exc:
        raise UsageError(
            f"Launch cannot send {describe(entry_point)} and its inputs to a runner: {exc}",
            hint="open files, connections and locks cannot be pickled: make them in the entrypoint",
        ) from exc
    if len(blob) > MOST_BYTES:
        raise UsageError(
            f"Launch's entrypoint and inputs take {format_size(len(blob))}, the limit is "
            f"{format_size(MOST_BYTES)}",
            hint="put large inputs into files",
        )
    return base64.b64encode(blob).decode()


def _name(entry_point: Any) -> str:
    name = getattr(entry_point, "__qualname__", None)
    return name if isinstance(name, str) else ""


def _is_json(value: Any, hidden: frozenset[str], *, depth: int) -> bool:
    if depth > _DEEPEST:
        return False
    kind = type(value)
    if kind is dict:
        return all(
            type(key) is str
            and not (depth and key in hidden)
            and _is_text(key)
            and _is_json(each, hidden, depth=depth + 1)
            for key, each in value.items()
        )
    if kind is list:
        return all(_is_json(each, hidden, depth=depth + 1) for each in value)
    if kind is str:
        return _is_text(value)
    if kind is int:
        return bool(-(2**63) <= value < 2**63)
    return math.isfinite(value) if kind is float else value is None or kind is bool


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


def _mask(value: Any, hidden: frozenset[str]) -> Any:
    if not hidden:
        return value
    if isinstance(value, list):
        return [_mask(each, hidden) for each in value]
    if isinstance(value, dict):
        return {
            key: MASK if key in hidden and each is not None else _mask(each, hidden)
            for key, each in value.items()
        }
    return value
