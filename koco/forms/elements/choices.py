"""Elements whose value is chosen instead of typed, and the one that holds any JSON."""

import copy
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from koco.forms import nested, readers
from koco.forms.elements.base import Part, read_with
from koco.forms.elements.fields import Field
from koco.forms.problems import FormError, Problem
from koco.spelling import nearest

#: How many options a message lists before it stops.
_LISTED = 20


@dataclass(frozen=True)
class Checkbox(Field):
    """Yes or no. `option` is the text next to the box. A missing or blank value means no."""

    type: ClassVar[str] = "boolean"
    option: str | None = field(default=None, metadata=read_with(readers.text))
    value: bool = field(default=False, metadata=read_with(readers.checkbox))

    def read(self, raw: object) -> bool:
        """Return whether the box is checked."""
        return readers.checkbox(raw)

    def _read_optional(self, raw: object) -> bool:
        return bool(super()._read_optional(raw))

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the value, which is never null."""
        description = {"description": self.option} if self.option else {}
        return super().schema() | {"type": "boolean"} | description


@dataclass(frozen=True)
class InputOption(Part):
    """One of the choices of a `Select`: `name` is its value, `value` whether it is preselected."""

    name: str = field(metadata=read_with(readers.text))
    label: str | None = field(default=None, metadata=read_with(readers.text))
    value: bool = field(default=False, metadata=read_with(readers.boolean))


def _read_options(raw: object) -> tuple[InputOption, ...]:
    """Read the options: `InputOption`s, dicts of their properties, or just names."""
    if not isinstance(raw, list | tuple) or not raw:
        raise ValueError(f"must be a list of options, got {readers.kind(raw) if raw else 'none'}")
    found: list[InputOption] = []
    faults: list[str] = []
    for number, each in enumerate(raw, 1):
        try:
            if isinstance(each, dict):
                properties = {key: each[key] for key in each if (key, each[key]) != _OLD_TYPE}
                found.append(InputOption.from_dict(properties))
            else:  # a name; its reader refuses other types
                found.append(each if isinstance(each, InputOption) else InputOption(each))
        except FormError as exc:
            faults += [f"option {number}, {problem}" for problem in exc.problems]
    counts = Counter(option.name for option in found)
    twice = sorted(name for name, count in counts.items() if count > 1)
    faults += [f"two options are named {name!r}" for name in twice]
    if faults:
        raise ValueError("; ".join(faults))
    return tuple(found)


#: Options of older forms have this key. It has only one value.
_OLD_TYPE = ("type", "option")


@dataclass(frozen=True)
class Select(Field):
    """One of several options."""

    type: ClassVar[str] = "select"
    value: str | None = field(default=None, metadata=read_with(readers.anything))
    required: bool = field(default=False, metadata=read_with(readers.boolean))
    option: Sequence[InputOption | str] = field(kw_only=True, metadata=read_with(_read_options))

    @property
    def names(self) -> list[str]:
        """The values that can be chosen."""
        return [each.name if isinstance(each, InputOption) else each for each in self.option or ()]

    def read(self, raw: object) -> str:
        """Return the name of the chosen option. A number or boolean counts as its JSON text."""
        if isinstance(raw, bool):
            return readers.kind(raw)
        return str(raw) if isinstance(raw, int | float) else readers.text(raw)

    def check(self, value: str) -> Iterator[str]:
        """Yield a message if no option has the name."""
        names = self.names
        if value in names:
            return
        listed = ", ".join(names[:_LISTED]) + (", …" if len(names) > _LISTED else "")
        near = nearest(value, names)
        question = f"; did you mean {near!r}?" if near else ""
        yield f"must be one of {listed}, got {readers.show(value)}{question}"

    def _read_optional(self, raw: object) -> Any:
        # An option may have an empty name.
        return raw if raw == "" and "" in self.names else super()._read_optional(raw)

    def _find_problems(self) -> Iterator[Problem]:
        chosen = [
            each.name for each in self.option or () if isinstance(each, InputOption) and each.value
        ]
        if len(chosen) > 1:
            yield Problem(None, "option", f"only one can be preselected, not {', '.join(chosen)}")
        elif chosen and self.value is None:
            self._set("value", chosen[0])
        # The default can only be checked against valid options.
        if self.option:
            yield from super()._find_problems()

    def _value_schema(self) -> dict[str, Any]:
        none: list[Any] = [] if self.is_required else [None]
        labels = [getattr(each, "label", None) for each in self.option]
        if not any(labels):
            return {"enum": [*self.names, *none]}
        titled = zip(self.names, labels, strict=True)
        known = [{"const": name, "title": label or name} for name, label in titled]
        return {"oneOf": [*known, *({"const": each} for each in none)]}


class InputRadio(Select):
    """One of several options, all of them shown."""

    type: ClassVar[str] = "radio"


@dataclass(frozen=True)
class InputFiles(Field):
    """A path of a file, or a list of paths with `multiple` or `directory`."""

    type: ClassVar[str] = "file"
    required: bool = field(default=False, metadata=read_with(readers.boolean))
    multiple: bool = field(default=False, metadata=read_with(readers.boolean))
    directory: bool = field(default=False, metadata=read_with(readers.boolean))

    @property
    def is_list(self) -> bool:
        """Whether its value is a list of paths."""
        return self.multiple or self.directory

    def read(self, raw: object) -> str | list[str]:
        """Return the path or the list of paths."""
        paths = [raw] if isinstance(raw, str) else raw
        if not isinstance(paths, list | tuple):
            raise ValueError(f"must be a path, got {readers.kind(raw)}")
        found = [readers.text(path) for path in paths if path != ""]
        if self.is_list:
            return found
        if len(found) > 1:
            raise ValueError(f"must be one file, got {len(found)}")
        return found[0] if found else ""

    def _read_optional(self, raw: object) -> Any:
        value = super()._read_optional(raw)
        # An empty list and an empty path both mean no file.
        return value or None

    def _value_schema(self) -> dict[str, Any]:
        path = {"type": "string"}
        return {"type": "array", "items": path} if self.is_list else path


@dataclass(frozen=True)
class InputJSON(Field):
    """Any JSON value: a list, an object, or another value that no other element can hold."""

    type: ClassVar[str] = "json"
    value: Any = field(default=None, metadata=read_with(readers.anything))
    required: bool = field(default=False, metadata=read_with(readers.boolean))
    placeholder: str | None = field(default=None, metadata=read_with(readers.text))
    json_schema: dict[str, Any] | None = field(
        default=None, metadata=read_with(readers.json_schema)
    )

    def read(self, raw: object) -> Any:
        """Return the value, decoded if it is JSON as text."""
        return readers.json_value(raw)

    def check(self, value: Any) -> Iterator[str]:
        """Yield the problems of a value that does not match `json_schema`."""
        if self.json_schema is not None:
            yield from nested.find_problems(value, self.json_schema)

    def _value_schema(self) -> dict[str, Any]:
        schema = copy.deepcopy(self.json_schema or {})
        if not schema or self.is_required:
            return schema
        defs = {"$defs": schema.pop("$defs")} if "$defs" in schema else {}
        return {"anyOf": [schema, {"type": "null"}], **defs}

    def _read_optional(self, raw: object) -> Any:
        value = super()._read_optional(raw)
        # Decoding may return blank text.
        return super()._read_optional(value) if isinstance(value, str) else value
