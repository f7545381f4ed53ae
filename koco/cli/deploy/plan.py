"""Ask the control plane for the effect of a deploy, and refuse it if something is wrong.

This packs and uploads nothing, because files are listed by their hashes. Facts that only this
machine knows, such as files that are left out, are added to the answer.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict, cast

from koco.cli.deploy import python_check
from koco.cli.inputs import prompt
from koco.cli.terminal import output
from koco.client import answers
from koco.client.answers import Step
from koco.errors import AnswerError, ManifestError, UsageError
from koco.manifest import load
from koco.project import bundle, config_file, project
from koco.sizes import MB, format_size
from koco.tokens import MASK

if TYPE_CHECKING:
    from koco.client.client import Client
    from koco.manifest.differences import File
    from koco.project.bundle import Contents
    from koco.project.project import Project, Target
    from koco.project.secret_files import LeftOut

#: The path of the environment variables in a manifest.
_ENV = "runtime.env"

#: The exit code of `koco plan --exit-code` if there is something to do.
CHANGES = 10

#: Larger files cause a warning (bytes).
_LARGE_BYTES = 50 * MB
_HINT = "each change of the code uploads them again; .kocoignore leaves files out"

#: The number of files to name if the files are only large in total.
_NAMED = 5


@dataclass(frozen=True)
class Found:
    """A service in its local state. The state that is planned is the state that is sent."""

    target: "Target"
    #: The manifest as data.
    manifest: dict[str, Any]
    #: Its files as they were read.
    files: list["File"]
    #: Files that are not shipped because they look like secrets.
    left_out: list["LeftOut"]

    @property
    def service(self) -> str:
        """The service's name."""
        name: str = self.manifest["service"]
        return name

    def holding(self, contents: "Contents") -> "Found":
        """Return a copy with other files."""
        return replace(self, files=contents.files, left_out=contents.left_out)

    @classmethod
    def at(cls, target: "Target") -> "Found":
        """Return a target in its current state."""
        found = cls(target, load.to_wire(target.manifest), [], [])
        return found.holding(bundle.read(target.tree))


class Ships(TypedDict):
    """What a deploy would ship for a service."""

    files: int
    size_bytes: int


class LeftOutFile(TypedDict):
    """A file that is not shipped, and the kind of secret that it looks like."""

    path: str
    looks_like: str


class FullStep(Step):
    """A step of the plan, with the facts that only this machine knows."""

    ships: NotRequired[Ships]
    left_out: NotRequired[list[LeftOutFile]]


@dataclass(frozen=True)
class Planned(Found):
    """A service in its local state, and its step of the plan."""

    step: FullStep


@dataclass(frozen=True)
class Plan:
    """The control plane's answer, and the services that it is about."""

    answer: answers.Plan
    services: list[Planned]
    prune: bool

    @property
    def steps(self) -> list[FullStep]:
        """The steps, one for each service."""
        return cast("list[FullStep]", self.answer["items"])

    @property
    def removals(self) -> list[FullStep]:
        """The steps that remove a service."""
        return [step for step in self.steps if step["action"] == "remove"]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return all(step["action"] == "unchanged" for step in self.steps)

    @property
    def changed(self) -> list[Planned]:
        """The services that the plan changes."""
        return [each for each in self.services if each.step["action"] != "unchanged"]

    @property
    def problems(self) -> list[str]:
        """The problems of manifests, each with its place."""
        return self._locate(are_problems=True)

    def check(self) -> None:
        """Print warnings, and raise `ManifestError` with all problems of manifests."""
        self.warn()
        if self.problems:
            raise ManifestError(self.problems)

    def warn(self, whose: str = "") -> None:
        """Print warnings; `whose` is put before each."""
        for line in self._locate(are_problems=False):
            output.note(f"warning: {whose}{line}")
        for step in self.removals:
            for found in step["warnings"]:
                what = f"{step['service']}: {found['message']} ({found.get('hint')})"
                output.note(f"warning: {whose}{what}")

    def _locate(self, *, are_problems: bool) -> list[str]:
        return [
            line
            for each in self.services
            for found in (each.step["problems"] if are_problems else each.step["warnings"])
            for line in each.target.problem(
                tuple(found["path"]), found["message"], found.get("hint")
            )
        ]


def targets(
    manifests: Sequence[str],
    *,
    prune: bool,
    env: str | None = None,
    env_files: Sequence[Path] = (),
) -> list["Target"]:
    """Return the targets to deploy, in an environment, with every manifest checked.

    Raises:
        ManifestError: some are invalid; it has all problems.
        UsageError: `prune` is not possible with these manifests.
    """
    if prune and manifests:
        raise UsageError(
            "--prune needs all manifests of the project, so do not name manifests",
            hint="use either --prune or names of manifests",
        )
    found = project.targets(manifests)
    if prune and found[0].project is None:
        raise UsageError(
            f"--prune needs a project, but there is no {config_file.FILE} here or above",
            hint="`koco undeploy SERVICE` removes one service",
        )
    if prune and found[0].project is not None:
        _require_readable(found[0].project)
    found = project.in_environment(found, env, env_files=env_files)
    valid, problems = project.check(found, environ=os.environ)
    if problems:
        raise ManifestError(problems)
    return valid


