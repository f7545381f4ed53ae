"""The form field that suits a type: text for `str`, a `Select` for an `Enum`, and so on."""

import datetime as dt
import decimal
import enum
import math
import pathlib
import typing
import uuid
from dataclasses import dataclass
from typing import Any

from koco import forms as F  # noqa: N812 - as flows import it
from koco.sdk.entrypoints.json_schemas import schema_of

#: Types that are written as text in JSON and parsed from it.
_TEXTUAL = (uuid.UUID, decimal.Decimal, pathlib.PurePath)


def choices_of(core: Any, *, or_bool: bool) -> dict[str, Any]:
    """Return a `Select`'s names and the values they stand for; empty if it is not a choice."""
    values: list[Any] = []
    if typing.get_origin(core) is typing.Literal:
        values = [each for each in typing.get_args(core) if each is not None]
    elif isinstance(core, type) and issubclass(core, enum.Enum) and not issubclass(core, enum.Flag):
        values = list(core)
    elif core is bool and or_bool:
        values = [True, False]  # a checkbox has no third state
    names = [_text_of(each) for each in values]
    known = {name: each for name, each in zip(names, values, strict=True) if name is not None}
    return known if len(known) == len(values) else {}


def _text_of(value: Any) -> str | None:
    """Return the name of a choice in a form; None if it cannot have one."""
    value = value.value if isinstance(value, enum.Enum) else value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    return value if isinstance(value, str) else None


@dataclass(frozen=True)
class Shape:
    """The parts of a field: its name, description, type and limits."""

    name: str
    label: str
    about: str | None
    core: Any
    facts: dict[str, Any]
    choices: dict[str, Any]

    def field(self, *, required: bool, default: Any) -> F.Field:
        """Return the field. A default that the form cannot hold is left to the callable."""
        value = self._value(default)
        for facts, shown in ((self.facts, value), (self.facts, None), ({}, value), ({}, None)):
            try:
                found = self._make_field(facts, required=required, value=shown)
            except F.FormError:
                continue
            # JSON in text would be decoded, and then no longer equal the default.
            if shown is None or found.default == shown:
                return found
        return self._make_field({}, required=required, value=None)

    def _value(self, default: Any) -> Any:
        if self.choices:
            pairs = self.choices.items()
            texts = (
                name for name, each in pairs if type(each) is type(default) and each == default
            )
            return next(texts, None)
        if isinstance(default, _TEXTUAL):
            return str(default)
        simple = (str, bool, int, float, dt.date, dt.time, dt.datetime)
        if self.core in simple or default is None:
            return default
        import msgspec

        try:
            return msgspec.to_builtins(default)
        except (TypeError, ValueError):
            return None

    def _make_field(self, facts: dict[str, Any], *, required: bool, value: Any) -> F.Field:
        base: dict[str, Any] = {"name": self.name, "label": self.label}
        if self.core is bool and not self.choices:
            return F.Checkbox(**base, option=self.about, value=bool(value))
        base |= {"required": required, "value": value}
        if self.choices:
            return F.Select(**base, option=[self._option(*each) for each in self.choices.items()])
        base["placeholder"] = self.about
        is_type = isinstance(self.core, type)
        if self.core is str or (is_type and issubclass(self.core, _TEXTUAL)):
            of_type = {"pattern": _UUID} if issubclass(self.core, uuid.UUID) else {}
            return F.InputText(**base, **_text_facts(facts if self.core is str else of_type))
        if self.core in (int, float):
            step = 1 if self.core is int else "any"
            return F.InputNumber(**base, step=step, **_number_facts(facts, self.core))
        if is_type and (moment := _MOMENTS.get(self.core)) is not None:
            element, low, high = moment
            limits: dict[str, Any] = {low: facts.get("ge"), high: facts.get("le")}
            return element(**base, **limits)
        if getattr(self.core, "__name__", "") == "SecretStr":
            return F.InputPassword(**base, **_text_facts(facts))
        # Without a schema if it would refuse the default, which must still be shown.
        schema = schema_of(self.core, facts) if facts is self.facts else None
        return F.InputJSON(**base, json_schema=schema)

    def _option(self, name: str, value: Any) -> F.InputOption:
        if not isinstance(value, enum.Enum):
            return F.InputOption(name)
        return F.InputOption(name, value.name.replace("_", " ").capitalize())


_MOMENTS: dict[type, tuple[type[F.Field], str, str]] = {
    dt.date: (F.InputDate, "min_date", "max_date"),
    dt.time: (F.InputTime, "min_time", "max_time"),
    dt.datetime: (F.InputDateTime, "min_datetime", "max_datetime"),
}


#: The ways to write a UUID.
_UUID = r"^(urn:uuid:)?\{?[0-9a-fA-F]{8}(-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}\}?$"


def _text_facts(facts: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {key: facts.get(key) for key in ("min_length", "max_length")}
    pattern = facts.get("pattern")
    if pattern is not None:
        text = getattr(pattern, "pattern", pattern)
        whole = text.startswith("^") and text.endswith("$")
        # A constraint searches, but a form's pattern must match the whole text.
        found["pattern"] = text if whole else f".*(?:{text}).*"
    return found


def _number_facts(facts: dict[str, Any], kind: type) -> dict[str, Any]:
    """Return the limits; an exclusive one becomes the next allowed number."""
    # A form has no infinity: there it is simply no limit.
    facts = {key: each for key, each in facts.items() if each not in (math.inf, -math.inf)}
    found = {"min_value": facts.get("ge"), "max_value": facts.get("le")}
    for key, name, side in (("gt", "min_value", 1), ("lt", "max_value", -1)):
        if key in facts and kind is int:
            found[name] = side * (math.floor(side * facts[key]) + 1)
        elif key in facts:
            found[name] = math.nextafter(facts[key], side * math.inf)
    return found
