"""Read a callable's signature: one form field for each input.

Type hints, defaults, constraints in `Annotated`, and the fields of a dataclass, a `TypedDict` or a
pydantic model count. Pydantic is never imported: its models and constraints are recognised by
their attributes, as are those of msgspec and others.
"""

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from koco import forms as F  # noqa: N812 - as flows import it
from koco.errors import DeployError
from koco.sdk.entrypoints.fields import Shape, choices_of
from koco.sdk.entrypoints.hints import core_of, facts_of, hints_of, underlying

#: Stands for "no default" and "no hint".
NOTHING = inspect.Parameter.empty


@dataclass(frozen=True)
class Input:
    """One input of a callable.

    `field` is its form field, under whose name its value comes. `target` is the keyword with
    which it is passed. `choices` maps a `Select`'s names to their values.
    """

    field: F.Field
    target: str
    hint: Any
    has_default: bool
    is_optional: bool
    choices: Mapping[str, Any]


@dataclass(frozen=True)
class Gathered:
    """How the parameter `inputs` takes all inputs at once: as `cls`, or unchanged as `dict`.

    `style` is `dict`, `dataclass`, `typeddict` or `pydantic`; `other` is any class that only a
    conversion can judge.
    """

    style: str
    cls: Any
    inputs: tuple[Input, ...] = ()


@dataclass(frozen=True)
class Signature:
    """A callable's inputs: single ones, gathered ones, the tracer, and whether it takes others."""

    direct: tuple[Input, ...]
    gathered: Gathered | None
    wants_tracer: bool
    is_open: bool

    @property
    def inputs(self) -> tuple[Input, ...]:
        """All named inputs, in the order of the form."""
        return (*(self.gathered.inputs if self.gathered else ()), *self.direct)


def signature_of(entrypoint: Callable[..., Any]) -> Signature:
    """Return a callable's signature; raise `DeployError` if it cannot be called by name."""
    return _read_cached(entrypoint) if isinstance(entrypoint, Hashable) else _read(entrypoint)


def _read(entrypoint: Callable[..., Any]) -> Signature:
    name = getattr(entrypoint, "__qualname__", repr(entrypoint))
    try:
        parameters = inspect.signature(entrypoint).parameters
    except (TypeError, ValueError) as exc:
        raise DeployError(f"{name} has no readable signature: {exc}") from exc
    hints = hints_of(underlying(entrypoint))
    direct: list[Input] = []
    for parameter in parameters.values():
        if parameter.kind is parameter.POSITIONAL_ONLY:
            message = f"{name} takes {parameter.name!r} by position only: inputs are passed by name"
            raise DeployError(message, hint="remove the `/` from its parameters")
        if parameter.name == "self":
            message = f"{name} is a method without its instance"
            raise DeployError(message, hint="name a function, or an object made from the class")
        if parameter.name not in ("inputs", "tracer") and parameter.kind not in _VARIADIC:
            hint = hints.get(parameter.name, NOTHING)
            direct.append(input_of(parameter.name, hint, default=parameter.default))
    return Signature(
        direct=tuple(direct),
        gathered=_gathered_by(hints.get("inputs", dict)) if "inputs" in parameters else None,
        wants_tracer="tracer" in parameters,
        is_open=any(each.kind is each.VAR_KEYWORD for each in parameters.values()),
    )


#: Caches signatures, so that an execution need not read its flow's again.
_read_cached = functools.lru_cache(maxsize=64)(_read)

_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _gathered_by(hint: Any) -> Gathered:
    cls, _, _ = core_of(hint)
    if dataclasses.is_dataclass(cls) and isinstance(cls, type):
        return Gathered("dataclass", cls, tuple(_of_dataclass(cls)))
    if typing.is_typeddict(cls):
        return Gathered("typeddict", cls, tuple(_of_typeddict(cls)))
    if is_pydantic(cls):
        return Gathered("pydantic", cls, tuple(_of_pydantic(cls)))
    origin = typing.get_origin(cls) or cls
    if not isinstance(origin, type) or issubclass(dict, origin):
        return Gathered("dict", dict)
    return Gathered("other", cls)


def is_pydantic(cls: Any) -> bool:
    """Return whether a class is a pydantic model, by its attributes."""
    fields = getattr(cls, "model_fields", None)
    return isinstance(cls, type) and isinstance(fields, Mapping) and hasattr(cls, "model_validate")


def _of_dataclass(cls: Any) -> Iterator[Input]:
    hints = hints_of(cls)
    for each in dataclasses.fields(cls):
        if each.init:
            default = NOTHING if each.default is dataclasses.MISSING else each.default
            made = each.default_factory is not dataclasses.MISSING
            hint = hints.get(each.name, NOTHING)
            yield input_of(each.name, hint, default=default, is_made=made)


def _of_typeddict(cls: Any) -> Iterator[Input]:
    for name, hint in hints_of(cls).items():
        # Python 3.11 counts a `NotRequired` in a string as required.
        needed = name in cls.__required_keys__ and typing.get_origin(hint) is not typing.NotRequired
        yield input_of(name, hint, is_made=not needed)


def _of_pydantic(cls: Any) -> Iterator[Input]:
    for name, info in cls.model_fields.items():
        alias = info.validation_alias if isinstance(info.validation_alias, str) else info.alias
        made = info.default_factory is not None
        default = NOTHING if made or info.is_required() else info.default
        yield input_of(
            alias or name, info.annotation, default=default, is_made=made, stated=facts_of([info])
        )


def input_of(
    name: str,
    hint: Any,
    *,
    default: Any = NOTHING,
    is_made: bool = False,
    stated: Iterable[tuple[str, Any]] = (),
) -> Input:
    """Return an input with its field.

    `is_made` means that each call makes a new default. `stated` adds facts to those in the hint.
    """
    if hint is NOTHING and isinstance(default, str | bool):
        hint = type(default)
    core, is_optional, facts = core_of(hint)
    facts |= dict(stated)
    has_default = is_made or default is not NOTHING
    choices = choices_of(core, or_bool=is_optional)
    shape = Shape(
        name=name,
        label=facts.pop("title", None) or name.replace("_", " ").strip().capitalize() or name,
        about=facts.pop("description", None),
        core=core,
        facts=facts,
        choices=choices,
    )
    required = not (has_default or is_optional)
    field = shape.field(required=required, default=None if default is NOTHING else default)
    return Input(field, name, hint, has_default, is_optional, choices)
