"""The messages between the control plane and a runner: its release, and what it should run."""

from typing import Any

import msgspec

from koco.events.used import Used
from koco.manifest.descriptions import AppDescription

#: The version of the messages between runner and control plane. Raise it for a change that new
#: fields with defaults cannot express. Then an upgraded control plane lets existing runners finish
#: their executions, and gives them no new ones. The messages that they send to finish (`append`,
#: `ask`, `koco.events.wire`) must be understood for ever.
PROTOCOL = 1


class FlowSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A flow of the release. `inputs` are form elements; None means: use the signature."""

    name: str
    entrypoint: str
    inputs: tuple[dict[str, Any], ...] | None = None


class RunnerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One runner of a release."""

    id: str
    service: str
    release: int
    flows: tuple[FlowSpec, ...]
    concurrency: int = 1
    #: `module:object` of the service's own endpoint.
    app: str | None = None
    #: The dialect of `flows`: see `Launch.dialect`.
    dialect: str = ""
    #: The public paths of `app`.
    public: tuple[str, ...] = ()


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """An order to run one execution."""

    fid: str
    flow: str
    inputs: dict[str, Any]
    #: The entrypoint that the service's own endpoint chose; empty for the flow's own.
    entrypoint: str = ""
    #: Which strings among the inputs are dates and times: see `koco.events.datetimes`.
    moments: list[Any] = []
    #: How the entrypoint is called: "kodosumi" for Kodosumi's way, empty for koco's own.
    dialect: str = ""
    #: The entrypoint and the inputs, pickled by cloudpickle, as base64, if they cannot travel by
    #: name and as JSON. Only a runner may unpickle them, because that runs the author's code.
    pickled: str | None = None
    #: The user who launched it, for Kodosumi's environment variable.
    user: str = ""
    #: The attempt, from 1. The runner repeats it in everything that it writes and asks.
    attempt: int = 0
    #: Whether it resumes after the death of its process, and leaves its runner if it only waits.
    durable: bool = False
    #: Whether steps or events of it are stored already, so that it must ask for them.
    has_past: bool = False
    #: If it continues others (`koco resume`): the first of them; empty otherwise. The ids of its
    #: steps (`tracer.step_key`) are made of this one, so that repeated effects are recognised.
    origin: str = ""
    #: How long it may only wait until it leaves its runner (seconds).
    park_after_s: float = 60.0
    #: The largest result of a step (bytes).
    step_bytes: int = 16 * 1024 * 1024
    #: What it has used in other processes.
    used: Used | None = None
    #: The span that it runs in: see `koco.trace_context.Trace`.
    traceparent: str | None = None
    tracestate: str | None = None


class Intake(msgspec.Struct, frozen=True, kw_only=True):
    """A runner's question for launches, and the fids of those that it got and has begun, or not."""

    runner: str
    begun: list[str] = []
    refused: list[str] = []


class ImportFailure(msgspec.Struct, frozen=True, kw_only=True):
    """Why an entrypoint could not be imported. koco's own errors have no type and no traceback."""

    #: None if it is about the service's own endpoint.
    flow: str | None = None
    entrypoint: str = ""
    type: str = ""
    message: str
    traceback: str = ""
    hint: str | None = None


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """The result of importing the entrypoints: each flow's form by name, or the problems."""

    forms: dict[str, list[dict[str, Any]] | None] = {}
    problems: list[ImportFailure] = []
    #: The service's own endpoint.
    app: AppDescription | None = None
    #: How long that took (seconds).
    took_s: float = 0.0


class Presence(msgspec.Struct, frozen=True, kw_only=True):
    """A runner's report about itself to a control plane that has just (re)started."""

    pid: int
    node: str
    fids: list[str]
    served: int
    #: Whether it has imported its entrypoints and may be given executions.
    is_ready: bool
    #: The version of the messages that it understands: see `PROTOCOL`.
    protocol: int = 1
    #: When its process began (`koco.runner.process.identity.Process.started`).
    started: int = 0
    #: The kernel's number of `koco.runner.process.pulse`'s thread.
    pulse: int = 0
