"""Errors that services written for Kodosumi raise, catch and hand to their users."""

from typing import Any

#: The key of messages that belong to no field. `forms.Errors` shows them.
GLOBAL = "_global_"


class KodosumiError(Exception):
    """The base of Kodosumi's errors."""


class InputsError(KodosumiError):
    """Inputs that a handler refuses: messages by field, in `errors`.

    It is true if it has messages, so a handler can collect them and write `if error: raise error`.
    """

    def __init__(self, *args: Any, **messages: str) -> None:
        """Take any arguments of an exception, and a message for each field named."""
        super().__init__(*args)
        self.errors: dict[str, list[str]] = {}
        self.add(**messages)

    def add(self, **messages: str) -> None:
        """Add a message for each field named."""
        for name, message in messages.items():
            self.errors.setdefault(name, []).append(message)

    def flash(self, message: str) -> None:
        """Add a message that belongs to no field."""
        self.errors.setdefault(GLOBAL, []).append(message)

    def has_errors(self) -> bool:
        """Return whether there are messages."""
        return bool(self.errors)

    def __bool__(self) -> bool:
        return self.has_errors()
