"""Find an entrypoint, tell what it asks for, and call it with what it takes.

The deployer makes a form of its signature, the runner hands inputs over: both
through here, so that what the one promises the other keeps. Needs no Ray.
"""

import importlib
import inspect
import pathlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from koco.errors import GLOBAL_FIELD, DeployError, InputsError
from koco.forms import Model, named, nearest
from koco.sdk.crew import adapted
from koco.sdk.hints import layers
from koco.sdk.signature import NOTHING, Gathered, Taken, is_pydantic, signature_of

_DOTTED = r"[^\W\d]\w*(\.[^\W\d]\w*)*"
_PATH = re.compile(rf"{_DOTTED}:{_DOTTED}|[^\W\d]\w*(\.[^\W\d]\w*)+")


def load(path: str) -> Callable[..., Any]:
    """Return the callable that `module:object` or `module.object` names, or that runs its crew.

    Imports the module; what that raises is the user's and goes on untouched.
    Raises `DeployError` where module or object do not exist, or cannot be called.
    """
    found = adapted(find(path))
    refuse_endpoint(found, path)
    if not callable(found):
        message = f"the entrypoint {path!r} is no callable but {_a(type(found).__name__)}"
        raise DeployError(message, hint="name a function, an object with `__call__`, or a crew")
    entrypoint: Callable[..., Any] = found
    return entrypoint


def refuse_endpoint(found: Any, name: str) -> None:
    """Raise `DeployError` for an endpoint of the service's own, which is called by servers."""
    if callable(getattr(found, "enter", None)) and hasattr(found, "enters"):
        raise DeployError(
            f"the entrypoint {name!r} is an endpoint, a ServeAPI, and no flow",
            hint="the manifest names it as `app`; in a test, `testing.submit` asks it",
        )


def find(path: str) -> Any:
    """Return the object that `module:object` or `module.object` names, whatever it is.

    Imports the module, and raises, as `load` does.
    """
    if not _PATH.fullmatch(path):
        hint = "write it as module:object, for example hello.app:greet"
        raise DeployError(f"the entrypoint {path!r} is no module:object", hint=hint)
    module, attributes = _module_of(path)
    found: Any = module
    for position, name in enumerate(attributes):
        if not hasattr(found, name):
            raise _no_attribute(
                path, ".".join([module.__name__, *attributes[:position]]), found, name
            )
        found = getattr(found, name)
    return found


def _module_of(path: str) -> tuple[Any, list[str]]:
    """Import the module in a path; return it and the attributes that are left."""
    if ":" in path:
        module, _, attributes = path.partition(":")
        return _import(module, path), attributes.split(".")
    parts = path.split(".")
    # The longest module first: `a.b.C.run` may be an attribute of `a.b`, or of `a`.
    for end in range(len(parts) - 1, 1, -1):
        try:
            return importlib.import_module(".".join(parts[:end])), parts[end:]
        except ModuleNotFoundError as exc:
            if not _is_about(exc, ".".join(parts[:end])):
                raise
    return _import(parts[0], path), parts[1:]


def _import(module: str, path: str) -> Any:
    try:
        return importlib.import_module(module)
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
    """Tell whether it is the named module that is missing, and not one that it imports."""
    return exc.name is not None and f"{module}.".startswith(f"{exc.name}.")


def _siblings(module: str) -> list[str]:
    """Return the modules that stand where this one was looked for."""
    parent, dot, _ = module.rpartition(".")
    if parent:
        where = getattr(sys.modules.get(parent), "__path__", [])
    else:
        where = [each for each in sys.path if "site-packages" not in each]
    names = {name for each in where for name in _modules_in(pathlib.Path(each))}
    # Nobody means the standard library's: the project's own are what is looked for.
    return [f"{parent}{dot}{name}" for name in sorted(names - sys.stdlib_module_names)]


def _modules_in(folder: pathlib.Path) -> Iterator[str]:
    # Not by pkgutil, which overlooks packages without an `__init__.py`.
    for each in folder.iterdir() if folder.is_dir() else ():
        if each.stem.isidentifier() and (each.suffix == ".py" or each.is_dir()):
            yield each.stem


def _no_attribute(path: str, owner: str, found: Any, name: str) -> DeployError:
    near = nearest(name, [each for each in dir(found) if not each.startswith("__")])
    hint = f"did you mean {near!r}?" if near else f"define {name!r} in {owner!r}"
    kind = "module" if inspect.ismodule(found) else "object"
    return DeployError(f"the entrypoint {path!r}: {kind} {owner!r} has no {name!r}", hint=hint)


def _a(word: str) -> str:
    return f"an {word}" if word[:1].lower() in "aeiou" else f"a {word}"


def is_async(entrypoint: Callable[..., Any]) -> bool:
    """Tell whether a callable is to be called on an event loop: its result is awaited, or iterated.

    Looks through partials, decorators (`functools.wraps`), methods and objects
    with `async def __call__`. A decorator may still run the coroutine itself:
    await a result only if it is awaitable. It is true for async generators as well.
    """
    return any(
        inspect.iscoroutinefunction(layer) or inspect.isasyncgenfunction(layer)
        for layer in layers(entrypoint)
    )


def form_of(entrypoint: Callable[..., Any]) -> Model | None:
    """Return the form made from a signature, or None where any JSON object is taken.

    Raises `DeployError` where the callable cannot be called with inputs by name.
    """
    signature = signature_of(entrypoint)
    gathered = signature.gathered
    takes_any = signature.is_open or (gathered is not None and gathered.style in ("dict", "other"))
    if not signature.taken and takes_any:
        return None
    # One name twice, in the model of `inputs` and beside it, is one field.
    return Model(*{each.field.name: each.field for each in signature.taken}.values())


