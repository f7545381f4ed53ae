"""The shapes of the API's answers, for the OpenAPI document: JSON as typed dictionaries.

Adding a key is compatible, changing one is not. Where a key may be left out, it is `NotRequired`.
Here is what all share and what runs; `deployed` has services and what is about them.
"""

from typing import Annotated, Any, Generic, Literal, NotRequired, TypedDict, TypeVar

from msgspec import Meta

from koco import tokens
from koco.events.model import Kind, Status

T = TypeVar("T")


def text(example: str, about: str | None = None) -> Any:
    """Return what describes a text by an example."""
    return Meta(examples=[example], description=about)


Fid = Annotated[str, text("wrq429s8exka3r9k", "the id of an execution")]
Time = Annotated[str, text("2026-01-31T12:00:00.123456Z", "RFC 3339, in UTC")]
Flow = Annotated[str, text("hello/greet", "a flow's full name: `service/flow`")]
Service = Annotated[str, text("hello")]
Number = Annotated[int, Meta(examples=[1], description="the number of a release")]
Person = Annotated[str, text("ada", "the name of a key or a user")]
Sha256 = Annotated[str, text("2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824")]
Object = Annotated[dict[str, Any], Meta(examples=[{"who": "Ada"}])]
Json = Annotated[Any, Meta(examples=["Hello, Ada"], description="any JSON value")]


class Page(TypedDict, Generic[T]):
    """Some of a list; `next` is the cursor that the rest starts from, null at the end."""

    items: list[T]
    next: str | None


class Problem(TypedDict):
    """What went wrong (RFC 9457); `code` is stable, `hint` says how to mend it."""

    type: Annotated[str, text("urn:koco:error:not_found")]
    title: str
    status: Annotated[int, Meta(ge=400, le=599)]
    detail: Annotated[str, text("what was named does not exist")]
    code: Annotated[str, text("not_found")]
    hint: str | None
    request_id: Annotated[str, text("4b1c0ffee0ddba11")]
    #: What is wrong with which input; `_global_` stands for none of them.
    errors: NotRequired[dict[str, list[str]]]
    #: Only for those who may deploy.
    traceback: NotRequired[str]
    #: Where in the body (RFC 6901).
    pointer: NotRequired[str]


class Failure(TypedDict):
    """What an execution ended with."""

    type: Annotated[str, text("ValueError")]
    message: str


class Execution(TypedDict):
    """One run of a flow."""

    fid: Fid
    flow: Flow
    service: Service
    release: Number
    status: Status
    inputs: Object
    user: Person
    tags: list[str]
    created: Time
    started: Time | None
    finished: Time | None
    last_seq: Annotated[int, Meta(description="the number of its latest event")]
    error: Failure | None
    #: The entrypoint that the service's own endpoint chose; otherwise empty.
    entrypoint: str
    #: The idempotency key that it was launched under.
    key: str | None
    attempt: int
    attempts: Annotated[int, Meta(description="how many there may be")]
    not_before: Time | None
    deadline: Time | None
    waits: Annotated[
        str | None,
        Meta(description="why it is queued, or what its silent process does"),
    ]
    retry_of: Annotated[Fid | None, Meta(description="the execution that it is another try of")]


class Executions(TypedDict):
    """Some executions; of a search, whether all have been looked into."""

    items: list[Execution]
    next: str | None
    complete: NotRequired[bool]


class Change(TypedDict):
    """An execution that is new, has another status, or was deleted."""

    cursor: Annotated[str, text("4711", "what comes after this change: `since`")]
    fid: Fid
    deleted: bool
    #: As it is now; null where it was deleted.
    execution: Execution | None


class Changes(TypedDict):
    """Changes in their order; `next` is what to ask `since` for what comes after them."""

    items: list[Change]
    next: str


class Launched(TypedDict):
    """An execution that was accepted."""

    result: Fid
    #: With `Prefer: wait=N`: how it is now, and once it has ended, what it ended with.
    execution: NotRequired["Execution"]
    outcome: NotRequired["Result"]


class Result(TypedDict):
    """What an execution ended with; the error is `{type, message, traceback}`."""

    fid: Fid
    status: Status
    result: NotRequired[Json]
    error: NotRequired[dict[str, Any]]


class Frame(TypedDict):
    """A place in a function that was called."""

    file: Annotated[str, text("hello/app.py")]
    line: Annotated[int, Meta(examples=[12])]
    function: Annotated[str, text("greet")]


class Stack(TypedDict):
    """What a thread or a task is in the middle of."""

    name: Annotated[str, text("thread of the flow")]
    frames: Annotated[list[Frame], Meta(description="the newest call last")]
    #: What a task waits for, beyond its newest frame; empty if nothing.
    waits: str


class StackedProcess(TypedDict):
    """A process of an execution: its runner's, or a Ray task's."""

    name: Annotated[str, text("runner")]
    pid: int
    node: str
    state: Annotated[str, text("sleeping", "running, sleeping, stopped, gone, …")]
    note: Annotated[str | None, Meta(description="why there is no more to see, or how it was got")]
    stacks: list[Stack]


class Stacks(TypedDict):
    """What an execution is in the middle of, in all its processes."""

    fid: Fid
    status: Status
    note: Annotated[str | None, Meta(description="why it has no process, where it has none")]
    processes: list[StackedProcess]


