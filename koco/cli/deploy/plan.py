"""What a deploy would do: asked of the control plane, refused where something is wrong.

Nothing is packed or uploaded for it: files are listed by their hashes. What only this machine
knows, such as what is left at home, is added to the answer.
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

#: The exit code of `koco plan --exit-code` where there is something to do.
CHANGES = 10

#: From here on a file is remarkable enough for a warning (bytes).
_LARGE_BYTES = 50_000_000
_HINT = "each change of the code sends them again; .kocoignore leaves files at home"

#: How many of the largest files are named where all are large together.
_NAMED = 5


@dataclass(frozen=True)
class Found:
    """A service as it is here: what is sent of it is what was planned."""

    target: "Target"
    #: The manifest as data.
    manifest: dict[str, Any]
    #: Its files as they were read.
    files: list["File"]
    #: What is not shipped as it looks like a secret.
    left_out: list["LeftOut"]

    @property
    def service(self) -> str:
        """The service's name."""
        name: str = self.manifest["service"]
        return name

    def holding(self, contents: "Contents") -> "Found":
        """Return it with other files."""
        return replace(self, files=contents.files, left_out=contents.left_out)

    @classmethod
    def at(cls, target: "Target") -> "Found":
        """Return a target as it is now."""
        from koco.manifest import load
        from koco.project import bundle

        found = cls(target, load.to_wire(target.manifest), [], [])
        return found.holding(bundle.read(target.tree))


@dataclass(frozen=True)
class Planned(Found):
    """A service as it is here, and what the plan says of it."""

    step: dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What the control plane answered, and what it was asked about."""

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
        """The services that are not left as they are."""
        return [each for each in self.services if each.step["action"] != "unchanged"]

    @property
    def problems(self) -> list[str]:
        """What is wrong with manifests, each with its place."""
        return self._placed("problems")

    def check(self) -> None:
        """Tell of warnings, and raise `ManifestError` with all that is wrong with manifests."""
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
    """Return what is to be deployed, every manifest checked.

    Raises:
        ManifestError: some are wrong; all problems at once.
        UsageError: `prune` does not go with that.
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
    """Raise `UsageError` where a manifest might be that cannot be seen: it must not count as gone.

    Globbing passes over folders that cannot be read, and over links that lead nowhere.
    """
    for pattern in project.patterns:
        if not set(pattern) & set("*?["):
            continue  # a path: where nothing is, that is told
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
    """Ask the control plane what deploying these would do."""
    from koco.cli.deploy import python_check

    python_check.check(client, chosen)
    return ask(client, [Found.at(target) for target in chosen], prune=prune)


def ask(client: "Client", found: Sequence[Found], *, prune: bool) -> Plan:
    """Ask the control plane what deploying services as they were found would do."""
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
    """Add to a step what only this machine knows."""
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
    """Return what there is to say of files that are large, each or together."""
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
    """Ask whether to remove what the plan removes, where somebody can be asked.

    Raises:
        UsageError: nobody can, and `--yes` does not say so.
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
