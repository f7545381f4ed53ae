"""Express in a JSON Schema what a type hint requires of values nested in an input.

With it, the control plane can refuse inputs at launch that the runner would only refuse later: it
does not have the author's code. If the author's code runs before type checks (validators in mode
"before", aliases of either name), the schema allows anything.
"""

import collections.abc
import dataclasses
import decimal
import enum
import types
import typing
from typing import Any

from koco.sdk.entrypoints.hints import core_of, facts_of, hints_of

#: The types that become a JSON array, and those that become an object.
_LISTS = (list, tuple, set, frozenset, collections.abc.Sequence, collections.abc.Set)
_OBJECTS = (dict, collections.abc.Mapping)
#: Validators that see a value before its type is checked, so they may take anything.
_FIRST = frozenset({"BeforeValidator", "WrapValidator", "PlainValidator"})
#: The schema's names of facts, by the kind of type.
_NUMBER = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
_NUMBER |= {"multiple_of": "multipleOf"}
_TEXT = {"min_length": "minLength", "max_length": "maxLength", "pattern": "pattern"}
_LIST = {"min_length": "minItems", "max_length": "maxItems"}
_OBJECT = {"min_length": "minProperties", "max_length": "maxProperties"}

#: How deep nested hints are followed.
_DEEPEST = 50


def schema_of(hint: Any, stated: dict[str, Any] | None = None) -> dict[str, Any] | None:
    """Return the JSON Schema of a hint; None if it requires nothing that a schema can express."""
    walk = _Walk()
    found = walk.of(hint, stated or {}, 0)
    if found in ({}, {"type": "array"}, {"type": "object"}):
        return None
    return {**found, "$defs": walk.defs} if walk.defs else found


class _Walk:
    def __init__(self) -> None:
        self.defs: dict[str, Any] = {}
        self._names: dict[Any, str] = {}

    def of(self, hint: Any, stated: dict[str, Any], depth: int) -> dict[str, Any]:
        """Return a hint's schema; `{}` allows anything."""
        notes = typing.get_args(hint)[1:] if typing.get_origin(hint) is typing.Annotated else ()
        if depth > _DEEPEST or _notes_read_first(notes):
            return {}
        core, is_optional, facts = core_of(hint)
        found = self._core(core, {**facts, **stated}, depth)
        if not found or not is_optional or core is type(None):
            return found
        return {"anyOf": [found, {"type": "null"}]}

    def _core(self, core: Any, facts: dict[str, Any], depth: int) -> dict[str, Any]:
        origin, args = typing.get_origin(core), typing.get_args(core)
        if origin in (typing.Union, types.UnionType):
            options = [self.of(each, facts, depth + 1) for each in args]
            return {"anyOf": options} if all(options) else {}
        if origin is typing.Literal:
            return _enum([each.value if isinstance(each, enum.Enum) else each for each in args])
        kind = origin or core
        if not isinstance(kind, type):
            return {}
        if kind in _LISTS:
            return self._list(kind, args, facts, depth)
        if kind in _OBJECTS:
            inner = self.of(args[1], {}, depth + 1) if len(args) == 2 else {}
            found = {"additionalProperties": inner} if inner else {}
            return {"type": "object", **found, **_pick_facts(facts, _OBJECT)}
        if args:
            return {}  # a generic class of the author
        if issubclass(kind, enum.Enum):
            is_plain = not issubclass(kind, enum.Flag) and "_missing_" not in vars(kind)
            return _enum([each.value for each in kind]) if is_plain else {}
        return _scalar(kind, facts) or self._class(kind, depth)

    def _list(
        self, kind: type, args: tuple[Any, ...], facts: dict[str, Any], depth: int
    ) -> dict[str, Any]:
        sized = _pick_facts(facts, _LIST)
        if kind is tuple and args and args[-1] is not Ellipsis:
            first = [self.of(each, {}, depth + 1) for each in args]
            return {
                "type": "array",
                "prefixItems": first,
                "minItems": len(args),
                "maxItems": len(args),
            }
        if kind in (set, frozenset, collections.abc.Set):
            sized.pop("minItems", None)  # a set counts equal elements once
            sized.pop("maxItems", None)
        inner = self.of(args[0], {}, depth + 1) if args else {}
        return {"type": "array", **({"items": inner} if inner else {}), **sized}

    def _class(self, kind: type, depth: int) -> dict[str, Any]:
        if kind in self._names:
            return {"$ref": f"#/$defs/{self._names[kind]}"}
        fields = _fields_of(kind)
        if fields is None:
            return {}
        name = (
            kind.__name__ if kind.__name__ not in self.defs else f"{kind.__name__}{len(self.defs)}"
        )
        self._names[kind], self.defs[name] = name, {}
        self.defs[name] = {
            "type": "object",
            "properties": {
                field.name: self.of(field.hint, field.facts, depth + 1) for field in fields
            },
            "required": [field.name for field in fields if field.is_required],
        }
        config = getattr(kind, "model_config", None)
        if isinstance(config, dict) and config.get("extra") == "forbid":
            self.defs[name]["additionalProperties"] = False
        return {"$ref": f"#/$defs/{name}"}


