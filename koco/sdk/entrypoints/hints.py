"""Read type hints as far as forms need them: resolved and unwrapped, with their constraints.

Hints are the user's code. If one cannot be resolved (for example because it is imported for type
checkers only), it is left out, and the others still count.
"""

import functools
import inspect
import sys
import types
import typing
from collections.abc import Iterable, Iterator
from typing import Any

_FACETS = ("ge", "gt", "le", "lt", "min_length", "max_length", "pattern", "multiple_of")
_SAYINGS = ("title", "description")
#: By name, because on older Pythons the newer ones come from `typing_extensions`.
_WRAPPERS = ("Required", "NotRequired", "ReadOnly", "Final")


def underlying(entrypoint: Any) -> Any:
    """Return the function (or class) behind partials, decorators, methods and instances."""
    *_, last = layers(entrypoint)
    return last.__init__ if inspect.isclass(last) else last


def layers(entrypoint: Any) -> Iterator[Any]:
    """Yield a callable and the callables that it wraps, from the outside in."""
    seen: set[int] = set()
    while entrypoint is not None and id(entrypoint) not in seen:
        seen.add(id(entrypoint))
        yield entrypoint
        entrypoint = _inner(entrypoint)


def _inner(entrypoint: Any) -> Any:
    if isinstance(entrypoint, functools.partial | functools.partialmethod):
        return entrypoint.func
    if inspect.ismethod(entrypoint):
        return entrypoint.__func__
    if hasattr(entrypoint, "__wrapped__"):
        return entrypoint.__wrapped__
    if inspect.isroutine(entrypoint) or inspect.isclass(entrypoint):
        return None
    return getattr(type(entrypoint), "__call__", None)  # noqa: B004 - needs the method itself


def hints_of(obj: Any) -> dict[str, Any]:
    """Return the type hints of a function or class, except those that cannot be resolved."""
    try:
        return typing.get_type_hints(obj, include_extras=True)
    except Exception:  # noqa: BLE001 - hints are the user's code: evaluating them may raise anything
        return dict(_hints_one_by_one(obj))


def _hints_one_by_one(obj: Any) -> Iterator[tuple[str, Any]]:
    owners = reversed(obj.__mro__) if inspect.isclass(obj) else [obj]
    for owner in owners:
        module = sys.modules.get(getattr(owner, "__module__", ""))
        names = getattr(owner, "__globals__", None) or (vars(module) if module else {})
        for name, annotation in getattr(owner, "__annotations__", {}).items():
            alone = types.SimpleNamespace(__annotations__={name: annotation})
            try:
                yield from typing.get_type_hints(alone, names, include_extras=True).items()
            except Exception:  # noqa: BLE001 - as above; the other hints still count
                continue


def core_of(hint: Any) -> tuple[Any, bool, dict[str, Any]]:
    """Return a hint without its wrappers, whether it allows None, and its facts.

    Facts are `title`, `description`, and the constraints in `Annotated`.
    """
    is_optional = hint is type(None)
    facts: dict[str, Any] = {}
    while True:
        origin = typing.get_origin(hint)
        if origin is typing.Annotated:
            hint, *notes = typing.get_args(hint)
            # The outer annotation takes precedence.
            facts = {**dict(facts_of(notes)), **facts}
        elif getattr(origin, "_name", None) in _WRAPPERS:
            (hint,) = typing.get_args(hint)
        elif hasattr(hint, "__supertype__"):
            hint = hint.__supertype__
        elif type(hint).__name__ == "TypeAliasType":
            hint = hint.__value__
        elif origin in (typing.Union, types.UnionType) and type(None) in typing.get_args(hint):
            is_optional = True
            hint = typing.Union[  # noqa: UP007 - made at run time
                tuple(each for each in typing.get_args(hint) if each is not type(None))
            ]
        else:
            allows_none = origin is typing.Literal and None in typing.get_args(hint)
            return hint, is_optional or allows_none, facts


def facts_of(notes: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    """Yield the facts in notes: constraints, a title, a description."""
    for note in notes:
        yield from facts_of(getattr(note, "metadata", None) or ())
        for key in (*_FACETS, *_SAYINGS):
            fact = getattr(note, key, None)
            # A plain string, for example, is a note with a method `title`.
            if fact is not None and not callable(fact):
                yield key, fact
