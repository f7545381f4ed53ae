"""A flow as a function: its parameters are those of the flow's inputs."""

import inspect
import keyword
from typing import Any

from koco.client import answers

#: The Python types of JSON Schema's.
_TYPES: dict[str, Any] = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "array": list,
    "object": dict,
    "null": None,
}


def signature(flow: answers.Flow) -> inspect.Signature:
    """Return the parameters of a flow, by name only: a form's order may change.

    Inputs whose names Python does not allow, and those of flows without a form, go into `**inputs`.
    """
    schema = flow["schema"] if isinstance(flow["schema"], dict) else {}
    properties: dict[str, Any] = schema.get("properties") or {}
    required = schema.get("required") or ()
    parameters = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if name in required else _default(about),
            annotation=_annotation(about),
        )
        for name, about in properties.items()
        if name.isidentifier() and not keyword.iskeyword(name)
    ]
    is_open = not properties or schema.get("additionalProperties", True) is not False
    if is_open or len(parameters) < len(properties):
        parameters.append(inspect.Parameter("inputs", inspect.Parameter.VAR_KEYWORD))
    return inspect.Signature(parameters)


def inputs(flow: answers.Flow, its: inspect.Signature, given: dict[str, Any]) -> dict[str, Any]:
    """Return the inputs of a call.

    Raises:
        TypeError: one is missing or unknown, as with any function.
    """
    try:
        its.bind(**given)
    except TypeError as exc:
        raise TypeError(f"{flow['name']}{its}: {exc}") from None
    return given


def python_name(flow: answers.Flow) -> str:
    """Return a flow's own name, as Python writes names."""
    return flow["name"].rpartition("/")[2].replace("-", "_")


def documentation(flow: answers.Flow) -> str:
    """Return what `help` shows of a flow."""
    texts = [text for text in (flow["summary"], flow.get("description")) if text]
    # Of an object, `help` shows nothing but its documentation.
    return "\n\n".join(
        [f"{python_name(flow)}{signature(flow)}", *(texts or [f"The flow {flow['name']}."])]
    )


def _default(about: Any) -> Any:
    return about.get("default") if isinstance(about, dict) else None


def _annotation(about: Any) -> Any:
    kinds = about.get("type") if isinstance(about, dict) else None
    if isinstance(kinds, str):
        return _TYPES.get(kinds, Any)
    if isinstance(kinds, list) and kinds and all(kind in _TYPES for kind in kinds):
        found = _TYPES[kinds[0]]
        for kind in kinds[1:]:
            found = found | _TYPES[kind] if found is not None else _TYPES[kind] | None
        return found
    return Any
