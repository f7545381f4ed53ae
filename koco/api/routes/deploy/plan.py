"""Plans: the effect of a deploy."""

from collections import Counter
from collections.abc import Collection
from typing import Annotated, Any, Literal

import msgspec
from litestar import post
from msgspec import UNSET, Meta, UnsetType

from koco.api.http.auth import require_service, requires
from koco.api.http.request import Request
from koco.api.openapi import shapes
from koco.api.openapi.shapes import Shape, enum, text
from koco.control.deploy import plan
from koco.control.deploy.plan import Planner
from koco.errors import UsageError
from koco.manifest import differences, key_literals
from koco.manifest.differences import File
from koco.manifest.problems import format_path
from koco.tokens import MASK

#: The largest body: some hundred thousand files. It may have more values than other bodies, because
#: only deployers may send it, and each file has four.
_BODY_BYTES = 64 * 1024 * 1024
_BODY_VALUES = 1_000_000


class PlannedChange(Shape):
    """A manifest value that differs. `old` or `new` is absent if there is no such value."""

    path: Annotated[str, text("runner.max")]
    part: Annotated[str, enum(*differences.PARTS)]
    old: Any | UnsetType = UNSET
    new: Any | UnsetType = UNSET

    @classmethod
    def render(
        cls, change: differences.Change, hidden_env: Collection[str] | None = ()
    ) -> "PlannedChange":
        """Return a change with keys masked, and values of `.env` files.

        `hidden_env` has the keys of `runtime.env` whose live values come from such files. If that
        is None, any of them may.
        """
        sides = [
            UNSET if value is differences.ABSENT else key_literals.mask(change.path, value)
            for value in (change.old, change.new)
        ]
        if change.path[:2] == ("runtime", "env"):
            if hidden_env is None:
                sides[0] = _masked(sides[0])
            elif change.path[2:] and change.path[2] in hidden_env:
                # The new value is often the same secret, from elsewhere.
                sides = [_masked(value) for value in sides]
        return cls(format_path(change.path), change.part, *sides)


def _masked(value: Any) -> Any:
    """Return a value with all its texts masked; null and an absent value stay."""
    if isinstance(value, dict):
        return {key: _masked(each) for key, each in value.items()}
    return MASK if isinstance(value, str) else value


class PlannedFileChange(Shape):
    """A file that differs."""

    path: Annotated[str, text("hello_app.py")]
    change: Literal["added", "changed", "mode", "removed"]
    old_bytes: int | None
    new_bytes: int | None


class ManifestFinding(Shape):
    """A problem in a manifest, and its place: keys and indices from the root."""

    message: str
    hint: str | None
    path: list[str | int]


class Step(Shape):
    """The effect of a deploy on one service."""

    service: shapes.Service
    action: Literal["create", "update", "unchanged", "remove"]
    release: int | None
    starting: int | None
    bundle: shapes.Sha256 | None
    parts: list[str]
    changes: list[PlannedChange]
    files: list[PlannedFileChange]
    drift: str | None
    public: Annotated[list[str], Meta(description="paths of its endpoint that take no key")]
    problems: list[ManifestFinding]
    warnings: list[ManifestFinding]
    expect: int

    @classmethod
    def render(cls, step: plan.Step) -> "Step":
        """Return a step as answers show it."""
        return cls.of(
            step,
            changes=[PlannedChange.render(each, step.hidden_env) for each in step.changes],
            problems=[ManifestFinding.of(each) for each in step.problems],
            warnings=[ManifestFinding.of(each) for each in step.warnings],
        )


class Plan(Shape):
    """The effect of a deploy on each service, and the number of services per action."""

    items: list[Step]
    next: None
    counts: dict[str, int]


class PlannedFile(msgspec.Struct, forbid_unknown_fields=True):
    """A file of a bundle, as `koco.project.bundle_listing` lists it."""

    path: str
    size_bytes: Annotated[int, Meta(ge=0)]
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$", examples=["0" * 64])]
    executable: bool = False


class PlannedService(msgspec.Struct, forbid_unknown_fields=True):
    """A manifest as data, and the files of its bundle."""

    manifest: dict[str, Any]
    files: list[PlannedFile]


class NewPlan(msgspec.Struct, forbid_unknown_fields=True):
    """The services to deploy. With `prune`, the project's other services are to be removed."""

    services: list[PlannedService]
    project: str | None = None
    prune: bool = False


@post(
    "/v1/plan",
    status_code=200,
    request_max_body_size=_BODY_BYTES,
    max_body_values=_BODY_VALUES,
    guards=[requires("deploy")],
)
async def make_plan(request: Request, data: NewPlan) -> Plan:
    """Compare manifests and files with the live releases."""
    names = Counter(str(each.manifest.get("service")) for each in data.services)
    for name in names:
        require_service(request.auth, name)
    if twice := [name for name, count in names.items() if count > 1]:
        raise UsageError(f"service {twice[0]!r} is there twice", hint="one would undo the other")
    if data.prune and data.project is None:
        raise UsageError("`prune` needs the name of a project")
    planner = await Planner.now(request.parts, project=data.project)
    steps = []
    for each in data.services:
        files = [File(f.path, f.size_bytes, f.sha256, f.executable) for f in each.files]
        steps.append(await planner.step(each.manifest, files))
    if data.prune:
        removals = await planner.removals(names)
        steps += [each for each in removals if request.auth.reaches_all_of(each.service)]
    counts = Counter(step.action for step in steps)
    return Plan(
        items=[Step.render(step) for step in steps],
        next=None,
        counts={key: counts[key] for key in ("create", "update", "remove", "unchanged")},
    )


ROUTES = (make_plan,)
