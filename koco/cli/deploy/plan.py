"""Ask the control plane for the effect of a deploy, and refuse it if something is wrong.

This packs and uploads nothing, because files are listed by their hashes. Facts that only this
machine knows, such as files that are left out, are added to the answer.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from koco.errors import AnswerError, Interrupted, ManifestError, UsageError

if TYPE_CHECKING:
    from koco.client.client import Client
    from koco.manifest.differences import File
    from koco.project.bundle import Contents
    from koco.project.project import Project, Target
    from koco.project.secret_files import LeftOut

#: The exit code of `koco plan --exit-code` if there is something to do.
CHANGES = 10

#: Larger files cause a warning (bytes).
_LARGE_BYTES = 50_000_000
_HINT = "each change of the code sends them again; .kocoignore leaves files at home"

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
        from koco.manifest import load
        from koco.project import bundle

        found = cls(target, load.to_wire(target.manifest), [], [])
        return found.holding(bundle.read(target.tree))


@dataclass(frozen=True)
class Planned(Found):
    """A service in its local state, and its step of the plan."""

    step: dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """The control plane's answer, and the services that it is about."""

    answer: dict[str, Any]
    services: list[Planned]
    prune: bool

    @property
    def removals(self) -> list[dict[str, Any]]:
        """The steps that remove a service."""
        return [step for step in self.answer["items"] if step["action"] == "remove"]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return all(step["action"] == "unchanged" for step in self.answer["items"])

    @property
    def changed(self) -> list[Planned]:
        """The services that the plan changes."""
        return [each for each in self.services if each.step["action"] != "unchanged"]

    @property
    def problems(self) -> list[str]:
        """The problems of manifests, each with its place."""
        return self._placed("problems")

    def check(self) -> None:
        """Print warnings, and raise `ManifestError` with all problems of manifests."""
        from koco.cli.terminal import output

        for line in self._placed("warnings"):
            output.note(f"warning: {line}")
        for step in self.removals:
            for found in step["warnings"]:
                output.note(f"warning: {step['service']}: {found['message']} ({found['hint']})")
        if self.problems:
            raise ManifestError(self.problems)

    def _placed(self, key: str) -> list[str]:
        return [
            line
            for each in self.services
            for found in each.step[key]
            for line in each.target.problem(
                tuple(found["path"]), found["message"], found.get("hint")
            )
        ]


def targets(manifests: Sequence[str], *, prune: bool) -> list["Target"]:
    """Return the targets to deploy, with every manifest checked.

    Raises:
        ManifestError: some are invalid; it has all problems.
        UsageError: `prune` is not possible with these manifests.
    """
    from koco.project import config_file, project

    if prune and manifests:
        raise UsageError(
            "--prune removes what the project's manifests do not name, so none can be left out",
            hint="either name manifests, or --prune",
        )
    found = project.targets(manifests)
    if prune and found[0].project is None:
        raise UsageError(
            f"--prune goes by the project, and there is no {config_file.FILE} here or above",
            hint="`koco undeploy SERVICE` removes one service",
        )
    if prune and found[0].project is not None:
        _look_everywhere(found[0].project)
    valid, problems = project.check(found, environ=os.environ)
    if problems:
        raise ManifestError(problems)
    return valid


def _look_everywhere(project: "Project") -> None:
    """Raise `UsageError` if a folder that may have a manifest cannot be read.

    Otherwise a hidden manifest would count as removed, because globbing skips unreadable folders
    and broken links.
    """
    for pattern in project.patterns:
        if not set(pattern) & set("*?["):
            continue  # a path: a missing file is reported
        *parts, name = Path(pattern).parts
        for end in range(len(parts) + 1):
            for folder in _folders(project.root, parts[:end]):
                within = _listed(folder)
                lost = [each for each in within if fnmatch(each.name, name) and not each.exists()]
                if lost and end == len(parts):
                    raise _unseen(f"{lost[0]} is a link that leads nowhere")
        if not any(project.root.glob(pattern)):
            raise UsageError(
                f"nothing matches {pattern!r} of project.manifests, so --prune removes nothing",
                hint="is a folder missing here? If it is to go, take the pattern out of koco.toml",
            )


