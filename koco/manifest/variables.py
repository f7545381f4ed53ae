"""`${NAME}` in the values of `runtime.env`: from the environment of whoever deploys."""

import re
from collections.abc import Mapping

from koco.manifest.problems import Wrong

_VARIABLE = re.compile(
    r"\$\$\{|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}|\$\{"
)


def names(value: str) -> list[str]:
    """Return the variables that a value needs: those without a default."""
    found = _VARIABLE.finditer(value)
    return [each["name"] for each in found if each["name"] and each["default"] is None]


def expand(value: str, environ: Mapping[str, str]) -> str:
    """Return a value with its variables filled in.

    Raises:
        Wrong: one is not set and has no default, or `${` begins none.
    """

    def fill(found: "re.Match[str]") -> str:
        name, default = found["name"], found["default"]
        if name is None:
            if found[0] == "$${":
                return "${"
            raise Wrong("'${' begins no variable here", "'${NAME}', or '$${' for the text itself")
        # As a shell has it: with a default, an empty one counts as none.
        given = _text(name, environ.get(name))
        if default is not None:
            return given or default
        if given is None:
            raise Wrong(
                f"${{{name}}} is not set in this environment",
                f"export {name}, or write ${{{name}:-default}}",
            )
        return given

    return _VARIABLE.sub(fill, value)


def _text(name: str, given: str | None) -> str | None:
    try:
        (given or "").encode()
    except UnicodeEncodeError:
        raise Wrong(f"${{{name}}} is no UTF-8 in this environment", "set it to text") from None
    return given
