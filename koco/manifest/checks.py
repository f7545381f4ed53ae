"""All problems of a manifest's data, in terms of the manifest."""

import json
import re
from typing import Any

from koco.manifest.for_agents import Example, Hints, Mip003, Price
from koco.manifest.model import Flow, Limits, Manifest, Runner, Schedule
from koco.manifest.problems import InvalidValueError, KeyPath, Problem, unknown_key, wrong_type
from koco.spelling import nearest
from koco.versions import DISTRIBUTION


def find_problems(data: Any) -> list[Problem]:
    """Return all problems of a manifest's data."""
    from pydantic import ValidationError

    if not isinstance(data, dict):
        return [wrong_type("a mapping of keys such as `service`", data).at(())]
    problems = []
    try:
        Manifest.model_validate(data)
    except ValidationError as exc:
        # If all elements of a list are wrong, pydantic also reports that it is too short.
        problems = [
            _translate(dict(error))
            for error in exc.errors(include_url=False)
            if not (error["type"] == "too_short" and error["input"])
        ]
    # These check the data, because there is no model while a single value is wrong.
    checks = [
        _check_flows_or_app,
        _check_flow_names,
        _check_pool_size,
        _check_gpus,
        _check_serve,
        _check_public_paths,
        _check_forms,
        _check_dependencies,
        _check_kodosumi,
        _check_koco,
        _check_secrets,
        _check_schedules,
        _check_mip003,
    ]
    return [*problems, *(problem for check in checks for problem in check(data))]


#: The names of pydantic's types in messages about a manifest.
_TYPES = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
}


def _translate(error: dict[str, Any]) -> Problem:
    """Return one of pydantic's errors as a problem of the manifest."""
    kind, path, context = error["type"], tuple(error["loc"]), error.get("ctx", {})
    given = error["input"]
    on_key = path[-1:] == ("[key]",)
    path = path[:-1] if on_key else path
    if kind == "extra_forbidden":
        return unknown_key(path, _model_at(path[:-1]).model_fields)
    if kind == "missing":
        return Problem(path[:-1], f"key {path[-1]!r} is missing", _describe_key(path))
    if kind == "value_error" and isinstance(wrong := context.get("error"), InvalidValueError):
        return wrong.at(path, on_key=on_key)
    if kind in _TYPES:
        return wrong_type(_TYPES[kind], given).at(path)
    template = _CONSTRAINTS.get(kind)
    return Problem(path, template.format(given=given, **context) if template else error["msg"])


#: Messages for pydantic's types of other errors, with the fields of their contexts.
_CONSTRAINTS = {
    "greater_than_equal": "must be at least {ge}, got {given}",
    "greater_than": "must be above {gt:g}, got {given}",
    "finite_number": "must be a finite number, got {given}",
    "too_short": "must have at least one element",
    "string_too_short": "must not be empty",
}


#: The models of the keys of lists' elements that are mappings, or lists of them.
_INNER = {"limits": Limits, "hints": Hints, "examples": Example, "price": Price}


def _model_at(path: KeyPath) -> Any:
    if not path:
        return Manifest
    if len(path) > 2 and path[2] in _INNER:
        return _INNER[str(path[2])]
    of_elements = {"flows": Flow, "schedule": Schedule, "mip003": Mip003}
    return of_elements.get(str(path[0])) or Manifest.model_fields[str(path[0])].annotation


def _describe_key(path: KeyPath) -> str | None:
    field = _model_at(path[:-1]).model_fields.get(str(path[-1]))
    return field.description.rstrip(".") if field and field.description else None


def _check_flows_or_app(data: dict[str, Any]) -> list[Problem]:
    """Return a problem if the service has neither flows nor an endpoint of its own."""
    if data.get("app") or data.get("flows"):
        return []
    message = "key 'flows' is missing" if "flows" not in data else "must have at least one element"
    path: KeyPath = ("flows",) if "flows" in data else ()
    return [Problem(path, message, "add a flow that users can launch, or set `app`")]


def _check_flow_names(data: dict[str, Any]) -> list[Problem]:
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


