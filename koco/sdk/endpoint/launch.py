"""The result of an `enter` handler that wants an execution.

A `Launch` is only an order: creating one launches nothing and calls nothing. The control plane,
which called the handler, carries it out.
"""

import inspect
from collections.abc import Callable
from typing import Any

import msgspec

from koco.errors import KocoError, UsageError
from koco.events import datetimes


class Launch:
    """An order to run an entrypoint with inputs.

    Args:
        request: the request that the handler received.
        entrypoint: `module:object`, or the callable itself if it can be found under its name in
            a module.
        inputs: a JSON object; values may also be dates and times.
        reference: another `enter` handler, whose flow to run, or a text to keep with the
            execution.
        summary: a summary of this execution, in place of the flow's own.
        description: a longer description, in place of the flow's own.

    Raises:
        UsageError: the order cannot be carried out.
    """

    __slots__ = ("description", "entrypoint", "inputs", "reference", "request", "summary")

    def __init__(
        self,
        request: Any,
        entrypoint: str | Callable[..., Any],
        inputs: dict[str, Any] | None = None,
        reference: Any = None,
        summary: str | None = None,
        description: str | None = None,
    ) -> None:
        self.request = request
        self.entrypoint = entrypoint if isinstance(entrypoint, str) else path_of(entrypoint)
        self.inputs = _to_plain(inputs)
        self.reference = reference
        self.summary = summary
        self.description = description

    def __repr__(self) -> str:
        return f"Launch({self.entrypoint!r}, inputs={self.inputs!r})"


def path_of(entrypoint: Any) -> str:
    """Return a callable as `module:qualname`, by which a runner can find it.

    Raises `UsageError` if it cannot be found under its name in a module.
    """
    module = getattr(entrypoint, "__module__", None)
    name = getattr(entrypoint, "__qualname__", None)
    if not callable(entrypoint) or not module or not name or "<" in name:
        shown = name or type(entrypoint).__name__
        raise UsageError(
            f"Launch cannot run {shown}: a runner finds only functions that a module has by name",
            hint="define the function in a module, or name it as module:object",
        )
    if inspect.ismethod(entrypoint):
        raise UsageError(
            f"Launch cannot run {name}: it is a method, and its instance stays here",
            hint="name a function, or an object that the module has: module:object.method",
        )
    return f"{module}:{name}"


def _to_plain(inputs: dict[str, Any] | None) -> dict[str, Any]:
    """Return inputs as JSON data, in which only dates and times keep their type."""
    if inputs is None:
        return {}
    if hasattr(inputs, "model_dump"):
        inputs = inputs.model_dump()
    if not isinstance(inputs, dict):
        raise UsageError(
            f"Launch takes its inputs as a dict, got {type(inputs).__name__}",
            hint="such as inputs={'topic': topic}",
        )
    found: dict[str, Any] = {}
    for name, value in inputs.items():
        try:
            plain = msgspec.json.decode(msgspec.json.encode(value, enc_hook=_dump_model))
            found[str(name)] = datetimes.restore(plain, datetimes.find(value))
        except (TypeError, ValueError, RecursionError, KocoError) as exc:
            raise UsageError(
                f"Launch cannot send the input {name!r}: {exc}",
                hint="inputs travel as JSON: text, numbers, lists, dicts, dates",
            ) from exc
    return found


def _dump_model(value: Any) -> Any:
    if callable(dump := getattr(value, "model_dump", None)):
        return dump(mode="json")
    raise TypeError(f"{type(value).__name__} cannot be represented in JSON")