def _folders(root: Path, parts: Sequence[str]) -> list[Path]:
    found = root.glob("/".join(parts)) if parts else [root]
    return [path for path in found if path.is_dir()]


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as exc:
        raise _unseen(f"{folder} cannot be read: {exc.strerror}") from exc


def _unseen(what: str) -> UsageError:
    return UsageError(what, hint="a manifest may be there, so nothing is removed")


def make(client: "Client", chosen: Sequence["Target"], *, prune: bool) -> Plan:
    """Ask the control plane for the effect of deploying targets."""
    from koco.cli.deploy import python_check

    python_check.check(client, chosen)
    return ask(client, [Found.at(target) for target in chosen], prune=prune)


def ask(client: "Client", found: Sequence[Found], *, prune: bool) -> Plan:
    """Ask the control plane for the effect of deploying services in this state."""
    project = next((each.target.project.name for each in found if each.target.project), None)
    answer = client.plan(
        [(each.manifest, each.files) for each in found], project=project, prune=prune
    )
    steps = {step["service"]: step for step in answer["items"]}
    if lacking := [each.service for each in found if each.service not in steps]:
        raise AnswerError(f"{client.url} does not say what becomes of {', '.join(lacking)}")
    services = []
    for each in found:
        step = steps[each.service]
        _add(step, each)
        services.append(Planned(each.target, each.manifest, each.files, each.left_out, step))
    return Plan(answer, services, prune)


def _add(step: dict[str, Any], found: Found) -> None:
    """Add the facts that only this machine knows to a step."""
    step["ships"] = {
        "files": len(found.files),
        "size_bytes": sum(file.size_bytes for file in found.files),
    }
    if step["action"] == "create":
        added = {"change": "added", "old_bytes": None}
        step["files"] = [
            {"path": file.path, **added, "new_bytes": file.size_bytes} for file in found.files
        ]
    step["left_out"] = [
        {"path": each.name, "looks_like": each.looks_like} for each in found.left_out
    ]
    if step["action"] != "unchanged" and (heavy := _heavy(found.files)):
        step["warnings"].append({"message": heavy, "hint": _HINT, "path": []})


def _heavy(files: "Sequence[File]") -> str | None:
    """Return a warning about files that are large, each or in total."""
    large = [file for file in files if file.size_bytes > _LARGE_BYTES]
    if not large and sum(file.size_bytes for file in files) <= _LARGE_BYTES:
        return None
    what = f"files above {_LARGE_BYTES / 1e6:.0f} MB" if large else f"{_megabytes(*files)} of files"
    largest = sorted(large or files, key=lambda file: -file.size_bytes)
    named = [f"{file.path} ({_megabytes(file)})" for file in largest[:_NAMED]]
    more = f" and {len(large) - _NAMED} more" if len(large) > _NAMED else ""
    return f"this ships {what}: {', '.join(named)}{more}"


def _megabytes(*files: "File") -> str:
    return f"{sum(file.size_bytes for file in files) / 1e6:.1f} MB"


def confirm(plan: Plan, *, yes: bool, as_json: bool) -> None:
    """Ask for confirmation of the plan's removals, if a person can be asked.

    Raises:
        UsageError: no person can be asked, and `--yes` is not given.
        Interrupted: the answer is no.
    """
    from koco.cli.inputs import prompt

    names = ", ".join(step["service"] for step in plan.removals)
    if not names or yes:
        return
    if as_json or not prompt.can_ask(False):
        raise UsageError(
            f"this would remove {names}, and nobody is here to be asked",
            hint="--yes removes without asking; without --prune nothing is removed",
        )
    if not prompt.agrees(f"Remove {names}?"):
        raise Interrupted("nothing was deployed and nothing removed")
