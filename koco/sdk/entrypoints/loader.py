"""Find an entrypoint, read which inputs it takes, and bind inputs to its parameters.

The deployer makes a form of its signature, and the runner passes inputs to it. Both use this
module, so that the form and the call agree. It does not need Ray.
"""

import importlib
import inspect
import pathlib
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from koco.errors import GLOBAL_FIELD, DeployError, InputsError
from koco.forms import Model, match_names
from koco.sdk.entrypoints.crew import adapt
from koco.sdk.entrypoints.hints import layers
from koco.sdk.entrypoints.import_guard import importing
from koco.sdk.entrypoints.signature import NOTHING, Gathered, Input, is_pydantic, signature_of
from koco.spelling import nearest

_DOTTED = r"[^\W\d]\w*(\.[^\W\d]\w*)*"
_PATH = re.compile(rf"{_DOTTED}:{_DOTTED}|[^\W\d]\w*(\.[^\W\d]\w*)+")


def load(path: str) -> Callable[..., Any]:
    """Return the callable that `module:object` or `module.object` names, or one that runs its crew.

    Imports the module, and lets the module's own exceptions through. Raises `DeployError` if
    the module or object does not exist, or cannot be called.
    """
    return require_callable(adapt(find(path)), path)


def require_callable(found: Any, path: str) -> Callable[..., Any]:
    """Return an object if it can be an entrypoint. Raises `DeployError` if not."""
    refuse_endpoint(found, path)
    if not callable(found):
        kind = type(found).__name__
        article = "an" if kind[:1].lower() in "aeiou" else "a"
        message = f"the entrypoint {path!r} is not callable, but {article} {kind}"
        raise DeployError(message, hint="name a function, an object with `__call__`, or a crew")
    entrypoint: Callable[..., Any] = found
    return entrypoint


def refuse_endpoint(found: Any, name: str) -> None:
    """Raise `DeployError` if the object is an endpoint, which servers call and koco does not."""
    if callable(getattr(found, "enter", None)) and hasattr(found, "enters"):
        raise DeployError(
            f"the entrypoint {name!r} is an endpoint (a ServeAPI), not a flow",
            hint="the manifest names it as `app`; in a test, `testing.submit` asks it",
        )


def find(path: str) -> Any:
    """Return the object that `module:object` or `module.object` names, of any type.

    Imports the module, and raises the same errors as `load`.
    """
    if not _PATH.fullmatch(path):
        hint = "write it as module:object, for example hello.app:greet"
        raise DeployError(f"the entrypoint {path!r} is not in the form module:object", hint=hint)
    module, attributes = _module_of(path)
    found: Any = module
    for position, name in enumerate(attributes):
        if not hasattr(found, name):
            owner = ".".join([module.__name__, *attributes[:position]])
            near = nearest(name, [each for each in dir(found) if not each.startswith("__")])
            hint = f"did you mean {near!r}?" if near else f"define {name!r} in {owner!r}"
            kind = "module" if inspect.ismodule(found) else "object"
            message = f"the entrypoint {path!r}: {kind} {owner!r} has no {name!r}"
            raise DeployError(message, hint=hint)
        found = getattr(found, name)
    return found


def _module_of(path: str) -> tuple[Any, list[str]]:
    """Import the module in a path; return it and the remaining attributes."""
    if ":" in path:
        module, _, attributes = path.partition(":")
        return _import(module, path), attributes.split(".")
    parts = path.split(".")
    # Try the longest module first: `a.b.C.run` may be an attribute of `a.b`, or of `a`.
    for end in range(len(parts) - 1, 1, -1):
        try:
            return _import_module(".".join(parts[:end])), parts[end:]
        except ModuleNotFoundError as exc:
            if not _is_about(exc, ".".join(parts[:end])):
                raise
    return _import(parts[0], path), parts[1:]


