"""Checks of a manifest that need the control plane: its cluster, settings and secrets.

A plan shows their findings. A deploy is refused because of them before anything is made.
"""

import asyncio
import importlib.util
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Protocol, TypedDict

import msgspec

from koco.cluster import placement, serve_options
from koco.control.services.secrets import Vault
from koco.control.settings import Settings
from koco.errors import ManifestError
from koco.forms.off_loop import run_check
from koco.manifest import key_literals, load, module_check, problems
from koco.manifest.model import Manifest
from koco.sizes import KB


class Finding(TypedDict):
    """A problem, a hint how to fix it, and its path: keys and indices from the manifest's root."""

    message: str
    hint: str | None
    path: list[str | int]


class Nodes(Protocol):
    """Knows the cluster's nodes."""

    async def nodes(self) -> list[placement.Node]:
        """Return the nodes as they are now."""
        ...


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
    def cluster(self) -> Nodes:
        """The cluster that runners start on."""
        ...


#: Checks a manifest, including its defaults, and returns all problems.
Check = Callable[[Context, Manifest], Awaitable[list[Finding]]]

#: Modules that `ray[serve]` installs, and that koco never installs with its own dependencies.
_OF_SERVE = ("fastapi", "starlette")
_NO_NODE = "runners wait until a node has it: start one, unless the cluster's autoscaler does"


async def check_serve(_: Context, manifest: Manifest) -> list[Finding]:
    """Return a finding if the manifest has an app, and the cluster's Ray has no Serve."""
    if not manifest.app or all(importlib.util.find_spec(name) for name in _OF_SERVE):
        return []
    return [
        {
            "message": "the cluster's Ray has no Serve, which an app needs",
            "hint": "run `pip install 'ray[serve]'` on each node and restart Ray there",
            "path": ["app"],
        }
    ]


async def check_serve_options(_: Context, manifest: Manifest) -> list[Finding]:
    """Return a finding for each option in `serve` that the installed Ray refuses."""
    if not manifest.serve:
        return []
    # In a thread, and only here: importing Serve takes a third of a second and 50 MB.
    found = await asyncio.to_thread(serve_options.problems_of, manifest.serve)
    return [{"message": each.message, "hint": each.hint, "path": [*each.path]} for each in found]


async def check_forms(context: Context, manifest: Manifest) -> list[Finding]:
    """Return a finding for each form that is larger than the setting `max_form_kb`."""
    most_kb = context.settings.max_form_kb
    found: list[Finding] = []
    for number, flow in enumerate(manifest.flows):
        size_kb = len(msgspec.json.encode(flow.inputs or [])) / KB
        if size_kb > most_kb:
            said = f"the form has {size_kb:.0f} kB; this control plane's max_form_kb is {most_kb:g}"
            hint = "replace long lists of choices by a file, or by a text that the flow checks"
            found.append({"message": said, "hint": hint, "path": ["flows", number, "inputs"]})
    return found


async def check_secrets(context: Context, manifest: Manifest) -> list[Finding]:
    """Return a finding for each secret of a manifest that is not set or cannot be read."""
    known = {each["name"]: each["trouble"] for each in await context.vault.listing()}
    findings: list[Finding] = []
    for index, name in enumerate(manifest.secrets):
        message = known.get(name, f"there is no secret {name!r}")
        if message is not None:
            hint = f"`koco secret set {name}`" if name not in known else "`koco secret list`"
            findings.append({"message": message, "hint": hint, "path": ["secrets", index]})
    return findings


async def warn_of_placement(context: Context, manifest: Manifest) -> list[Finding]:
    """Return a finding if no node could take a runner. One may still be added later."""
    runner = manifest.runner
    if not (runner.resources or runner.labels):
        return []
    why = placement.misfit(runner, await context.cluster.nodes())
    return [{"message": why, "hint": _NO_NODE, "path": ["runner"]}] if why else []


async def warn_of_keys(_: Context, manifest: Manifest) -> list[Finding]:
    """Return a finding for each value in a manifest that should be a secret."""
    return [
        {"message": each.message, "hint": each.hint, "path": list(each.path)}
        for each in key_literals.find_problems(load.to_data(manifest))
    ]


#: A release is refused for these.
CHECKS: list[Check] = [check_serve, check_serve_options, check_forms, check_secrets]

#: A plan warns of these, but a release is not refused for them.
WARNINGS: list[Check] = [warn_of_placement, warn_of_keys]


def of_files(manifest: Manifest, names: Collection[str]) -> list[Finding]:
    """Return the problems with a bundle's files that would break the import of an entrypoint."""
    found = [*module_check.find_missing(manifest, names), *module_check.find_shadows(names)]
    return [Finding(message=p.message, hint=p.hint, path=[*p.path]) for p in found]


def notes_of_files(manifest: Manifest, names: Collection[str]) -> list[Finding]:
    """Return a finding for each entrypoint whose module can only come from a dependency."""
    found = module_check.find_foreign(manifest, names)
    return [Finding(message=p.message, hint=p.hint, path=[*p.path]) for p in found]


async def find(
    context: Context, manifest: Manifest, checks: Iterable[Check] = CHECKS
) -> list[Finding]:
    """Run the checks and return their findings, in the order of the checks."""
    found = await asyncio.gather(*(check(context, manifest) for check in checks))
    return [each for findings in found for each in findings]


async def refuse(
    context: Context, manifest: Manifest, names: Collection[str] | None = None
) -> None:
    """Refuse a manifest with problems, and its bundle if `names` lists the bundle's files.

    Raises:
        ManifestError: It lists all problems.
    """
    found = await find(context, manifest)
    if names is not None:
        found += await run_check(lambda: of_files(manifest, names), is_quick=False)
    if found:
        raise ManifestError([sentence(each) for each in found])


def sentence(finding: Finding) -> str:
    """Return a finding as one line: `serve.num_replicas: message (hint: …)`."""
    return str(problems.Problem(tuple(finding["path"]), finding["message"], finding["hint"]))
