"""Elements without a value: text, spaces, messages."""

import textwrap
from typing import Any

from koco.kodosumi.forms.base import Element, FormElement, escape_message


class HTML(Element):
    """A piece of HTML."""

    type = "html"
    _properties = ("text",)

    def render(self) -> str:
        """Return the HTML as it is."""
        return self.text or ""


class Break(HTML):
    """Vertical space. All arguments are accepted, and ignored."""

    type = "break"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__('<div class="space"></div>')


class HR(HTML):
    """A horizontal rule. All arguments are accepted, and ignored."""

    type = "hr"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__('<hr class="medium"/>')


class Markdown(Element):
    """Text in Markdown. Indentation that all lines share is removed when it is shown."""

    type = "markdown"
    _properties = ("text",)

    def __init__(self, text: str) -> None:
        super().__init__(text=text or "")

    def render(self) -> str:
        """Return the text as HTML."""
        # Few services render a form themselves, and the parser costs 30 ms to import.
        from markdown_it import MarkdownIt

        parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
        return str(parser.render(textwrap.dedent(self.text or "")))


class Errors(FormElement):
    """The place for messages that are not about one field. Its value has the key `_global_`."""

    type = "errors"

    def __init__(self, error: list[str] | None = None) -> None:
        super().__init__("_global_", error=error)

    def render(self) -> str:
        """Return the messages as HTML; empty if there are none."""
        if not self.error:
            return ""
        message = escape_message("\n".join(map(str, self.error)))
        box = '<div class="error-container small-round"><div class="error-text bold padding">'
        space = '<div class="space"></div>'
        return f"{space}\n{box}{message}</div></div>\n{space}"


class DisplayInfo(Element):
    """Information that is only shown (`none` in MIP-003)."""

    type = "none"
    _properties = ("text", "label")

    def __init__(self, text: str, label: str | None = None) -> None:
        super().__init__(text=text)
        self.label = label

    def render(self) -> str:
        """Return the text as a paragraph."""
        legend = f'<legend class="inputs-label">{self.label}</legend>\n' if self.label else ""
        return f'{legend}<div class="field">\n<p>{self.text or ""}</p>\n</div>'
