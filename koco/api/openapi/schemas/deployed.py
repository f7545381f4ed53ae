"""What is deployed: services, releases, plans, secrets, and the whole in outline."""

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from msgspec import Meta

from koco.api.openapi.schemas import (
    Flow,
    Number,
    Object,
    Person,
    Schedule,
    Service,
    Sha256,
    Time,
    text,
)

ReleaseStatus = Literal["starting", "live", "failed", "retired"]

Entrypoint = Annotated[str, text("hello_app:greet")]
Manifest = Annotated[
    dict[str, Any],
    Meta(
        description="a manifest as data (docs/manifest.md)",
        examples=[
            {"service": "hello", "flows": [{"name": "greet", "entrypoint": "hello_app:greet"}]}
        ],
    ),
]


class ReleaseOrigin(TypedDict):
    """Where a release comes from, as far as that is known."""

    project: NotRequired[Annotated[str, text("hello")] | None]
    commit: NotRequired[str | None]
    dirty: NotRequired[bool | None]
    rollback_of: NotRequired[Number]
    because: NotRequired[Annotated[str, text("release 7 is broken")]]


class DeployedService(TypedDict):
    """A service, and its release that says how it is."""

    service: Service
    release: Number
    status: ReleaseStatus
    bundle: Sha256
    origin: ReleaseOrigin
    created: Time
    ready: Time | None
    by: Person


class ServiceInFull(DeployedService):
    """A service, deployed or not any more, and what of it has not ended."""

    deployed: bool
    expect: Annotated[int, Meta(description="the number of what a release would replace; 0: none")]
    former: Annotated[int | None, Meta(description="what a rollback goes back to")]
    flows: list[str]
    executions: dict[str, int]
    runners: int


class Undeployed(ServiceInFull):
    """A service that was taken away."""

    ended: list[Number]


class ReleaseFlow(TypedDict):
    """A flow of a release."""

    name: Flow
    entrypoint: Entrypoint


class ReleaseFailure(TypedDict):
    """Why a release failed; `detail` is for those who may deploy."""

    type: NotRequired[str]
    message: str
    hint: str | None
    detail: NotRequired[str | None]


class ListedRelease(TypedDict):
    """One version of a service, without what is large of it."""

    service: Service
    number: Number
    status: ReleaseStatus
    bundle: Sha256
    created: Time
    ready: Time | None
    by: Person
    error: ReleaseFailure | None
    origin: ReleaseOrigin
    timings: Annotated[dict[str, float], Meta(description="what took how long (seconds)")]
    fallback: bool
    retired: Time | None
    available: Annotated[bool, Meta(description="whether it can be gone back to")]


class Release(ListedRelease):
    """One version of a service: its manifest, its flows, and how it came to be."""

    fingerprint: str
    manifest: Manifest
    flows: list[ReleaseFlow]
    app: Object | None
    unchanged: Annotated[bool, Meta(description="whether this was live before it was asked for")]
    waits_for: NotRequired[
        Annotated[str | None, Meta(description="why no node takes it, and who holds what it needs")]
    ]
    doing: NotRequired[Annotated[str | None, Meta(description="what is being done for it")]]


class PlannedChange(TypedDict):
    """A value of a manifest that differs; a side that has none is left out."""

    path: Annotated[str, text("runner.max")]
    part: Literal["code", "environment", "replicas", "settings"]
    old: NotRequired[Any]
    new: NotRequired[Any]


class PlannedFileChange(TypedDict):
    """A file that differs."""

    path: Annotated[str, text("hello_app.py")]
    change: Literal["added", "changed", "mode", "removed"]
    old_bytes: int | None
    new_bytes: int | None


class ManifestFinding(TypedDict):
    """What is wrong with a manifest, and where: keys and indices from its root."""

    message: str
    hint: str | None
    path: list[str | int]


class Step(TypedDict):
    """What a deploy would do with one service."""

    service: Service
    action: Literal["create", "update", "unchanged", "remove"]
    release: int | None
    starting: int | None
    bundle: Sha256 | None
    parts: list[str]
    changes: list[PlannedChange]
    files: list[PlannedFileChange]
    drift: str | None
    public: Annotated[list[str], Meta(description="paths of its endpoint that take no key")]
    problems: list[ManifestFinding]
    warnings: list[ManifestFinding]
    expect: int


class Plan(TypedDict):
    """What a deploy would do."""

    items: list[Step]
    next: None
    counts: dict[str, int]


class Secret(TypedDict):
    """A secret's name, and which live services have it; its value never comes out."""

    name: Annotated[str, text("OPENAI_API_KEY")]
    updated: Time
    by: Person
    trouble: str | None
    services: list[Service]


class Values(TypedDict):
    """The values of a release's secrets by name, for its own processes."""

    values: Annotated[dict[str, str], Meta(examples=[{"OPENAI_API_KEY": "…"}])]


class SecretSet(TypedDict):
    """A secret that was set, and the services whose processes are replaced for it."""

    name: str
    new: bool
    services: list[Service]


class SecretUnset(TypedDict):
    """A secret that was forgotten, and the live services that miss it."""

    name: str
    services: list[Service]


class ControlPlane(TypedDict):
    """The control plane's process."""

    pid: int
    version: Annotated[str, text("0.1.0")]
    code: str
    url: Annotated[str, text("http://127.0.0.1:8700")]
    started: Time
    restarts: int


class Node(TypedDict):
    """A node of the cluster."""

    id: str
    address: str
    alive: bool
    resources: dict[str, float]
    free: dict[str, float]
    labels: dict[str, str]
    death: str | None


class Ray(TypedDict):
    """The cluster."""

    version: Annotated[str, text("2.60.0")]
    python: Annotated[str, text("3.11.2")]
    nodes: list[Node]
    auth: str


class StoreFacts(TypedDict):
    """Where the store is, and how large (bytes)."""

    path: str
    size_bytes: int


class FlowLoad(TypedDict):
    """How many executions of a flow run and wait, and its limits."""

    flow: Annotated[str, text("greet")]
    running: int
    waiting: int
    max_running: int | None
    max_queue: int | None


class FlowSchedule(Schedule):
    """A schedule with its flow's short name."""

    flow: Annotated[str, text("greet")]


class ServiceStatus(TypedDict):
    """How a service is."""

    name: Service
    release: Number
    status: Literal["live", "failing", "draining", "failed"]
    trouble: str | None
    flows: list[str]
    load: list[FlowLoad]
    schedule: list[FlowSchedule]
    runners: int
    endpoint: Annotated[str | None, Meta(description="what Serve says of it; null: it has none")]
    drift: str | None


class LeftOver(TypedDict):
    """A Ray task or actor that is at work though no execution is."""

    kind: Literal["task", "actor"]
    name: Annotated[str, text("count")]
    service: Service
    release: Number
    #: The execution that started it; null where that is not known any more.
    fid: str | None
    pid: int | None
    node: str
    #: Whether its author wants it to outlive its execution.
    detached: bool


class Overview(TypedDict):
    """What runs."""

    control_plane: ControlPlane
    ray: Ray
    store: StoreFacts
    services: list[ServiceStatus]
    settings: Annotated[dict[str, Any], Meta(examples=[{"max_file_mb": 10240}])]
    executions: dict[str, int]
    left: Annotated[list[LeftOver] | None, Meta(description="null: Ray does not say")]
