"""The draft of a manifest: its values, its secrets, and notes on everything that was lost."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from koco.manifest import key_literals

#: The user and password in a URL.
_LOGIN = re.compile(r"(?<=://)[^\s/@]+@")


@dataclass(frozen=True)
class Note:
    """A thing that differs from the file or was not carried over: its key there, and why."""

    key: str
    message: str
    #: The section of the manifest whose comment it becomes; empty for the top of the file.
    section: str = ""
    #: Whether the user must do something before the service works as it did.
    is_todo: bool = True

    def __str__(self) -> str:
        return f"{self.key}: {self.message}"


@dataclass
class Draft:
    """The values of a manifest to be written, in its own words."""

    service: str
    app: str
    #: The file that it comes from, as the user typed it or found in the folder they typed.
    source: Path
    root: str = "."
    description: str = ""
    is_kodosumi: bool = False
    #: Whether the shipped folder was the working directory.
    chdir: bool = False
    files: list[str] = field(default_factory=list)
    dependencies: list[str] = field(default_factory=list)
    requirements: str | None = None
    env: dict[str, str] = field(default_factory=dict)
    #: The names of variables whose values looked like keys.
    secrets: list[str] = field(default_factory=list)
    serve: dict[str, Any] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)

    def note(self, key: str, message: str, section: str = "", *, is_todo: bool = True) -> None:
        """Add a note. Keys and passwords are masked, because notes are printed and written."""
        note = Note(mask(key), mask(message), section, is_todo)
        if note not in self.notes:
            self.notes.append(note)


def mask(text: str) -> str:
    """Return a text without the logins in its URLs, and without well-known keys."""
    return key_literals.mask_text(_LOGIN.sub("***@", text))
