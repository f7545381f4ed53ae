"""The names of a new service and of its package."""

import keyword
import sys
from dataclasses import dataclass

from koco.errors import UsageError
from koco.manifest.rules import slug

#: Names that the user's package must not have: one would hide the other, and a project that is
#: called like a package that it needs cannot be installed.
_TAKEN = frozenset(
    {
        *sys.stdlib_module_names,
        *("koco", "koco_deploy", "ray", "tests", "pytest", "httpx", "fastapi"),
    }
)

#: What templates have in contents and paths in place of the names. They are valid names in Python,
#: and nothing means them but a template.
SERVICE, PACKAGE = "__SERVICE__", "__PACKAGE__"


@dataclass(frozen=True)
class Names:
    """The names of a new service and of its package."""

    service: str
    package: str

    @classmethod
    def of(cls, text: str) -> "Names":
        """Return names derived from a folder's name, or from the requested one."""
        service = slug(text)
        if not service:
            raise UsageError(
                f"{text!r} cannot be made a service's name", hint="--name gives it another name"
            )
        package = service.replace("-", "_")
        is_free = package not in _TAKEN and not keyword.iskeyword(package)
        return cls(service, package if is_free else f"{package}_flows")

    def fill(self, text: str) -> str:
        """Return a text with its placeholders replaced."""
        return text.replace(SERVICE, self.service).replace(PACKAGE, self.package)
