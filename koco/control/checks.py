"""What of a manifest only the control plane can check: against its cluster and its secrets.

A plan tells what they find, and a release is refused for it, before anything is made.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any, TypedDict

from koco.control import extra, options, placing, sizes
from koco.errors import ManifestError
from koco.manifest import load, modules, problems

if TYPE_CHECKING:
    from koco.control.parts import Parts


class Finding(TypedDict):
    """What is wrong, how to mend it, and where: keys and indices from the manifest's root."""

    message: str
    hint: str | None
    path: list[str | int]


#: Looks at a manifest, its defaults included, and returns everything that it finds wrong.
Check = Callable[["Parts", dict[str, Any]], Awaitable[list[Finding]]]

#: What a release is refused for.
CHECKS: list[Check] = [extra.check, options.check, sizes.check_forms]

#: What a plan warns of, and a release is not refused for.
WARNINGS: list[Check] = [placing.warn]


def of_files(manifest: dict[str, Any], names: Collection[str]) -> list[Finding]:
    """Return what is wrong with the files of a bundle: no entrypoint could be imported."""
    checked = load.check(manifest)
    found = [*modules.find_missing(checked, names), *modules.find_shadows(names)]
    return [Finding(message=p.message, hint=p.hint, path=[*p.path]) for p in found]


def notes_of_files(manifest: dict[str, Any], names: Collection[str]) -> list[Finding]:
    """Return what a bundle lacks, and a dependency may bring."""
    found = modules.find_foreign(load.check(manifest), names)
    return [Finding(message=p.message, hint=p.hint, path=[*p.path]) for p in found]


async def find(
    parts: "Parts", manifest: dict[str, Any], checks: Iterable[Check] = CHECKS
) -> list[Finding]:
    """Return everything that the checks find, in their order."""
    found = await asyncio.gather(*(check(parts, manifest) for check in checks))
    return [each for findings in found for each in findings]


async def refuse(
    parts: "Parts", manifest: dict[str, Any], names: Collection[str] | None = None
) -> None:
    """Raise `ManifestError` with all that is wrong with a manifest, if anything is.

    And with its bundle, if `names` has the files in it.
    """
    found = await find(parts, manifest)
    found += of_files(manifest, names) if names is not None else []
    if found:
        raise ManifestError([sentence(each) for each in found])


def sentence(finding: Finding) -> str:
    """Return a finding as one line: `serve.num_replicas: what (hint: …)`."""
    return str(problems.Problem(tuple(finding["path"]), finding["message"], finding["hint"]))
