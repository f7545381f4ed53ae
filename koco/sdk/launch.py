"""What an `enter` handler returns when it wants an execution: nothing but an order.

The control plane, which asked the handler, carries it out: nothing is launched by
making one, and nobody is called.
"""

import inspect
from collections.abc import Callable
from typing import Any

from koco.errors import KocoError, UsageError
from koco.sdk import moments


class Launch:
    """An order to run an entrypoint with inputs.

    Args:
        request: the request that the handler was given.
        entrypoint: `module:object`, or the callable itself, which must be one that a
            module has by its name.
        inputs: a JSON object; dates and times may be among its values.
        reference: another `enter` handler, whose flow is to be run, or a text that
            is kept with the execution.
        summary: what the execution is about, in place of the flow's own summary.
        description: the same at length.

    Raises:
        UsageError: it cannot be carried out.
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
        self.inputs = _plain(inputs)
        self.reference = reference
        self.summary = summary
        self.description = description

    def __repr__(self) -> str:
        return f"Launch({self.entrypoint!r}, inputs={self.inputs!r})"


def path_of(entrypoint: Any) -> str:
    """Return a callable as `module:qualname`, by which a runner finds it again.

    Raises:
        UsageError: no module has it by its name.
    """
    module = getattr(entrypoint, "__module__", None)
    name = getattr(entrypoint, "__qualname__", None)
    if not callable(entrypoint) or not module or not name or "<" in name:
        what = name or type(entrypoint).__name__
        raise UsageError(
            f"Launch cannot run {what}: a runner finds only what a module has by its name",
            hint="define the function in a module, or name it as module:object",
        )
    if inspect.ismethod(entrypoint):
        raise UsageError(
            f"Launch cannot run {name}: it is a method, and its instance stays here",
            hint="name a function, or an object that the module has: module:object.method",
        )
    return f"{module}:{name}"


def _plain(inputs: dict[str, Any] | None) -> dict[str, Any]:
    """Return inputs as JSON has them, but for dates and times, which are told beside it."""
    import msgspec

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
            plain = msgspec.json.decode(msgspec.json.encode(value, enc_hook=_dumped))
            found[str(name)] = moments.restore(plain, moments.find(value))
        except (TypeError, ValueError, RecursionError, KocoError) as exc:
            raise UsageError(
                f"Launch cannot send the input {name!r}: {exc}",
                hint="inputs travel as JSON: text, numbers, lists, dicts, dates",
            ) from exc
    return found


def _dumped(value: Any) -> Any:
    if callable(dump := getattr(value, "model_dump", None)):
        return dump(mode="json")
    raise TypeError(f"{type(value).__name__} is nothing that JSON has")
