"""Bodies of Markdown, HTML or plain text, for a flow to return or to pass to `tracer.result`.

    return response.Markdown("# Hymn", "to the night")

The parts of the text are joined by a space, as `print` does. Each class is data
with `type` and `body`, so its JSON is the payload of the event, also if it is
an element of a list.
"""

from dataclasses import asdict, dataclass


@dataclass(frozen=True, init=False)
class _Body:
    type: str
    body: str

    def __init__(self, *text: object) -> None:
        object.__setattr__(self, "type", type(self).__name__.lower())
        object.__setattr__(self, "body", " ".join(str(part) for part in text))

    def to_payload(self) -> dict[str, str]:
        """Return `{"type": …, "body": …}`, the payload of the event."""
        return asdict(self)


class Markdown(_Body):
    """A body in Markdown."""


class HTML(_Body):
    """A body in HTML."""


class Text(_Body):
    """A body of plain text."""
