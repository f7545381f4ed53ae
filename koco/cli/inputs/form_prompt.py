"""Ask for the values of one form: a question for each field, until its answer is valid.

If a field's own check refuses an answer, the reason is shown and the field is asked again. So most
invalid values are never sent, but the server checks them all the same.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from koco.cli.inputs import field_limits, file_inputs
from koco.cli.terminal import html_text, keyboard, output
from koco.client import context_file
from koco.forms import (
    HR,
    HTML,
    Action,
    Break,
    Checkbox,
    DisplayInfo,
    Element,
    Field,
    InputArea,
    InputFiles,
    InputHidden,
    InputPassword,
    Markdown,
    Model,
    Select,
    Submit,
    browser,
)
from koco.forms.elements.base import to_json

#: A file that the control plane fetches, if it may.
_URL = re.compile("https?://", re.IGNORECASE)
#: The number of choices that are listed. Others can be chosen by name.
_LISTED = 50


class Dialogue:
    """Asks at the terminal `out` and reads typed lines; raises the errors of `keyboard.line`.

    With `as_browser`, the answers are those that a browser sends; see `koco.forms.browser`.
    """

    def __init__(self, out: TextIO, *, as_browser: bool = False) -> None:
        self._out = out
        self._as_browser = as_browser

    def fill(
        self, model: Model, given: dict[str, Any], typed: dict[str, Any] | None
    ) -> dict[str, Any]:
        """Return the answers for fields that are not given; see `prompt.ask`."""
        answers: dict[str, Any] = {}
        for element in model.elements:
            if isinstance(element, InputHidden):
                if element.name not in given and typed is None:
                    answers[element.name] = element.value
            elif isinstance(element, Field):
                if element.name not in given and (typed is None or element.name in typed):
                    answers |= self._answer(element, self._offered(element, typed or {}))
            elif typed is None:
                self._show(element)
        buttons = model.actions if typed is None else model.actions.keys() & typed.keys()
        if buttons and not given.keys() & model.actions:
            answers |= self._press(model.elements)
        return answers

    def _offered(self, field: Field, typed: dict[str, Any]) -> Any:
        """Return the value that Enter stands for, as JSON; None if there is none."""
        before = None if isinstance(field, InputPassword) else typed.get(field.name)
        if before not in (None, "") or (before == "" and not self._as_browser):
            return before
        return browser.offered(field) if self._as_browser else to_json(field.default)

    def _show(self, element: Element) -> None:
        if isinstance(element, Markdown):
            output.print_markdown(element.text, self._out)
        elif isinstance(element, HTML):
            self._say(html_text.text_of(element.text))
        elif isinstance(element, DisplayInfo):
            self._title(element.label or element.text, element.text if element.label else "")
        elif isinstance(element, Break):
            self._say("")
        elif isinstance(element, HR):
            self._say("─" * 40, output.DIM)

    def _answer(self, field: Field, offered: Any) -> dict[str, Any]:
        """Return the answer to a field under its name, or nothing. Ask until it is valid."""
        self._introduce(field, offered)
        while True:
            try:
                raw = self._read(field)
            except UnicodeError:
                self._refuse(["is not UTF-8: is the terminal's locale right?"])
                continue
            raw = offered if raw is None else raw
            if raw is None and not field.is_required:
                return browser.blank(field) if self._as_browser else {}
            value, messages = _check(field, raw)
            if not messages and self._as_browser:
                return browser.to_input(field, raw, value)
            if not messages:
                return {field.name: to_json(value)}
            self._refuse(messages)

    def _introduce(self, field: Field, offered: Any) -> None:
        about = field_limits.words(field)
        if isinstance(field, InputArea):
            about.append("an empty line or Ctrl-D ends it")
        elif isinstance(field, InputFiles) and field.is_list:
            about.append("one on each line, an empty line ends them")
        parts = [f"({', '.join(about)})"] if about else []
        if offered is not None and not isinstance(field, Select):
            parts.append(f"[{field_limits.format_value(field, offered)}]")
        parts.append(_beside(field))
        self._title(field.label or field.name, " ".join(parts))
        if isinstance(field, Select):
            pairs = field_limits.choices(field)
            self._list(pairs, field.names.index(offered) if offered in field.names else None)

    def _read(self, field: Field) -> Any:
        """Return the typed value of a field; None if it is blank."""
        if isinstance(field, InputPassword):
            return keyboard.secret(self._out) or None
        if isinstance(field, InputArea):
            return "\n".join(keyboard.lines(self._out)) or None
        if isinstance(field, InputFiles) and field.is_list:
            return keyboard.lines(self._out) or None
        typed = keyboard.line(self._out)
        if field.type in ("text", "search"):
            return typed or None
        if not typed.strip():
            return None
        if isinstance(field, Select):
            return _find_choice(field_limits.choices(field), typed)
        if isinstance(field, Checkbox):
            return {"y": "yes", "n": "no"}.get(typed.strip().lower(), typed)
        return typed.strip()

    def _press(self, elements: Sequence[Element]) -> dict[str, str]:
        """Return the value of the chosen button. A single button is chosen without a question."""
        actions = [each for each in elements if isinstance(each, Action)]
        submits = [each.text for each in elements if isinstance(each, Submit)][:1]
        if not actions:
            return {}
        pairs = [(each.value, each.text or "") for each in actions]
        at = 0
        if len(actions) + len(submits) > 1:
            pairs += [(text, "") for text in submits]
            at = self._choose("Button", pairs, default=len(actions) if submits else None)
        return {actions[at].name: actions[at].value} if at < len(actions) else {}

    def _choose(self, title: str, pairs: Sequence[tuple[str, str]], *, default: int | None) -> int:
        """Return the index of the pair that a person chooses."""
        names = [name for name, _ in pairs]
        self._title(title, "" if default is not None else "(required)")
        self._list(pairs, default)
        while True:
            try:
                typed = keyboard.line(self._out)
            except UnicodeError:
                typed = "?"
            if not typed.strip() and default is not None:
                return default
            chosen = _find_choice(pairs, typed)
            if chosen in names:
                return names.index(chosen)
            self._refuse([f"must be one of {', '.join(names)}"])

    def _list(self, pairs: Sequence[tuple[str, str]], default: int | None) -> None:
        shown = pairs[:_LISTED]
        width = max(len(name) for name, _ in shown)
        for at, (name, label) in enumerate(shown):
            number = f"{at + 1:>4}  " if _are_numbered(pairs) else "    "
            mark = "  [default]" if at == default else ""
            self._say(f"{number}{_flat(f'{name:<{width}}  {label}')}{mark}")
        if len(pairs) > _LISTED:
            self._say(f"    and {len(pairs) - _LISTED} more, by name", output.DIM)

    def _refuse(self, messages: Sequence[str]) -> None:
        for message in messages:
            self._say(f"  {message}", output.RED)

    def _title(self, name: str, about: str) -> None:
        lead = output.harmless(" ".join(name.split()))
        first, *more = output.wrapped(f"{lead} {output.harmless(about)}", self._out)
        end = len(lead) if first.startswith(lead) else len(first)
        styled = output.paint(first[:end], output.BOLD, self._out)
        for line in (styled + output.paint(first[end:], output.DIM, self._out), *more):
            self._out.write(line + "\n")

    def _say(self, text: str, style: str = "") -> None:
        self._out.write(output.paint(output.harmless(text), style, self._out) + "\n")
        self._out.flush()


def _flat(text: str) -> str:
    """Return text without line breaks, because they could fake another question."""
    return text.replace("\n", " ").replace("\t", " ").rstrip()


def _beside(field: Field) -> str:
    """Return the text beside a field. A placeholder must not look like a default."""
    if isinstance(field, Checkbox):
        return field.option or ""
    placeholder = getattr(field, "placeholder", None) or ""
    return f"e.g. {placeholder}" if placeholder else ""


def _are_numbered(pairs: Sequence[tuple[str, str]]) -> bool:
    """Return whether choices can be chosen by number: not if a name is itself a number."""
    return not any(name.strip().isdecimal() for name, _ in pairs)


def _find_choice(pairs: Sequence[tuple[str, str]], typed: str) -> str:
    """Return the name for typed text that is a name, number or label; else the text itself."""
    word = typed.strip()
    names = [name for name, _ in pairs]
    if word in names:
        return word
    if word.isdecimal() and _are_numbered(pairs) and 1 <= int(word) <= len(pairs):
        return names[int(word) - 1]
    labelled = [name for name, label in pairs if label and label.lower() == word.lower()]
    return labelled[0] if len(labelled) == 1 else typed


def _check(field: Field, raw: Any) -> tuple[Any, list[str]]:
    if not isinstance(field, InputFiles):
        return field.clean(raw)
    typed = [str(each).strip() for each in (raw if isinstance(raw, list) else [raw]) if each]
    if not typed:
        return None, ["is required"]
    found = [each if _URL.match(each) else _local(each) for each in typed]
    return found if field.is_list else found[0], [
        message
        for each in found
        if isinstance(each, file_inputs.Local)
        for message in _faults(field, each.path)
    ]


def _local(typed: str) -> file_inputs.Local:
    """Return a typed path as a local file. `-i` needs an @ before paths; here it is optional."""
    return file_inputs.Local(f"@{context_file.expand_path(typed.removeprefix('@'))}")


def _faults(field: InputFiles, path: Path) -> Iterator[str]:
    if field.directory and not path.is_dir():
        yield f"there is no folder {path}"
    elif not path.exists():
        yield f"there is no file {path}"
    elif not field.is_list and not path.is_file():
        yield f"{path} is not a file"
