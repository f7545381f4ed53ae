"""What a runner is told: which release it is of, and what to run."""

from typing import Any

import msgspec

#: What runner and control plane say to each other. A change that fields with defaults cannot
#: carry gets the next number: then an upgraded control plane lets the runners that are there
#: finish what they run, and gives them nothing more. What they send to that end (`append`, `ask`,
#: `koco.events.wire`) is understood for ever.
PROTOCOL = 1


class FlowSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A flow of the release: `inputs` are form elements, or None to ask the signature."""

    name: str
    entrypoint: str
    inputs: list[dict[str, Any]] | None = None


class RunnerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One runner of a release."""

    id: str
    service: str
    release: int
    flows: tuple[FlowSpec, ...]
    concurrency: int = 1
    #: `module:object` of the service's own endpoint.
    app: str | None = None
    #: The names of its secrets, which runners of an older koco ask for.
    secrets: tuple[str, ...] = ()
    #: The paths of `app` that are to be public.
    public: tuple[str, ...] = ()


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """One execution that a runner shall run."""

    fid: str
    flow: str
    inputs: dict[str, Any]
    #: What the service's own endpoint chose to run; empty for the flow's own.
    entrypoint: str = ""
    #: Which texts of the inputs are dates and times: see `koco.sdk.moments`.
    moments: list[Any] = []
    #: Which attempt it is, from 1; all that it writes and asks says so.
    attempt: int = 0


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """What importing the entrypoints gave: each flow's form by name, or what went wrong."""

    forms: dict[str, list[dict[str, Any]] | None] = {}
    #: `{flow, entrypoint, type, message, traceback}` of each that failed; the flow of
    #: an endpoint of the service's own is None.
    problems: list[dict[str, Any]] = []
    #: What the service's own endpoint says of itself: `{flows, locks, leases}`.
    app: dict[str, Any] | None = None
    #: How long that took (seconds).
    took_s: float = 0.0


class Presence(msgspec.Struct, frozen=True, kw_only=True):
    """What a runner says of itself to a control plane that has just (re)started."""

    pid: int
    node: str
    fids: list[str]
    served: int
    #: Whether it has imported its entrypoints and may be given executions.
    is_ready: bool
    #: What it understands: see `PROTOCOL`.
    protocol: int = 1
    #: When its process began (`koco.runner.process.Process.started`).
    started: int = 0
    #: The kernel's number of the thread that `koco.runner.pulse` has.
    pulse: int = 0
