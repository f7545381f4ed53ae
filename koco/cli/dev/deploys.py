"""Deploy what is in the files now, in a thread."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from koco.cli import connection
from koco.cli.deploy import plan, ship
from koco.cli.dev.happenings import Begun, Deployed, Failed, Happening, Planned, Told
from koco.cli.dev.sources import Sources
from koco.cli.own.services import Services
from koco.errors import KocoError, unexpected
from koco.plurals import counted
from koco.project import project

#: How many changed files a line of the plan names.
_NAMED = 3


class Deploys:
    """Deploys one after the other. Each has a number, its turn."""

    def __init__(
        self,
        services: Services,
        manifests: Sequence[str],
        report: Callable[[Happening], object],
        *,
        env_files: Sequence[Path] = (),
        as_json: bool = False,
    ) -> None:
        self._services = services
        self._manifests = manifests
        self._report = report
        self._env_files = env_files
        self._as_json = as_json
        self._thread: threading.Thread | None = None
        #: The number of the last deploy.
        self.turn = 0

    def begin(self) -> None:
        """Begin a deploy, whose outcome is reported."""
        self.turn += 1
        self._thread = threading.Thread(
            target=self._run, args=(self.turn,), name="koco-deploy", daemon=True
        )
        self._thread.start()

    def join(self, timeout_s: float) -> bool:
        """Wait until the last deploy is over; return whether it is."""
        if self._thread is None:
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self, turn: int) -> None:
        try:
            targets = self._services.own(self._find(turn))
            releases = self._services.deploy(
                targets, on_plan=lambda made: self._tell(turn, made), report=self._steps(turn)
            )
            names = tuple(each.manifest.service for each in targets)
            self._report(Deployed(turn, tuple(releases), names))
        except KocoError as exc:
            self._report(Failed(turn, exc))
        except Exception as exc:  # noqa: BLE001 - reported by the loop, which goes on
            self._report(Failed(turn, unexpected(exc)))

    def _find(self, turn: int) -> list[project.Target]:
        """Return the targets, after reporting their sources as they were before they are read."""
        found: list[project.Target] = []
        folders: tuple[Path, ...] = (Path.cwd(),)
        try:
            found = project.targets(self._manifests)
            folders = _folders(found)
            found = project.in_environment(
                found, connection.environment(), env_files=self._env_files
            )
        finally:
            self._report(Begun(turn, Sources(found, folders)))
        return found

    def _steps(self, turn: int) -> ship.Report | None:
        """Return what reports the steps of a deploy to programs."""
        if not self._as_json:
            return None
        return ship.Report(
            as_json=True, emit=lambda kind, told: self._report(Told(turn, kind, told))
        )

    def _tell(self, turn: int, made: plan.Plan) -> None:
        if self._as_json:
            self._report(Told(turn, "plan", dict(made.answer)))
        lines = tuple(_line(each) for each in made.changed)
        if lines:
            self._report(Planned(turn, lines))


def _folders(found: Sequence[project.Target]) -> tuple[Path, ...]:
    """Return the folders of manifests and of their projects."""
    folders = {each.manifest_path.parent for each in found}
    folders |= {each.project.root for each in found if each.project is not None}
    return tuple(sorted(folders))


def _line(each: plan.Planned) -> str:
    """Return a service's step of the plan in one line."""
    step = each.step
    facts = [each.service, step["action"]]
    if step["action"] == "create":
        facts.append(counted(step["ships"]["files"], "file"))
        return "  ".join(facts)
    files = [change["path"] for change in step["files"]]
    named = ", ".join(files[:_NAMED])
    more = f" and {len(files) - _NAMED} more" if len(files) > _NAMED else ""
    others = [part for part in step["parts"] if part != "code"]
    return "  ".join([*facts, ", ".join([*others, *([named + more] if named else [])])]).rstrip()