class Event(TypedDict):
    """One event of a stream; docs/events.md shows each kind's payload."""

    seq: Annotated[int, Meta(ge=1, examples=[7])]
    ts: Time
    kind: Annotated[Kind, Meta(examples=["stdout"])]
    #: The Ray task or actor that printed it, where it was one.
    task: NotRequired[Annotated[str, text("count")]]
    payload: Annotated[Any, Meta(examples=["Hello, Ada"])]


class Lock(TypedDict):
    """An execution's pause for a person."""

    lid: Annotated[str, text("5r2k8c0q1x7m3t9d")]
    fid: Fid
    flow: Flow
    service: Service
    release: Number
    name: Annotated[str, text("approval")]
    data: Json
    status: Literal["open", "answered", "expired", "withdrawn"]
    created: Time
    expires: Time
    answer: Json
    settled: Time | None
    by: Person | None


class LockWithForm(Lock):
    """A lock and the form that it is answered with; null where any JSON value will do."""

    form: list[dict[str, Any]] | None


#: What a caller may be allowed to do.
Scope = Literal["read", "launch", "deploy", "admin"]
Flows = Annotated[
    list[str], Meta(examples=[["hymn/*"]], description="patterns of flows; [] is all")
]


class Key(TypedDict):
    """A key; its secret is not told again."""

    name: Person
    status: Literal["active", "expired", "rotating"]
    scopes: list[Scope]
    flows: Flows
    all_executions: bool
    created: Time
    by: Person
    expires: Time | None
    former_until: Annotated[Time | None, Meta(description="until when its old secret is good")]
    last_used: Annotated[Time | None, Meta(description="to the minute")]
    last_from: Annotated[str | None, text("192.0.2.7")]


class KeyWithSecret(Key):
    """A key and its secret, which is told this once."""

    secret: Annotated[str, Meta(pattern=f"^{tokens.PATTERN}$", examples=["koco_" + "x" * 43])]


class User(TypedDict):
    """A person who logs in with a password."""

    name: Person
    scopes: list[Scope]
    flows: Flows
    all_executions: bool
    created: Time
    by: Person
    last_login: Time | None
    last_from: Annotated[str | None, text("192.0.2.7")]


class Session(TypedDict):
    """Who has logged in, until when, and what they show from now on."""

    name: Person
    scopes: list[Scope]
    expires: Time
    #: Not where a cookie has it.
    token: NotRequired[
        Annotated[str, Meta(pattern="^kocos_[A-Za-z0-9_-]{43}$", examples=["kocos_" + "x" * 43])]
    ]


class Named(TypedDict):
    """Whom it has been done to."""

    name: Person


class Me(TypedDict):
    """The caller: its name, its credential, the scopes of that, and when it expires."""

    name: Person
    by: Literal["key", "session"]
    scopes: list[Scope]
    flows: Flows
    all_executions: bool
    expires: Time | None


class File(TypedDict):
    """A file of an execution."""

    path: Annotated[str, text("out/summary.txt")]
    sha256: Sha256
    size_bytes: Annotated[int, Meta(ge=0)]
    created: Time
    by: Person


class Schedule(TypedDict):
    """When a flow launches by itself, and what became of its times."""

    cron: Annotated[str, text("0 7 * * 1-5")]
    timezone: Annotated[str, text("Europe/Berlin")]
    overlap: bool
    catch_up: bool
    next: Time | None
    last: Time | None
    fid: Fid | None
    missed: int
    missed_at: Time | None
    skipped: int
    skipped_at: Time | None
    trouble: str | None


class FlowLimits(TypedDict):
    """What limits a flow; null stands for no limit."""

    running: int | None
    queue: int | None
    timeout: float | None
    retries: int
    retry_errors: bool
    backoff: float


class FlowSummary(TypedDict):
    """A flow that can be launched."""

    name: Flow
    service: Service
    entrypoint: Annotated[str, text("hello_app:greet")]
    summary: str | None
    release: Number
    limits: FlowLimits
    schedule: list[Schedule]


class FlowWithForm(FlowSummary):
    """A flow, its form (null where any JSON object will do), and that as JSON Schema."""

    description: str | None
    author: str | None
    organization: str | None
    version: str | None
    tags: list[str]
    path: NotRequired[str]

    form: list[dict[str, Any]] | None
    schema: Annotated[dict[str, Any], Meta(examples=[{"type": "object"}])]


class Finding(TypedDict):
    """What a look found."""

    name: str
    status: Literal["ok", "warning", "failed"]
    message: str
    hint: str | None


class Findings(TypedDict):
    """What the doctor found."""

    items: list[Finding]
    next: None
    version: Annotated[str, text("0.1.0")]


class HealthNodes(TypedDict):
    """How many nodes there are."""

    alive: int
    dead: int


class Health(TypedDict):
    """Whether executions can run; null stands for what could not be looked at."""

    status: Literal["ok", "degraded"]
    troubles: int | None
    nodes: HealthNodes | None
    restarts: int | None
    executions: dict[str, int]
    store: Literal["ok", "failed"]
    #: How late the control plane itself was meanwhile: it has more to do than it can.
    late_ms: int