def bind(entrypoint: Callable[..., Any], inputs: Mapping[str, Any], tracer: Any) -> dict[str, Any]:
    """Return the keyword arguments to call with: inputs (checked by the form) and tracer.

    Values become what the hints ask for. Raises `InputsError` with messages by
    field where they cannot, and for inputs that the callable does not take.
    """
    signature = signature_of(entrypoint)
    inputs = named(inputs, [each.field.name for each in signature.taken])
    errors: dict[str, list[str]] = {}
    found = _values(signature.direct, inputs, errors, convert=_converted)
    gathered = signature.gathered
    takes_all = gathered is not None and gathered.style in ("dict", "other")
    known = {each.field.name for each in signature.taken}
    rest = {} if takes_all else {name: inputs[name] for name in inputs if name not in known}
    for name in rest:
        if not signature.is_open or name in ("inputs", "tracer"):
            errors[name] = ["is no input that the entrypoint takes"]
    if gathered is not None:
        found["inputs"] = _gather(gathered, inputs, errors)
    if errors:
        raise InputsError(**errors)
    return rest | found | ({"tracer": tracer} if signature.wants_tracer else {})


def _values(
    taken: tuple[Taken, ...],
    inputs: Mapping[str, Any],
    errors: dict[str, list[str]],
    *,
    convert: Callable[[Taken, Any], Any],
) -> dict[str, Any]:
    """Return values by target; those left out have a default that the callable knows best."""
    found: dict[str, Any] = {}
    for each in taken:
        value = inputs.get(each.field.name)
        if value is None:
            if _is_left_out(each, inputs):
                continue
            if not each.is_optional and each.hint not in (NOTHING, Any, object):
                errors[each.field.name] = ["is required"]
                continue
        try:
            found[each.target] = None if value is None else convert(each, value)
        except ValueError as exc:
            errors[each.field.name] = [str(exc)]
    return found


def _is_left_out(taken: Taken, inputs: Mapping[str, Any]) -> bool:
    # An explicit null is a value only where the hint admits it and the default is another.
    says_null = taken.field.name in inputs and taken.is_optional and taken.field.default is not None
    return taken.has_default and not says_null


def _chosen(taken: Taken, value: Any) -> Any:
    """Return what a `Select`'s name stands for; any other value as it is."""
    return taken.choices.get(value, value) if isinstance(value, str) else value


def _converted(taken: Taken, value: Any) -> Any:
    return _to(taken.hint, _chosen(taken, value))


def _to(hint: Any, value: Any) -> Any:
    """Convert a value to what a hint asks for; as it is where nobody knows how."""
    if hint is NOTHING:
        return value
    import msgspec

    try:
        return msgspec.convert(value, hint, strict=False, dec_hook=_foreign)
    except msgspec.ValidationError as exc:
        raise ValueError(str(exc)) from exc
    except (TypeError, NotImplementedError):
        return value


def _foreign(kind: Any, value: Any) -> Any:
    """Convert to a type that msgspec does not know."""
    if is_pydantic(kind):
        try:
            return kind.model_validate(value)
        except ValueError as exc:
            told = [": ".join(each) for each in _messages(exc, within=True)]
            raise ValueError("; ".join(told)) from exc
    if issubclass(kind, pathlib.PurePath):
        return kind(value)
    raise NotImplementedError


def _gather(gathered: Gathered, inputs: Mapping[str, Any], errors: dict[str, list[str]]) -> Any:
    """Return what the parameter `inputs` is to be; add to `errors` what forbids it."""
    if gathered.style == "dict":
        return dict(inputs)
    # A model of pydantic converts by its own rules.
    convert = _chosen if gathered.style == "pydantic" else _converted
    before = len(errors)
    values = _values(gathered.taken, inputs, errors, convert=convert)
    if len(errors) > before:
        return None
    try:
        if gathered.style == "pydantic":
            return gathered.cls.model_validate(values)
        if gathered.style == "other":
            return _to(gathered.cls, dict(inputs))
        return gathered.cls(**values)
    except ValueError as exc:
        for name, message in _messages(exc):
            errors.setdefault(name, []).append(message)
        return None


def _messages(exc: ValueError, *, within: bool = False) -> list[tuple[str, ...]]:
    """Return messages by field: pydantic's errors have them, others are about the whole.

    `within` is for those of a value: each with its path, or none where it is about the whole.
    """
    details = getattr(exc, "errors", None)
    if not callable(details):
        return [(str(exc),)] if within else [(GLOBAL_FIELD, str(exc))]
    if within:
        return [(*filter(None, [_path(each["loc"])]), _said(each)) for each in details()]
    return [
        (str(each["loc"][0]) if each["loc"] else GLOBAL_FIELD, _placed(each)) for each in details()
    ]


def _path(parts: Iterable[Any]) -> str:
    """Return a path as the form's own messages have it: `items[0].n`."""
    shown = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    return "".join(shown).removeprefix(".")


def _said(error: Mapping[str, Any]) -> str:
    return str(error["msg"]).removeprefix("Value error, ")


def _placed(error: Mapping[str, Any]) -> str:
    inner = _path(error["loc"][1:])
    return f"{inner}: {_said(error)}" if inner else _said(error)
