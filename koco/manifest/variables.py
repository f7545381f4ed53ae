"""Expansion of `${NAME}` in the values of `runtime.env`, from the deployer's environment."""

import re
from collections.abc import Mapping

from koco.manifest.problems import InvalidValueError

_VARIABLE = re.compile(
    r"\$\$\{|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}|\$\{"
)


def names(value: str) -> list[str]:
    """Return the names of all variables in a value."""
    return [each["name"] for each in _VARIABLE.finditer(value) if each["name"]]


def required_names(value: str) -> list[str]:
    """Return the names of the variables in a value that have no default."""
    found = _VARIABLE.finditer(value)
    return [each["name"] for each in found if each["name"] and each["default"] is None]


def expand(value: str, environ: Mapping[str, str]) -> str:
    """Return a value with its variables filled in.

    Raises:
        InvalidValueError: a variable is not set and has no default, or `${` does not begin one.
    """

    def fill(found: "re.Match[str]") -> str:
        name, default = found["name"], found["default"]
        if name is None:
            if found[0] == "$${":
                return "${"
            raise InvalidValueError(
                "'${' does not begin a variable here", "'${NAME}', or '$${' for a literal '${'"
            )
        # As in a shell: an empty variable gets the default, if there is one.
        given = environ.get(name)
        try:
            (given or "").encode()
        except UnicodeEncodeError:
            raise InvalidValueError(
                f"${{{name}}} is not UTF-8 in this environment", "set it to text"
            ) from None
        if default is not None:
            return given or default
        if given is None:
            raise InvalidValueError(
                f"${{{name}}} is not set in this environment",
                f"export {name}, or write ${{{name}:-default}}",
            )
        return given

    return _VARIABLE.sub(fill, value)
