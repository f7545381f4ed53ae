"""Fields whose value is chosen instead of typed, and the buttons."""

from collections.abc import Iterable, Mapping
from typing import Any

from koco.kodosumi.forms.base import FormElement, escape, format_attributes


class Checkbox(FormElement):
    """Yes or no. Only the text `on`, as browsers send it, means yes."""

    type = "boolean"

    def __init__(
        self,
        name: str,
        option: str | None = None,
        label: str | None = None,
        value: Any = False,
        error: list[str] | None = None,
    ) -> None:
        super().__init__(name, label, value, text="on" if option is None else option, error=error)

    def to_dict(self) -> dict[str, Any]:
        """Return the checkbox as JSON."""
        shown = {"name": self.name, "label": self.label, "value": self.value}
        return {"type": self.type, **shown, "option": self.text}

    def render(self) -> str:
        """Return the checkbox as HTML."""
        lines = [f'<legend class="inputs-label">{self.label}</legend>'] if self.label else []
        attributes = {"type": "checkbox", "name": self.name, "checked": bool(self.value)}
        lines += ['<div class="field middle-align">', '<nav><label class="large checkbox">']
        lines += [f"<input {format_attributes(attributes)}>", f"<span>{self.text}</span>"]
        return "\n".join([*lines, "</label></nav>", *self._render_error(), "</div>"])

    def parse_value(self, value: Any) -> bool:
        """Return whether the box was checked."""
        return bool(value == "on")


class InputOption(FormElement):
    """One of the options of a `Select`: `name` is its value, `value` whether it is selected."""

    type = "option"
    _properties = ("name", "label", "value")

    def __init__(
        self,
        name: str | None = None,
        label: str | None = None,
        value: Any = False,
        error: list[str] | None = None,
    ) -> None:
        super().__init__(name, label, value, error=error)

    def render(self) -> str:
        """Return the option as HTML."""
        attributes = format_attributes({"selected": bool(self.value)})
        shown = escape(self.name if self.label is None else self.label)
        return f'<option {attributes} value="{escape(self.name)}">{shown}</option>'


def _read_options(options: Iterable[Any], chosen: Any) -> list[InputOption]:
    """Return options, given as such or as dicts, with the chosen one selected."""
    found = []
    for each in options:
        option = _read_option(each) if isinstance(each, Mapping) else each
        option.value = bool(chosen) and option.name == chosen
        found.append(option)
    return found


def _read_option(data: Mapping[str, Any]) -> InputOption:
    return InputOption(**{key: data[key] for key in data if key != "type"})


class _Choice(FormElement):
    """One of several options. A value that is none of them passes."""

    def __init__(
        self,
        name: str,
        label: str | None,
        value: Any,
        required: bool,
        error: list[str] | None,
        option: Iterable[Any],
    ) -> None:
        super().__init__(name, label, value, required, error=error)
        self.option = _read_options(option, value)

    def parse_value(self, value: Any) -> Any:
        """Return the value as it was sent, and select its option."""
        for option in self.option:
            option.value = option.name == value
        return value


class Select(_Choice):
    """One of several options, in a list that opens."""

    type = "select"

    def __init__(
        self,
        name: str,
        option: Iterable[Any],
        label: str | None = None,
        value: Any = None,
        error: list[str] | None = None,
    ) -> None:
        super().__init__(name, label, value, False, error, option)

    def to_dict(self) -> dict[str, Any]:
        """Return the list and its options as JSON."""
        options = [each.to_dict() for each in self.option]
        shown = {"name": self.name, "label": self.label, "value": self.value}
        return {"type": self.type, **shown, "option": options, "error": self.error}

    def render(self) -> str:
        """Return the list as HTML."""
        options = [each.render() for each in self.option]
        lines = [f'<select name="{escape(self.name)}">', *options, "</select>"]
        return self._wrap("\n".join([*lines, "<i>arrow_drop_down</i>"]), error="error error-text")


class InputRadio(_Choice):
    """One of several options, all of them shown."""

    type = "radio"

    def __init__(
        self,
        name: str,
        option: Iterable[Any],
        label: str | None = None,
        value: Any = None,
        required: bool = False,
        error: list[str] | None = None,
    ) -> None:
        super().__init__(name, label, value, required, error, option)

    def to_dict(self) -> dict[str, Any]:
        """Return the buttons as JSON."""
        options = [each.to_dict() for each in self.option]
        shown = {"name": self.name, "label": self.label, "value": self.value}
        return {"type": self.type, **shown, "required": self.required, "option": options}

    def render(self) -> str:
        """Return the radio buttons as HTML."""
        lines = []
        for each in self.option:
            attributes = {"type": "radio", "name": self.name, "checked": bool(each.value)}
            attributes |= {"required": bool(self.required)}
            button = f'<input {format_attributes(attributes)} value="{escape(each.name)}">'
            shown = f"<span>{escape(each.label or each.name)}</span>"
            lines += ['<label class="radio">', button, shown, "</label>"]
        return self._wrap("\n".join(lines), "field")
