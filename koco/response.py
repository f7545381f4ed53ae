"""How a body is to be shown: what a flow may return, or pass to `tracer.result`.

    return response.Markdown("# Hymn", "to the night")

The parts of the text are joined by a space, as `print` does. Each class is data
with `type` and `body`, so that it is the payload it stands for wherever it is
turned to JSON, in a list of results too.
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
        """Return `{"type": …, "body": …}`, as the event stream carries it."""
        return asdict(self)


class Markdown(_Body):
    """A body in Markdown."""


class HTML(_Body):
    """A body in HTML."""


class Text(_Body):
    """A body of plain text."""