def _require_readable(found: "Project") -> None:
    """Raise `UsageError` if a folder that may have a manifest cannot be read.

    Otherwise a hidden manifest would count as removed, because globbing skips unreadable folders
    and broken links.
    """
    for pattern in found.patterns:
        if not set(pattern) & set("*?["):
            continue  # a path: a missing file is reported
        *parts, name = Path(pattern).parts
        for end in range(len(parts) + 1):
            for folder in _folders(found.root, parts[:end]):
                within = _list(folder)
                lost = [each for each in within if fnmatch(each.name, name) and not each.exists()]
                if lost and end == len(parts):
                    raise _unreadable(f"{lost[0]} is a broken link")
        if not any(found.root.glob(pattern)):
            raise UsageError(
                f"nothing matches {pattern!r} of project.manifests, so --prune removes nothing",
                hint="is a folder missing here? If not, remove the pattern from koco.toml",
            )


def _folders(root: Path, parts: Sequence[str]) -> list[Path]:
    found = root.glob("/".join(parts)) if parts else [root]
    return [path for path in found if path.is_dir()]


def _list(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as exc:
        raise _unreadable(f"{folder} cannot be read: {exc.strerror}") from exc


def _unreadable(what: str) -> UsageError:
    return UsageError(what, hint="it may contain a manifest, so nothing is removed")


def make(client: "Client", chosen: Sequence["Target"], *, prune: bool) -> Plan:
    """Ask the control plane for the effect of deploying targets."""
    python_check.check(client, chosen)
    return ask(client, [Found.at(target) for target in chosen], prune=prune)


def ask(client: "Client", found: Sequence[Found], *, prune: bool) -> Plan:
    """Ask the control plane for the effect of deploying services in this state."""
    name = next((each.target.project.name for each in found if each.target.project), None)
    answer = client.plan([(each.manifest, each.files) for each in found], project=name, prune=prune)
    plan = Plan(answer, [], prune)
    steps = {step["service"]: step for step in plan.steps}
    if lacking := [each.service for each in found if each.service not in steps]:
        raise AnswerError(f"{client.url} sent a plan without {', '.join(lacking)}")
    for each in found:
        step = steps[each.service]
        _add_local_facts(step, each)
        plan.services.append(Planned(each.target, each.manifest, each.files, each.left_out, step))
    return plan


def _add_local_facts(step: FullStep, found: Found) -> None:
    """Add the facts that only this machine knows to a step, and hide values of `.env` files."""
    _hide(step["changes"], found.target.hidden_env)
    step["ships"] = {
        "files": len(found.files),
        "size_bytes": sum(file.size_bytes for file in found.files),
    }
    if step["action"] == "create":
        step["files"] = [
            {"path": file.path, "change": "added", "old_bytes": None, "new_bytes": file.size_bytes}
            for file in found.files
        ]
    step["left_out"] = [
        {"path": each.name, "looks_like": each.looks_like} for each in found.left_out
    ]
    if step["action"] != "unchanged" and (heavy := _heavy(found.files)):
        step["warnings"].append({"message": heavy, "hint": _HINT, "path": []})


def _hide(changes: list[answers.Change], names: set[str]) -> None:
    """Hide the values of some keys of `runtime.env`."""
    for change in changes:
        for side in ("old", "new"):
            value = change.get(side)
            if change["path"] in {f"{_ENV}.{name}" for name in names} and value is not None:
                change[side] = MASK
            elif change["path"] == _ENV and isinstance(value, dict):
                hidden = {key: MASK if key in names else each for key, each in value.items()}
                change[side] = hidden


def _heavy(files: "Sequence[File]") -> str | None:
    """Return a warning about files that are large, each or in total."""
    large = [file for file in files if file.size_bytes > _LARGE_BYTES]
    total_bytes = sum(file.size_bytes for file in files)
    if not large and total_bytes <= _LARGE_BYTES:
        return None
    what = f"{format_size(total_bytes)} of files"
    if large:
        what = f"files above {format_size(_LARGE_BYTES)}"
    largest = sorted(large or files, key=lambda file: -file.size_bytes)
    named = [f"{file.path} ({format_size(file.size_bytes)})" for file in largest[:_NAMED]]
    more = f" and {len(large) - _NAMED} more" if len(large) > _NAMED else ""
    return f"this ships {what}: {', '.join(named)}{more}"


def confirm(plan: Plan, *, yes: bool, as_json: bool) -> None:
    """Ask for confirmation of the plan's removals, if a person can be asked.

    Raises:
        UsageError: no person can be asked, and `--yes` is not given.
        Interrupted: the answer is no.
    """
    confirm_removal(", ".join(step["service"] for step in plan.removals), yes=yes, as_json=as_json)


def confirm_removal(names: str, *, yes: bool, as_json: bool) -> None:
    """Ask for confirmation of a removal; without names there is nothing to confirm."""
    if not names or yes:
        return
    prompt.confirm(
        f"Remove {names}?",
        action=f"remove {names}",
        unchanged="nothing was deployed or removed",
        as_json=as_json,
        hint="; without `--prune` nothing is removed",
    )
