"""The requests of A2A, as far as koco reads them (the specification's a2a.proto)."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from koco.api.agents.a2a.faults import violated

_Text = Annotated[str, Meta(min_length=1)]
#: The most tasks on a page.
_MOST = 100


class _Request(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An object of the protocol."""


class Part(_Request, frozen=True, kw_only=True):
    """A part of a message: a text, a file's bytes (base64) or URL, or any JSON."""

    text: str | UnsetType = UNSET
    raw: str | UnsetType = UNSET
    url: str | UnsetType = UNSET
    data: Any = UNSET
    metadata: dict[str, Any] = {}
    filename: str = ""
    media_type: str = ""

    @property
    def kind(self) -> str:
        """Which of the four it is; empty if it is none or several."""
        found = [
            name
            for name in ("text", "raw", "url", "data")
            if not isinstance(getattr(self, name), UnsetType)
        ]
        return found[0] if len(found) == 1 else ""


class Message(_Request, frozen=True, kw_only=True):
    """A message from a client. With a `task_id` it is about an existing task."""

    message_id: _Text
    role: Literal["ROLE_USER"]
    parts: Annotated[list[Part], Meta(min_length=1)]
    context_id: str = ""
    task_id: str = ""
    metadata: dict[str, Any] = {}

    def __post_init__(self) -> None:
        """Check that each part has one content."""
        for number, part in enumerate(self.parts):
            if not part.kind:
                why = "a part has exactly one of text, raw, url and data"
                raise violated(f"message.parts[{number}]", why)


class Authentication(_Request, frozen=True, kw_only=True):
    """What a push notification proves itself with: the value of `Authorization`."""

    scheme: _Text
    credentials: str = ""


class PushConfig(_Request, frozen=True, kw_only=True):
    """Where the updates of a task are sent."""

    url: _Text
    id: str = ""
    task_id: str = ""
    token: str = ""
    authentication: Authentication | None = None


class Configuration(_Request, frozen=True, kw_only=True):
    """How a message is to be answered."""

    accepted_output_modes: list[str] = []
    task_push_notification_config: PushConfig | None = None
    history_length: Annotated[int, Meta(ge=0)] | None = None
    return_immediately: bool = False


class SendMessage(_Request, frozen=True, kw_only=True):
    """Send a message: begin a task, or go on with one."""

    message: Message
    configuration: Configuration = Configuration()
    metadata: dict[str, Any] = {}


class GetTask(_Request, frozen=True, kw_only=True):
    """Show a task."""

    id: _Text
    history_length: Annotated[int, Meta(ge=0)] | None = None


class ListTasks(_Request, frozen=True, kw_only=True):
    """List tasks, the one that changed last first."""

    context_id: str = ""
    status: str = ""
    page_size: Annotated[int, Meta(ge=1, le=_MOST)] = 50
    page_token: str = ""
    history_length: Annotated[int, Meta(ge=0)] | None = None
    status_timestamp_after: str = ""
    include_artifacts: bool = False


class ById(_Request, frozen=True, kw_only=True):
    """Cancel or follow a task."""

    id: _Text


class ListPushConfigs(_Request, frozen=True, kw_only=True):
    """List where the updates of a task are sent."""

    task_id: _Text
    page_size: Annotated[int, Meta(ge=0)] = 0
    page_token: str = ""


class ByPushConfig(_Request, frozen=True, kw_only=True):
    """Show or remove one of these."""

    task_id: _Text
    id: _Text


class NewPushConfig(PushConfig, frozen=True, kw_only=True):
    """Add one."""

    task_id: _Text


class GetCard(_Request, frozen=True, kw_only=True):
    """Show the agent's card as the caller may see it."""
