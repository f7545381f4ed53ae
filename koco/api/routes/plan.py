"""What a deploy would do."""

from collections import Counter
from typing import Annotated, Any

import msgspec
from litestar import Request, post
from litestar.datastructures import State

from koco.api.http.auth import require_service, requires
from koco.api.openapi.schemas import deployed
from koco.control.access.caller import Caller
from koco.control.container import Parts
from koco.control.deploy.plan import Planner
from koco.errors import UsageError
from koco.manifest.differences import File

#: The largest plan that can be asked for: some hundred thousand files. Only deployers ask for
#: one, so it may have more values than other bodies: each file has four.
_BODY_BYTES = 64 * 1024 * 1024
_BODY_VALUES = 1_000_000


class PlannedFile(msgspec.Struct, forbid_unknown_fields=True):
    """A file to be shipped, as `koco.project.bundle_listing` lists it."""

    path: str
    size_bytes: Annotated[int, msgspec.Meta(ge=0)]
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$", examples=["0" * 64])]
    executable: bool = False


class PlannedService(msgspec.Struct, forbid_unknown_fields=True):
    """A manifest as data, and the files that are shipped with it."""

    manifest: dict[str, Any]
    files: list[PlannedFile]


class NewPlan(msgspec.Struct, forbid_unknown_fields=True):
    """What is to be deployed; with `prune`, nothing else of the project is to stay."""

    services: list[PlannedService]
    project: str | None = None
    prune: bool = False


@post(
    "/v1/plan",
    status_code=200,
    request_max_body_size=_BODY_BYTES,
    max_body_values=_BODY_VALUES,
    guards=[requires("deploy")],
    answers={200: deployed.Plan},
)
async def make_plan(request: Request[Any, Caller, State], data: NewPlan) -> dict[str, Any]:
    """Compare manifests and files with what is live: `{items, next, counts}`."""
    parts: Parts = request.app.state.parts
    names = Counter(str(each.manifest.get("service")) for each in data.services)
    for name in names:
        require_service(request.auth, name)
    if twice := [name for name, count in names.items() if count > 1]:
        raise UsageError(f"service {twice[0]!r} is there twice", hint="one would undo the other")
    if data.prune and data.project is None:
        raise UsageError("what to remove goes by project, and none is named")
    planner = await Planner.now(parts, project=data.project)
    steps = []
    for each in data.services:
        files = [File(f.path, f.size_bytes, f.sha256, f.executable) for f in each.files]
        steps.append(await planner.step(each.manifest, files))
    if data.prune:
        removals = await planner.removals(names)
        steps += [each for each in removals if request.auth.reaches_all_of(each.service)]
    counts = Counter(step.action for step in steps)
    return {
        "items": [step.to_wire() for step in steps],
        "next": None,
        "counts": {key: counts[key] for key in ("create", "update", "remove", "unchanged")},
    }


ROUTES = (make_plan,)
