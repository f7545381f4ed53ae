"""Check before the upload whether the cluster's Python suits a service."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from koco.errors import ManifestError
from koco.manifest import package_check

if TYPE_CHECKING:
    from koco.client.client import Client
    from koco.project.project import Target


def check(client: "Client", targets: Sequence["Target"]) -> None:
    """Raise `ManifestError` if a pyproject.toml requires another Python than the cluster's.

    It is the pyproject.toml that the manifest names, or else the one in its folder.
    """
    wanted = [(target, required) for target in targets if (required := _required_python(target))]
    if not wanted:
        return
    python = client.status()["ray"].get("python")
    if not python:
        return  # an older control plane does not say
    problems = [line for target, required in wanted for line in _problem(target, required, python)]
    if problems:
        raise ManifestError(problems)


def _required_python(target: "Target") -> str | None:
    path = target.root / (target.manifest.runtime.pyproject or "pyproject.toml")
    try:
        return package_check.required_python(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError):
        return None


def _problem(target: "Target", wanted: str, python: str) -> list[str]:
    # Only for projects that require a Python.
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    named = target.manifest.runtime.pyproject
    try:
        if SpecifierSet(wanted).contains(python, prereleases=True):
            return []
    except InvalidSpecifier as exc:
        message, hint = f"requires-python: {exc}", None
    else:
        message = f"requires-python is {wanted!r}, but the cluster has Python {python}"
        hint = "run the cluster's Ray with such a Python, or loosen requires-python"
    path = ("runtime", "pyproject") if named else ("service",)
    return target.problem(path, f"{named or 'pyproject.toml'}: {message}", hint)