def _check_pool_size(data: dict[str, Any]) -> list[Problem]:
    """Return a problem if `max` is below `min`."""
    runner = _mapping(data, "runner")
    defaults = {name: field.default for name, field in Runner.model_fields.items()}
    low, high = ({**defaults, **runner}[key] for key in ("min", "max"))
    if type(low) is not int or type(high) is not int or high >= low or high < 1:
        return []
    key = "max" if "max" in runner else "min"
    return [Problem(("runner", key), f"max ({high}) must be at least min ({low})")]


def _check_gpus(data: dict[str, Any]) -> list[Problem]:
    """Return a problem if `GPU` is neither a whole number nor a fraction below 1."""
    gpus = _mapping(_mapping(data, "runner"), "resources").get("GPU")
    if not isinstance(gpus, float) or gpus <= 1 or gpus.is_integer():
        return []
    message = f"must be a whole number above 1, got {gpus:g}"
    return [Problem(("runner", "resources", "GPU"), message, "a part of one GPU, or whole ones")]


def _check_dependencies(data: dict[str, Any]) -> list[Problem]:
    """Return a problem for each key that excludes `pyproject`."""
    runtime = _mapping(data, "runtime")
    if not runtime.get("pyproject"):
        return []
    hint = "uv.lock lists all packages: add one with `uv add`"
    return [
        Problem(("runtime", key), "cannot be combined with `pyproject`", hint, on_key=True)
        for key in ("dependencies", "requirements")
        if runtime.get(key)
    ]


def _check_kodosumi(data: dict[str, Any]) -> list[Problem]:
    """Return a problem if Kodosumi's own package would hide koco's from `import kodosumi`."""
    runtime = _mapping(data, "runtime")
    hint = "remove it: koco brings what services import from it"
    return [
        Problem(("runtime", "dependencies", index), "hides koco's own `kodosumi`", hint)
        for index, each in enumerate(_list(runtime, "dependencies"))
        if runtime.get("kodosumi") is True and _name_of(each) == "kodosumi"
    ]


def _check_koco(data: dict[str, Any]) -> list[Problem]:
    """Return a problem for each dependency that is koco itself, or has its name."""
    messages = {
        "koco": "is somebody else's package on PyPI, and hides koco's own `koco`",
        DISTRIBUTION: "hides the cluster's own `koco`",
    }
    hint = "remove it: koco brings itself to every process of a service"
    dependencies = enumerate(_list(_mapping(data, "runtime"), "dependencies"))
    return [
        Problem(("runtime", "dependencies", index), messages[name], hint)
        for index, each in dependencies
        if (name := _name_of(each)) in messages
    ]


def _name_of(requirement: Any) -> str:
    """Return the normalized name of a requirement, as PyPI compares names."""
    found = re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)", str(requirement))
    return re.sub(r"[-_.]+", "-", found[1]).lower() if found else ""


def _check_secrets(data: dict[str, Any]) -> list[Problem]:
    """Return a problem for each secret that is listed twice, or that `runtime.env` also sets."""
    env, names = _mapping(_mapping(data, "runtime"), "env"), _list(data, "secrets")
    problems = []
    for index, name in enumerate(names):
        if not isinstance(name, str):
            continue
        if name in names[:index]:
            problems.append(Problem(("secrets", index), f"{name!r} is listed twice"))
        elif name in env:
            message = f"{name!r} is also in `runtime.env`"
            problems.append(Problem(("secrets", index), message, "remove one of the two"))
    return problems


def _check_serve(data: dict[str, Any]) -> list[Problem]:
    """Return a problem if there are options for Serve but no `app` that it serves."""
    if not _mapping(data, "serve") or data.get("app"):
        return []
    hint = "flows without an app run in runners: configure those with `runner`"
    return [Problem(("serve",), "is for a service's own endpoint: there is no `app`", hint, True)]


def _check_public_paths(data: dict[str, Any]) -> list[Problem]:
    """Return a problem if there are public paths but no `app`, and for each duplicate."""
    given = _list(_mapping(data, "endpoint"), "public")
    if not given:
        return []
    path: KeyPath = ("endpoint", "public")
    if not data.get("app"):
        hint = "flows without an app always need a key"
        return [Problem(path, "is for a service's own endpoint: there is no `app`", hint, True)]
    twice = [index for index, each in enumerate(given) if each in given[:index]]
    return [Problem((*path, index), f"{given[index]!r} is listed twice") for index in twice]


