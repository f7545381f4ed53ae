"""What a release offers, as its runner describes it after importing the code."""

from typing import Any

import msgspec

#: The dialect of flows and apps that were written for Kodosumi: values travel as the text that was
#: sent, and unknown inputs are ignored. See `koco.kodosumi`.
KODOSUMI = "kodosumi"


#: The protocols over which agents may call a flow that names none.
EXPOSED = ("mcp", "a2a")


class FlowHints(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What calling a flow does, as far as its author says: see `koco.manifest.for_agents`."""

    read_only: bool | None = None
    destructive: bool | None = None
    idempotent: bool | None = None
    open_world: bool | None = None


class FlowExample(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One call of a flow, for agents to learn from."""

    summary: str = ""
    inputs: dict[str, Any] = {}
    result: Any = None


class FlowDescription(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A flow of a release. The form is None if the flow takes any JSON object."""

    name: str
    #: `module:object`.
    entrypoint: str
    form: list[dict[str, Any]] | None
    #: Its path in the service's own endpoint; None for a flow of the manifest.
    path: str | None = None
    summary: str | None = None
    description: str = ""
    author: str = ""
    organization: str = ""
    version: str = ""
    tags: tuple[str, ...] = ()
    #: `KODOSUMI`, or empty for koco's own programming model.
    dialect: str = ""
    #: Whether its path shows a page of the author's, with a form that may launch something.
    page: bool = False
    #: The JSON Schema of its result, None if its author gives none.
    output: dict[str, Any] | None = None
    examples: tuple[FlowExample, ...] = ()
    hints: FlowHints = FlowHints()
    #: The protocols over which agents may call it.
    expose: tuple[str, ...] = EXPOSED
    #: Further metadata that the author gave.
    more: dict[str, Any] = {}

    def to_wire(self) -> dict[str, Any]:
        """Return it as plain data, without defaults, and with the further metadata beside them."""
        fields = msgspec.to_builtins(self)
        return {**fields.pop("more", {}), **fields}


class AppHandlers(msgspec.Struct, frozen=True, kw_only=True):
    """The names of the locks and leases that a service's own endpoint handles."""

    locks: tuple[str, ...] = ()
    leases: tuple[str, ...] = ()


class AppDescription(msgspec.Struct, frozen=True, kw_only=True):
    """A service's own endpoint: its flows, and what else it handles."""

    flows: tuple[FlowDescription, ...]
    handlers: AppHandlers = AppHandlers()