def _import_module(name: str) -> Any:
    if name in sys.modules:
        return importlib.import_module(name)
    with importing(name):
        return importlib.import_module(name)


def _import(module: str, path: str) -> Any:
    try:
        return _import_module(module)
    except ModuleNotFoundError as exc:
        if not _is_about(exc, module):
            raise
        near = nearest(exc.name or module, _siblings(exc.name or module))
        hint = f"did you mean {near!r}?" if near else "is it among the files that are shipped?"
        if module.endswith(".py"):
            hint = f"name the module, not its file: {path.replace('.py', '', 1)}"
        message = f"the entrypoint {path!r} names the module {exc.name!r}, which does not exist"
        raise DeployError(message, hint=hint) from exc


def _is_about(exc: ModuleNotFoundError, module: str) -> bool:
    """Return whether the named module itself is missing, and not one that it imports."""
    return exc.name is not None and f"{module}.".startswith(f"{exc.name}.")


def _siblings(module: str) -> list[str]:
    """Return the modules in the places where this one was looked for."""
    parent, dot, _ = module.rpartition(".")
    if parent:
        where = getattr(sys.modules.get(parent), "__path__", [])
    else:
        where = [each for each in sys.path if "site-packages" not in each]
    folders = [folder for folder in map(pathlib.Path, where) if folder.is_dir()]
    # Not with pkgutil, which overlooks packages without an `__init__.py`.
    names = {
        each.stem
        for folder in folders
        for each in folder.iterdir()
        if each.stem.isidentifier() and (each.suffix == ".py" or each.is_dir())
    }
    # Without the standard library's: a typo is most likely in one of the project's own names.
    return [f"{parent}{dot}{name}" for name in sorted(names - sys.stdlib_module_names)]


def is_async(entrypoint: Callable[..., Any]) -> bool:
    """Return whether a callable must be called on an event loop, to await or iterate its result.

    Looks through partials, decorators (`functools.wraps`), methods and objects with
    `async def __call__`. True for async generators as well. A decorator may still run the
    coroutine itself, so await a result only if it is awaitable.
    """
    return any(
        inspect.iscoroutinefunction(layer) or inspect.isasyncgenfunction(layer)
        for layer in layers(entrypoint)
    )


def form_of(entrypoint: Callable[..., Any]) -> Model | None:
    """Return the form made from a signature; None if the callable takes any JSON object.

    Raises `DeployError` if the callable cannot be called with inputs by name.
    """
    signature = signature_of(entrypoint)
    gathered = signature.gathered
    takes_any = signature.is_open or (gathered is not None and gathered.style in ("dict", "other"))
    if not signature.inputs and takes_any:
        return None
    # If the model of `inputs` and another parameter have the same name, they share one field.
    return Model(*{each.field.name: each.field for each in signature.inputs}.values())


def bind(entrypoint: Callable[..., Any], inputs: Mapping[str, Any], tracer: Any) -> dict[str, Any]:
    """Return the keyword arguments of a call: inputs (checked by the form) and the tracer.

    Values are converted to what the type hints ask for. Raises `InputsError` with messages by
    field if that fails, and for inputs that the callable does not take.
    """
    signature = signature_of(entrypoint)
    inputs = match_names(inputs, [each.field.name for each in signature.inputs])
    errors: dict[str, list[str]] = {}
    found = _collect_values(signature.direct, inputs, errors, convert=_convert)
    gathered = signature.gathered
    takes_all = gathered is not None and gathered.style in ("dict", "other")
    known = {each.field.name for each in signature.inputs}
    rest = {} if takes_all else {name: inputs[name] for name in inputs if name not in known}
    for name in rest:
        if not signature.is_open or name in ("inputs", "tracer"):
            errors[name] = ["is not an input of the entrypoint"]
    if gathered is not None:
        found["inputs"] = _gather(gathered, inputs, errors)
    if errors:
        raise InputsError(**errors)
    return rest | found | ({"tracer": tracer} if signature.wants_tracer else {})


