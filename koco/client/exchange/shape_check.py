"""Check whether a value has the shape of a type: a typed dictionary, a list, `str | None`.

msgspec or pydantic could do this too, but they add 10 and 120 ms to every command that calls a
control plane. Keys that a type does not name are ignored, because newer control planes send more.
"""

import functools
import math
from collections.abc import Callable
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
    is_typeddict,
)

#: Returns the path of the first part that does not fit, as in `.items[3].fid`, or None.
_Check = Callable[[Any], str | None]

#: The bound of JSON integers that other languages can hold too.
_LARGEST = 2**63


def misfit(value: Any, kind: Any) -> str | None:
    """Return the part of a value that does not fit its type (`items[3].fid`); None if all fits.

    It is `""` if the whole value is of another type.
    """
    found = _check(kind)(value)
    return None if found is None else found.removeprefix(".")


@functools.cache
def _check(kind: Any) -> _Check:
    origin, args = get_origin(kind), get_args(kind)
    if kind is Any:
        return lambda _: None
    if is_typeddict(kind):
        # `class Plan(Page[Step])` has `Page`'s members, in which `Step` stands for the variable.
        bases = getattr(kind, "__orig_bases__", ())
        return _members(kind, next(filter(None, map(get_args, bases)), ()))
    if is_typeddict(origin):
        return _members(origin, args)
    if origin in (Required, NotRequired):
        return _check(args[0])
    if origin is Annotated:
        return _annotated(_check(args[0]), args[1:])
    if origin in (Union, UnionType):
        return _any_of([_check(each) for each in args])
    if origin is list:
        return _elements(_check(args[0]))
    if origin is dict:
        return _values(_check(args[1]))
    if origin is Literal:
        return lambda value: None if isinstance(value, str) and value in args else ""
    return _SCALARS[kind]


def _members(kind: Any, args: tuple[Any, ...]) -> _Check:
    """Return the check of a typed dictionary; `args` are the types for its type variables."""
    checks = [
        (
            name,
            _check(each[args] if getattr(each, "__parameters__", ()) else each),
            name in kind.__required_keys__,
        )
        for name, each in kind.__annotations__.items()
    ]

    def check(value: Any) -> str | None:
        if not isinstance(value, dict):
            return ""
        for name, fits, is_required in checks:
            if name not in value:
                if is_required:
                    return f".{name}"
            elif (found := fits(value[name])) is not None:
                return f".{name}{found}"
        return None

    return check


def _annotated(fits: _Check, rules: tuple[Callable[[Any], bool], ...]) -> _Check:
    def check(value: Any) -> str | None:
        found = fits(value)
        return found if found is not None or all(rule(value) for rule in rules) else ""

    return check


def _any_of(checks: list[_Check]) -> _Check:
    def check(value: Any) -> str | None:
        found = None
        for fits in checks:
            if (found := fits(value)) is None:
                return None
        return found

    return check


def _elements(fits: _Check) -> _Check:
    def check(value: Any) -> str | None:
        if not isinstance(value, list):
            return ""
        for at, each in enumerate(value):
            if (found := fits(each)) is not None:
                return f"[{at}]{found}"
        return None

    return check


def _values(fits: _Check) -> _Check:
    def check(value: Any) -> str | None:
        if not isinstance(value, dict):
            return ""
        for name, each in value.items():
            if (found := fits(each)) is not None:
                return f".{name[:40]}{found}"
        return None

    return check


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < _LARGEST


def _is_number(value: Any) -> bool:
    return _is_whole(value) or (isinstance(value, float) and math.isfinite(value))


_SCALARS: dict[Any, _Check] = {
    str: lambda value: None if isinstance(value, str) else "",
    bool: lambda value: None if isinstance(value, bool) else "",
    int: lambda value: None if _is_whole(value) else "",
    float: lambda value: None if _is_number(value) else "",
    NoneType: lambda value: None if value is None else "",
}