def _check_schedules(data: dict[str, Any]) -> list[Problem]:
    """Return a problem for each schedule of an unknown flow, and for each duplicate."""
    problems = _check_named_flows(data, "schedule")
    seen: dict[str, int] = {}
    for index, entry in enumerate(_list(data, "schedule")):
        if not isinstance(entry, dict):
            continue
        first = seen.setdefault(_canonical(entry), index)
        if first != index:
            problems.append(Problem(("schedule", index), f"is the same as schedule[{first}]"))
    return problems


def _check_mip003(data: dict[str, Any]) -> list[Problem]:
    """Return a problem for each element about an unknown flow, and for a flow's second one."""
    problems = _check_named_flows(data, "mip003")
    seen: dict[str, int] = {}
    for index, entry in enumerate(_list(data, "mip003")):
        flow = entry.get("flow") if isinstance(entry, dict) else None
        if isinstance(flow, str) and (first := seen.setdefault(flow, index)) != index:
            message = f"flow {flow!r} has an element already: mip003[{first}]"
            problems.append(Problem(("mip003", index, "flow"), message))
    return problems


def _check_named_flows(data: dict[str, Any], key: str) -> list[Problem]:
    """Return a problem for each element of a list that names an unknown flow.

    The flows of an `app` are only known once it is imported.
    """
    names = [str(flow.get("name")) for _, flow in _flows(data)]
    problems = []
    for index, entry in enumerate(_list(data, key)):
        flow = entry.get("flow") if isinstance(entry, dict) else None
        if isinstance(flow, str) and flow not in names and not data.get("app"):
            near = nearest(flow, names)
            hint = f"did you mean {near!r}?" if near else f"flows: {', '.join(names)}"
            message = f"there is no flow {flow!r}"
            problems.append(Problem((key, index, "flow"), message, hint))
    return problems


def _canonical(entry: dict[str, Any]) -> str:
    """Return the same text for equal entries. Comparing each with each takes seconds for many."""
    try:
        return json.dumps(entry, sort_keys=True, default=repr)
    except (TypeError, ValueError, RecursionError):  # keys of several types, for example
        return repr(entry)


def _check_forms(data: dict[str, Any]) -> list[Problem]:
    """Return the problems of the forms of flows and locks, each at its element's property."""
    problems = []
    for index, flow in _flows(data):
        problems += _check_form(_list(flow, "inputs"), ("flows", index, "inputs"))
    for name in (locks := _mapping(data, "locks")):
        problems += _check_form(_list(locks, name), ("locks", name))
    return problems


def _flows(data: dict[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    return [(at, flow) for at, flow in enumerate(_list(data, "flows")) if isinstance(flow, dict)]


def _mapping(data: dict[str, Any], key: str) -> dict[str, Any]:
    """Return the mapping under a key; empty if there is none or if it has another type."""
    found = data.get(key)
    return found if isinstance(found, dict) else {}


def _list(data: dict[str, Any], key: str) -> list[Any]:
    """Return the list under a key; empty if there is none or if it has another type."""
    found = data.get(key)
    return list(found) if isinstance(found, list | tuple) else []


def _check_form(inputs: list[Any], path: KeyPath) -> list[Problem]:
    """Return a form's problems, except for elements that are not mappings: pydantic finds those."""
    from koco.forms import FormError, Model

    try:
        Model.from_list(inputs)
    except FormError as exc:
        return [
            _form_problem((*path, index), fault.property, fault.message, inputs[index])
            for fault in exc.problems
            if (index := fault.index or 0) < len(inputs) and isinstance(inputs[index], dict)
        ]
    return []


def _form_problem(path: KeyPath, key: str | None, message: str, element: dict[str, Any]) -> Problem:
    is_there = key is not None and key in element
    named = message if key is None or is_there else f"{key} {message}"
    is_unknown = is_there and message.startswith("is not a property")
    return Problem((*path, key) if key and is_there else path, named, on_key=is_unknown)
