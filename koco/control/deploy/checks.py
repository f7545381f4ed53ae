"""Checks of a manifest that need the control plane: its cluster, settings and secrets.

A plan shows the problems that they find. A deploy is refused because of them before anything is
made.
"""

import asyncio
import importlib.util
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import TYPE_CHECKING, Protocol

import msgspec

from koco.cluster import placement, serve_options
from koco.control.cluster_overview import Overview
from koco.control.services.secrets import Vault
from koco.control.settings import Settings
from koco.errors import ManifestError
from koco.forms.off_loop import run_check
from koco.manifest import key_literals, load, module_check
from koco.manifest.problems import Problem
from koco.sizes import KB

if TYPE_CHECKING:
    from koco.manifest.model import Manifest


class Context(Protocol):
    """The parts of a control plane that manifests are checked against."""

    @property
    def settings(self) -> Settings:
        """The settings of the control plane."""
        ...

    @property
    def vault(self) -> Vault:
        """The secrets of services."""
        ...

    @property
    def cluster(self) -> Overview:
        """The cluster that runners start on."""
        ...


#: Checks a manifest, including its defaults, and returns all problems.
Check = Callable[[Context, "Manifest"], Awaitable[list[Problem]]]

#: Modules that `ray[serve]` installs, and that koco never installs with its own dependencies.
_OF_SERVE = ("fastapi", "starlette")
_NO_NODE = "runners wait until a node has it: start one, unless the cluster's autoscaler does"


async def check_serve(_: Context, manifest: "Manifest") -> list[Problem]:
    """Return a problem if the manifest has an app, and the cluster's Ray has no Serve."""
    if not manifest.app or all(importlib.util.find_spec(name) for name in _OF_SERVE):
        return []
    hint = "run `pip install 'ray[serve]'` on each node and restart Ray there"
    return [Problem(("app",), "the cluster's Ray has no Serve, which an app needs", hint)]


async def check_serve_options(_: Context, manifest: "Manifest") -> list[Problem]:
    """Return a problem for each option in `serve` that the installed Ray refuses."""
    if not manifest.serve:
        return []
    # In a thread, and only here: importing Serve takes a third of a second and 50 MB.
    return await asyncio.to_thread(serve_options.problems_of, manifest.serve)


async def check_forms(context: Context, manifest: "Manifest") -> list[Problem]:
    """Return a problem for each form that is larger than the setting `max_form_kb`."""
    most_kb = context.settings.max_form_kb
    found: list[Problem] = []
    for number, flow in enumerate(manifest.flows):
        size_kb = len(msgspec.json.encode(flow.inputs or [])) / KB
        if size_kb > most_kb:
            message = (
                f"the form has {size_kb:.0f} kB; this control plane's max_form_kb is {most_kb:g}"
            )
            hint = "replace long lists of choices by a file, or by a text that the flow checks"
            found.append(Problem(("flows", number, "inputs"), message, hint))
    return found


async def check_secrets(context: Context, manifest: "Manifest") -> list[Problem]:
    """Return a problem for each secret of a manifest that is not set or cannot be read."""
    known = {each.name: each.trouble for each in await context.vault.listing()}
    found: list[Problem] = []
    for index, name in enumerate(manifest.secrets):
        message = known.get(name, f"there is no secret {name!r}")
        if message is not None:
            hint = f"`koco secret set {name}`" if name not in known else "`koco secret list`"
            found.append(Problem(("secrets", index), message, hint))
    return found


async def warn_of_placement(context: Context, manifest: "Manifest") -> list[Problem]:
    """Return a problem if no node could take a runner. One may still be added later."""
    runner = manifest.runner
    if not (runner.resources or runner.labels):
        return []
    why = placement.misfit(runner, await context.cluster.nodes())
    return [Problem(("runner",), why, _NO_NODE)] if why else []


async def warn_of_keys(_: Context, manifest: "Manifest") -> list[Problem]:
    """Return a problem for each value in a manifest that should be a secret."""
    return key_literals.find_problems(load.to_data(manifest))


#: A release is refused for these.
CHECKS: list[Check] = [check_serve, check_serve_options, check_forms, check_secrets]

#: A plan warns of these, but a release is not refused for them.
WARNINGS: list[Check] = [warn_of_placement, warn_of_keys]


def of_files(manifest: "Manifest", names: Collection[str]) -> list[Problem]:
    """Return the problems with a bundle's files that would break the import of an entrypoint."""
    return [*module_check.find_missing(manifest, names), *module_check.find_shadows(names)]


async def find(
    context: Context, manifest: "Manifest", checks: Iterable[Check] = CHECKS
) -> list[Problem]:
    """Run the checks and return their problems, in the order of the checks."""
    found = await asyncio.gather(*(check(context, manifest) for check in checks))
    return [each for problems in found for each in problems]


async def refuse(
    context: Context, manifest: "Manifest", names: Collection[str] | None = None
) -> None:
    """Refuse a manifest with problems, and its bundle if `names` lists the bundle's files.

    Raises:
        ManifestError: It lists all problems.
    """
    found = await find(context, manifest)
    if names is not None:
        found += await run_check(lambda: of_files(manifest, names), is_quick=False)
    if found:
        raise ManifestError([str(each) for each in found])