def _collect_values(
    fields: tuple[Input, ...],
    inputs: Mapping[str, Any],
    errors: dict[str, list[str]],
    *,
    convert: Callable[[Input, Any], Any],
) -> dict[str, Any]:
    """Return values by target. Missing ones are left out if the callable has a default."""
    found: dict[str, Any] = {}
    for each in fields:
        value = inputs.get(each.field.name)
        if value is None:
            # An explicit null is a value only if the hint allows None and the default is not None.
            is_given = each.field.name in inputs and each.is_optional
            if each.has_default and not (is_given and each.field.default is not None):
                continue
            if not each.is_optional and each.hint not in (NOTHING, Any, object):
                errors[each.field.name] = ["is required"]
                continue
        try:
            found[each.target] = None if value is None else convert(each, value)
        except ValueError as exc:
            errors[each.field.name] = [str(exc)]
    return found


def _choose(parameter: Input, value: Any) -> Any:
    """Return the value that a `Select`'s name stands for, and other values unchanged."""
    return parameter.choices.get(value, value) if isinstance(value, str) else value


def _convert(parameter: Input, value: Any) -> Any:
    return _convert_to(parameter.hint, _choose(parameter, value))


def _convert_to(hint: Any, value: Any) -> Any:
    """Convert a value to a type hint; return it unchanged if no conversion is known."""
    if hint is NOTHING:
        return value
    try:
        return msgspec.convert(value, hint, strict=False, dec_hook=_convert_foreign)
    except msgspec.ValidationError as exc:
        raise ValueError(str(exc)) from exc
    except (TypeError, NotImplementedError):
        return value


def _convert_foreign(kind: Any, value: Any) -> Any:
    """Convert to a type that msgspec does not know."""
    if is_pydantic(kind):
        try:
            return kind.model_validate(value)
        except ValueError as exc:
            messages = [": ".join(each) for each in _messages(exc, within=True)]
            raise ValueError("; ".join(messages)) from exc
    if issubclass(kind, pathlib.PurePath):
        return kind(value)
    raise NotImplementedError


def _gather(gathered: Gathered, inputs: Mapping[str, Any], errors: dict[str, list[str]]) -> Any:
    """Return the value of the parameter `inputs`; if that fails, add messages to `errors`."""
    if gathered.style == "dict":
        return dict(inputs)
    # A pydantic model converts by its own rules.
    convert = _choose if gathered.style == "pydantic" else _convert
    before = len(errors)
    values = _collect_values(gathered.inputs, inputs, errors, convert=convert)
    if len(errors) > before:
        return None
    try:
        if gathered.style == "pydantic":
            return gathered.cls.model_validate(values)
        if gathered.style == "other":
            return _convert_to(gathered.cls, dict(inputs))
        return gathered.cls(**values)
    except ValueError as exc:
        for name, message in _messages(exc):
            errors.setdefault(name, []).append(message)
        return None


def _messages(exc: ValueError, *, within: bool = False) -> list[tuple[str, ...]]:
    """Return messages by field: pydantic's errors have fields, others are about the whole object.

    `within` is for errors in a single value: then each message comes with its path, if it has one.
    """
    details = getattr(exc, "errors", None)
    if not callable(details):
        return [(str(exc),)] if within else [(GLOBAL_FIELD, str(exc))]
    found: list[tuple[str, ...]] = []
    for each in details():
        text, loc = str(each["msg"]).removeprefix("Value error, "), each["loc"]
        path = _format_path(loc if within else loc[1:])
        if within:
            found.append((path, text) if path else (text,))
        else:
            field = str(loc[0]) if loc else GLOBAL_FIELD
            found.append((field, f"{path}: {text}" if path else text))
    return found


def _format_path(parts: Iterable[Any]) -> str:
    """Return a path in the notation of the form's own messages: `items[0].n`."""
    shown = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    return "".join(shown).removeprefix(".")
