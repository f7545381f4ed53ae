"""What of a manifest only the control plane can check: against its cluster and its secrets.

A plan tells what they find, and a release is refused for it, before anything is made.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, TypedDict

from koco.control import extra, options, placing, sizes
from koco.errors import ManifestError
from koco.manifest import problems

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


async def find(
    parts: "Parts", manifest: dict[str, Any], checks: Iterable[Check] = CHECKS
) -> list[Finding]:
    """Return everything that the checks find, in their order."""
    found = await asyncio.gather(*(check(parts, manifest) for check in checks))
    return [each for findings in found for each in findings]


async def refuse(parts: "Parts", manifest: dict[str, Any]) -> None:
    """Raise `ManifestError` with all that is wrong with a manifest, if anything is."""
    if found := await find(parts, manifest):
        raise ManifestError([sentence(each) for each in found])


def sentence(finding: Finding) -> str:
    """Return a finding as one line: `serve.num_replicas: what (hint: …)`."""
    return str(problems.Problem(tuple(finding["path"]), finding["message"], finding["hint"]))