@dataclasses.dataclass(frozen=True)
class _Field:
    name: str
    hint: Any
    is_required: bool
    facts: dict[str, Any]


def _fields_of(kind: Any) -> list[_Field] | None:
    """Return a class's fields; None if its own code decides what it takes."""
    if typing.is_typeddict(kind):
        needed = kind.__required_keys__
        return [_Field(name, hint, name in needed, {}) for name, hint in hints_of(kind).items()]
    if isinstance(getattr(kind, "model_fields", None), dict) and hasattr(kind, "model_validate"):
        return _of_pydantic(kind)
    if dataclasses.is_dataclass(kind) and not hasattr(kind, "__pydantic_validator__"):
        hints, missing = hints_of(kind), dataclasses.MISSING
        return [
            _Field(
                each.name,
                hints.get(each.name, Any),
                each.default is missing and each.default_factory is missing,
                {},
            )
            for each in dataclasses.fields(kind)
            if each.init
        ]
    return None


def _of_pydantic(kind: Any) -> list[_Field] | None:
    decorators = getattr(kind, "__pydantic_decorators__", None)
    config = getattr(kind, "model_config", {})
    classes = [each for each in kind.__mro__ if each.__module__.partition(".")[0] != "pydantic"]
    if any("__get_pydantic_core_schema__" in vars(each) for each in classes[:-1]):
        return None
    if decorators is None or getattr(kind, "__pydantic_root_model__", False):
        return None
    by_either = any(map(config.get, ("populate_by_name", "validate_by_name")))
    if decorators.root_validators or decorators.validators or by_either:
        return None
    if any(each.info.mode != "after" for each in decorators.model_validators.values()):
        return None
    first = {
        name
        for each in decorators.field_validators.values()
        if each.info.mode != "after"
        for name in each.info.fields
    }
    found = []
    for name, info in kind.model_fields.items():
        alias = info.validation_alias if info.validation_alias is not None else info.alias
        if alias is not None and not isinstance(alias, str):
            return None  # one of several names, or a path
        is_free = config.get("str_strip_whitespace") or {name, "*"} & first
        is_free = is_free or _notes_read_first(info.metadata)
        hint = Any if is_free else info.annotation
        facts = {} if is_free else dict(facts_of([info]))
        found.append(_Field(alias or name, hint, info.is_required(), facts))
    return found


def _notes_read_first(notes: typing.Iterable[Any]) -> bool:
    return any(type(note).__name__ in _FIRST for note in notes)


def _enum(values: list[Any]) -> dict[str, Any]:
    is_plain = all(isinstance(each, str | int | float | None) for each in values)
    return {"enum": values} if is_plain and values else {}


def _scalar(kind: type, facts: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a simple type; empty for types that are parsed in their own way."""
    if kind is type(None):
        return {"type": "null"}
    if kind is bool:
        return {"type": "boolean"}
    if kind is int:
        return {"type": "integer", **_pick_facts(facts, _NUMBER)}
    if kind in (float, decimal.Decimal):
        # NaN and infinities travel as strings.
        said = _pick_facts(facts, _NUMBER)
        return {"type": "number", **said} if kind is float and said else {}
    return {"type": "string", **_pick_facts(facts, _TEXT)} if kind is str else {}


def _pick_facts(facts: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    found = {}
    for key, name in names.items():
        value = getattr(facts.get(key), "pattern", facts.get(key))
        if isinstance(value, str) or (isinstance(value, int | float) and value - value == 0):
            found[name] = value
    return found
