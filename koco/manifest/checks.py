"""Everything that is wrong with a manifest's data, in the words of its author."""

from typing import Any

from koco.manifest.model import Endpoint, Files, Flow, Manifest, Runner, Runtime
from koco.manifest.problems import KeyPath, Problem, Wrong, expected, unknown_key


def find_problems(data: Any) -> list[Problem]:
    """Return everything that is wrong with a manifest's data."""
    from pydantic import ValidationError

    if not isinstance(data, dict):
        return [_problem((), expected("a mapping of keys such as `service`", data))]
    problems = []
    try:
        Manifest.model_validate(data)
    except ValidationError as exc:
        # A list of which all elements are wrong is too short as well, says pydantic.
        problems = [
            _worded(dict(error))
            for error in exc.errors(include_url=False)
            if not (error["type"] == "too_short" and error["input"])
        ]
    # On the data, not on the model: there is none while a single value is wrong.
    return [*problems, *_nothing(data), *_twice(data), *_limits(data), *_forms(data)]


def _problem(path: KeyPath, wrong: Wrong, *, on_key: bool = False) -> Problem:
    return Problem(path, str(wrong), wrong.hint, on_key)


#: What pydantic's types are called in a manifest.
_TYPES = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
}


def _worded(error: dict[str, Any]) -> Problem:
    """Return one of pydantic's errors as a problem in the words of a manifest."""
    kind, path, context = error["type"], tuple(error["loc"]), error.get("ctx", {})
    on_key = path[-1:] == ("[key]",)
    path = path[:-1] if on_key else path
    if kind == "extra_forbidden":
        return unknown_key(path, _model_at(path[:-1]).model_fields)
    if kind == "missing":
        return Problem(path[:-1], f"key {path[-1]!r} is missing", _meaning(path))
    if kind == "value_error" and isinstance(context.get("error"), Wrong):
        return _problem(path, context["error"], on_key=on_key)
    if kind in _TYPES:
        return _problem(path, expected(_TYPES[kind], error["input"]))
    return Problem(path, _bound(kind, context, error))


def _bound(kind: str, context: dict[str, Any], error: dict[str, Any]) -> str:
    if kind == "greater_than_equal":
        return f"must be at least {context['ge']}, got {error['input']}"
    if kind == "finite_number":
        return f"must be a finite number, got {error['input']}"
    if kind == "too_short":
        return "must have at least one element"
    if kind == "string_too_short":
        return "must not be empty"
    return str(error["msg"])


def _model_at(path: KeyPath) -> Any:
    """Return the model whose keys stand at a path."""
    models = {
        "flows": Flow,
        "runtime": Runtime,
        "runner": Runner,
        "endpoint": Endpoint,
        "files": Files,
    }
    return models[str(path[0])] if path else Manifest


def _meaning(path: KeyPath) -> str | None:
    field = _model_at(path[:-1]).model_fields.get(str(path[-1]))
    return field.description.rstrip(".") if field and field.description else None


def _nothing(data: dict[str, Any]) -> list[Problem]:
    """Return the problem of a service that has neither flows nor an endpoint of its own."""
    if data.get("app") or data.get("flows"):
        return []
    message = "key 'flows' is missing" if "flows" not in data else "must have at least one element"
    path: KeyPath = ("flows",) if "flows" in data else ()
    return [Problem(path, message, "what users can launch; or name an `app`")]


def _twice(data: dict[str, Any]) -> list[Problem]:
    """Return the problems of flows that have the same name."""
    first: dict[str, int] = {}
    problems = []
    for index, flow in _flows(data):
        name = flow.get("name")
        if not isinstance(name, str):
            continue
        if name in first:
            message = f"flow {name!r} exists already, as flows[{first[name]}]"
            problems.append(Problem(("flows", index, "name"), message, "each needs its own name"))
        first.setdefault(name, index)
    return problems


def _limits(data: dict[str, Any]) -> list[Problem]:
    """Return the problem of a `max` below `min`."""

    runner = data.get("runner")
    if not isinstance(runner, dict):
        return []
    defaults = {name: field.default for name, field in Runner.model_fields.items()}
    low, high = ({**defaults, **runner}[key] for key in ("min", "max"))
    if type(low) is not int or type(high) is not int or high >= low or high < 1:
        return []
    key = "max" if "max" in runner else "min"
    return [Problem(("runner", key), f"max ({high}) must be at least min ({low})")]


def _forms(data: dict[str, Any]) -> list[Problem]:
    """Return the problems of the flows' forms, each at its element's property."""
    problems = []
    for index, flow in _flows(data):
        inputs = flow.get("inputs")
        if isinstance(inputs, list | tuple):
            problems += _form(list(inputs), ("flows", index, "inputs"))
    locks = data.get("locks")
    for name, inputs in locks.items() if isinstance(locks, dict) else ():
        if isinstance(inputs, list | tuple):
            problems += _form(list(inputs), ("locks", name))
    return problems


def _flows(data: dict[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    flows = data.get("flows")
    listed = flows if isinstance(flows, list | tuple) else []
    return [(index, flow) for index, flow in enumerate(listed) if isinstance(flow, dict)]


def _form(inputs: list[Any], path: KeyPath) -> list[Problem]:
    """Return a form's problems; what is no element at all has been found before."""
    from koco.forms import FormError, Model

    try:
        Model.from_list(inputs)
    except FormError as exc:
        return [
            _placed((*path, index), fault.property, fault.message, inputs[index])
            for fault in exc.problems
            if (index := fault.index or 0) < len(inputs) and isinstance(inputs[index], dict)
        ]
    return []


def _placed(path: KeyPath, key: str | None, message: str, element: dict[str, Any]) -> Problem:
    is_there = key is not None and key in element
    named = message if key is None or is_there else f"{key} {message}"
    is_unknown = is_there and message.startswith("is no property")
    return Problem((*path, key) if key and is_there else path, named, on_key=is_unknown)
