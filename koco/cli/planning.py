"""What a deploy would do: asked of the control plane, refused where something is wrong.

Nothing is packed or uploaded for it: files are listed by their hashes.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from koco.errors import Interrupted, ManifestError, UsageError

if TYPE_CHECKING:
    from koco.client import Client
    from koco.manifest.plan import File
    from koco.project import Project, Target

#: The exit code of `koco plan --exit-code` where there is something to do.
CHANGES = 10


@dataclass(frozen=True)
class Planned:
    """A service as it is here, and what the plan says of it."""

    target: "Target"
    #: The manifest as data: what is sent is what was planned.
    manifest: dict[str, Any]
    files: list["File"]
    step: dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What the control plane answered, and what it was asked about."""

    answer: dict[str, Any]
    services: list[Planned]

    @property
    def removals(self) -> list[dict[str, Any]]:
        """The steps that remove a service."""
        return [step for step in self.answer["items"] if step["action"] == "remove"]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return all(step["action"] == "unchanged" for step in self.answer["items"])

    def check(self) -> None:
        """Tell of warnings, and raise `ManifestError` with all that is wrong with manifests."""
        from koco.cli import output

        for line in self._placed("warnings"):
            output.note(f"warning: {line}")
        for step in self.removals:
            for found in step["warnings"]:
                output.note(f"warning: {step['service']}: {found['message']} ({found['hint']})")
        if problems := self._placed("problems"):
            raise ManifestError(problems)

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
    from koco import project, projectfile

    if prune and manifests:
        raise UsageError(
            "--prune removes what the project's manifests do not name, so none can be left out",
            hint="either name manifests, or --prune",
        )
    found = project.targets(manifests)
    if prune and found[0].project is None:
        raise UsageError(
            f"--prune goes by the project, and there is no {projectfile.FILE} here or above",
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
    from koco import listing
    from koco.cli import python
    from koco.manifest import load

    python.check(client, chosen)
    asked = []
    for target in chosen:
        manifest, files = load.to_data(target.manifest), listing.of_files(target.files())
        asked.append((target, manifest, files))
    project = next((target.project.name for target in chosen if target.project), None)
    answer = client.plan(
        [(manifest, files) for _, manifest, files in asked], project=project, prune=prune
    )
    steps = {step["service"]: step for step in answer["items"]}
    services = [
        Planned(target, manifest, files, steps[manifest["service"]])
        for target, manifest, files in asked
    ]
    return Plan(answer, services)


def confirm(plan: Plan, *, yes: bool, as_json: bool) -> None:
    """Ask whether to remove what the plan removes, where somebody can be asked.

    Raises:
        UsageError: nobody can, and `--yes` does not say so.
        Interrupted: the answer is no.
    """
    from koco.cli import prompt

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
