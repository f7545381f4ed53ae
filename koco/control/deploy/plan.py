"""Plans a deploy: compares a project with live and starting releases. It changes nothing."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from koco.cluster.dashboard import ServeError
from koco.control.deploy import checks
from koco.control.deploy.deployer import Deployer
from koco.control.services.bundles import Bundles
from koco.errors import NotFoundError, UsageError
from koco.forms.off_loop import is_small, run_check
from koco.manifest import differences, load, module_check
from koco.manifest.problems import Problem
from koco.plurals import counted
from koco.store.model import Release
from koco.store.store import Store

if TYPE_CHECKING:
    from koco.manifest.model import Manifest

Action = Literal["create", "update", "unchanged", "remove"]


@dataclass(slots=True)
class Step:
    """The plan for one service."""

    service: str
    action: Action
    #: The numbers of the live release and of the last starting one.
    release: int | None = None
    starting: int | None = None
    #: A bundle on the control plane with exactly these files.
    bundle: str | None = None
    parts: list[str] = field(default_factory=list)
    changes: list[differences.Change] = field(default_factory=list)
    #: The keys of `runtime.env` whose live values come from `.env` files; None if not known.
    hidden_env: frozenset[str] | None = frozenset()
    files: list[differences.FileChange] = field(default_factory=list)
    #: Changes by others to its Serve application, which a deploy reverts.
    drift: str | None = None
    #: The paths of its own endpoint that are open to anybody.
    public: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)

    @property
    def expect(self) -> int:
        """The number of the release that a deploy would replace, 0 for none."""
        return self.starting or self.release or 0


class Sources(checks.Context, Protocol):
    """The parts of a control plane that a plan is made from."""

    @property
    def store(self) -> Store:
        """The releases."""
        ...

    @property
    def bundles(self) -> Bundles:
        """The files of releases."""
        ...

    @property
    def deployer(self) -> Deployer:
        """Finds the Serve applications that others have changed."""
        ...


class Planner:
    """Compares manifests and files with a snapshot of the releases."""

    def __init__(
        self,
        parts: Sources,
        present: Sequence[Release],
        *,
        project: str | None,
        drifted: dict[str, str] | ServeError,
    ) -> None:
        self._parts = parts
        self._project = project
        self._drifted = drifted
        self._present = present
        self._live = {each.service: each for each in present if each.status == "live"}
        # They come in the order of their numbers, so the last one wins.
        self._starting = {each.service: each for each in present if each.status == "starting"}

    @classmethod
    async def now(cls, parts: Sources, *, project: str | None) -> "Planner":
        """Return a planner for a project, with the releases that are live or starting now."""
        present = await parts.store.releases.present()
        try:
            drifted: dict[str, str] | ServeError = await parts.deployer.drift.look()
        except ServeError as exc:
            drifted = exc
        return cls(parts, present, project=project, drifted=drifted)

    async def step(self, data: dict[str, Any], files: list[differences.File]) -> Step:
        """Plan the deploy of a manifest with these files."""
        from koco.manifest.checks import find_problems  # pydantic: see `koco.manifest.load`

        quick = is_small(data)
        if problems := await run_check(lambda: find_problems(data), is_quick=quick):
            step = self._begun(str(data.get("service", "")))
            step.problems = problems
            return step
        checked = await run_check(lambda: load.check(data), is_quick=quick)
        step = self._begun(checked.service)
        step.public = [*checked.endpoint.public]
        step.problems = await checks.find(self._parts, checked, checks.CHECKS)
        step.warnings = await checks.find(self._parts, checked, checks.WARNINGS)
        names = [file.path for file in files]
        step.problems += await run_check(lambda: checks.of_files(checked, names), is_quick=quick)
        step.warnings += await run_check(
            lambda: module_check.find_foreign(checked, names), is_quick=quick
        )
        await self._compare(step, checked, files)
        return step

    async def removals(self, keep: Iterable[str]) -> list[Step]:
        """Plan the removal of each service of the project that is not in `keep`."""
        # A service belongs to the project of its last release.
        projects = {release.service: _project_of(release) for release in self._present}
        gone = projects.keys() - set(keep)
        steps = []
        for service in sorted(gone):
            if self._project is None or projects[service] != self._project:
                continue
            step = self._begun(service)
            step.action = "remove"
            if count := sum((await self._parts.store.executions.count_open(service)).values()):
                has = counted(count, "execution", "has")
                message = f"{has} not ended: the service stays until they have"
                hint = f"`koco undeploy {service} --drain` waits for them, `--cancel` ends them"
                step.warnings.append(Problem((), message, hint))
            steps.append(step)
        return steps

    def _begun(self, service: str) -> Step:
        live, starting = self._live.get(service), self._starting.get(service)
        step = Step(service, "create" if live is None else "update")
        step.release = None if live is None else live.number
        step.starting = None if starting is None else starting.number
        return step

    async def _compare(
        self, step: Step, manifest: "Manifest", files: list[differences.File]
    ) -> None:
        live, starting = self._live.get(step.service), self._starting.get(step.service)
        if live is not None:
            hidden = live.origin.hidden_env
            step.hidden_env = None if hidden is None else frozenset(hidden)
            before = await self._files(step, live)
            step.changes = differences.compare_manifests(
                load.to_data(live.manifest), load.to_data(manifest)
            )
            step.files = differences.compare_files(before or (), files)
            step.bundle = live.bundle if before is not None and not step.files else None
            step.parts = differences.changed_parts(manifest.runtime, step.changes, step.files)
            self._look_around(step, live)
            if not step.parts and step.starting is None:
                step.action = "unchanged"
        if step.bundle is None and starting is not None:
            coming = await self._files(step, starting)
            if coming is not None and not differences.compare_files(coming, files):
                step.bundle = starting.bundle

    def _look_around(self, step: Step, live: Release) -> None:
        """Add drift to the step, and a warning if the service belongs to another project."""
        if isinstance(self._drifted, ServeError):
            if live.app is not None:
                message = (
                    f"it is not known whether somebody changed its Serve application:"
                    f" {self._drifted}"
                )
                step.warnings.append(Problem((), message))
        elif drift := self._drifted.get(step.service):
            step.drift = drift
            step.parts.append("drift")
        other = _project_of(live)
        if None not in (other, self._project) and other != self._project:
            message = f"release {live.number} was deployed from another project, {other!r}"
            hint = "a deploy takes over the service"
            step.warnings.append(Problem(("service",), message, hint))

    async def _files(self, step: Step, release: Release) -> list[differences.File] | None:
        try:
            return await self._parts.bundles.files(release.bundle)
        except NotFoundError:
            message = f"the bundle of release {release.number} is gone"
        except UsageError as exc:  # the rest of the plan does not depend on it
            message = f"release {release.number}: {exc.message}"
        step.warnings.append(Problem((), message))
        return None


def _project_of(release: Release) -> str | None:
    return release.origin.project
