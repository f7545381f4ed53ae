"""Kodosumi's data types that services use: bodies of text, files, and models of any shape."""

from typing import Any

from pydantic import BaseModel, RootModel


class DynamicModel(RootModel[dict[str, Any]]):
    """An object with any keys."""


class _Body(BaseModel):
    body: str

    def to_payload(self) -> dict[str, str]:
        """Return the payload of its event, as koco stores it: `{"type": …, "body": …}`."""
        return {"type": type(self).__name__.lower(), "body": self.body}


class Text(_Body):
    """A body of plain text."""


class HTML(_Body):
    """A body in HTML."""


class Markdown(_Body):
    """A body in Markdown."""


#: The bodies by their names.
format_map = {"text": Text, "html": HTML, "markdown": Markdown}


class File(BaseModel):
    """A file of an execution: size in bytes, time in seconds since the epoch."""

    path: str
    size: int
    last_modified: float


class Upload(BaseModel):
    """The files that came with a launch."""

    files: list[File]
