"""What an operator may set of a control plane, while it runs.

Kept in the store, so that they outlive its process and its node: `koco up --set
NAME=VALUE` changes one. docs/settings.md has all of them.
"""

import ipaddress
import re
from collections.abc import Iterable
from typing import Annotated, Any

import msgspec

from koco.errors import UsageError

_Count = Annotated[int, msgspec.Meta(ge=0)]
_AtLeastOne = Annotated[int, msgspec.Meta(ge=1)]
_Texts = tuple[str, ...]

_ORIGIN = re.compile(r"\*|https?://(\[[0-9a-f:]+\]|[a-z0-9.-]+)(:\d{1,5})?")


class Settings(msgspec.Struct, kw_only=True):
    """The settings of one control plane. Parts read them when they need them: they may change."""

    #: The largest file that it takes from anybody (MB).
    max_file_mb: Annotated[float, msgspec.Meta(gt=0, le=1e9)] = 10_240
    #: Releases of a service that can be gone back to; older ones lose their bundle.
    keep_releases: _AtLeastOne = 10
    #: Executions that run at once, of all flows; 0 for no limit.
    max_running: _Count = 0
    #: Executions that wait in line, of all flows; 0 for no limit.
    max_queue: _Count = 0
    #: The largest body of a request that is no upload (MB).
    max_body_mb: Annotated[float, msgspec.Meta(gt=0, le=1000)] = 16
    #: Values (texts, numbers, lists, objects …) in the JSON of such a body.
    max_body_values: Annotated[int, msgspec.Meta(ge=1000, le=10_000_000)] = 50_000
    #: The largest head of a request: its target and its headers (kB).
    max_header_kb: Annotated[float, msgspec.Meta(ge=1, le=1000)] = 64
    #: The largest form of a flow (kB of its JSON).
    max_form_kb: Annotated[float, msgspec.Meta(gt=0, le=16_000)] = 256
    #: The largest payload of an event that is kept whole (kB of its JSON).
    max_event_kb: Annotated[float, msgspec.Meta(ge=4, le=65_536)] = 65_536
    #: What is kept of an execution's events (MB); what it writes beyond that is cut.
    max_events_mb: Annotated[float, msgspec.Meta(ge=1, le=1e6)] = 1024
    #: What the disk of the data directory keeps free for what must not wait (MB), or a fifth of a
    #: smaller disk; 0 for nothing.
    disk_reserve_mb: Annotated[float, msgspec.Meta(ge=0, le=1e6)] = 256
    #: Uploads that one key, or one user, has begun and not finished: how many, and how large they
    #: are together (MB).
    max_unfinished_uploads: _AtLeastOne = 100
    max_unfinished_mb: Annotated[float, msgspec.Meta(gt=0, le=1e9)] = 20_480
    #: How long nothing of an unfinished upload may come before it is removed (hours).
    unfinished_hours: Annotated[float, msgspec.Meta(gt=0, le=8760)] = 24
    #: Requests that a key, or a user, may make (/s, over ten seconds); 0 for no limit.
    key_requests_per_s: Annotated[float, msgspec.Meta(ge=0)] = 1000
    #: Launches that schedules make, of all services (/s).
    schedules_per_s: Annotated[float, msgspec.Meta(ge=0.1, le=10_000)] = 50
    #: Streams that one key, or one user, has open.
    max_streams_per_key: _AtLeastOne = 1000
    #: Streams that are open in all; each costs up to a megabyte while its reader does not read.
    max_streams: _AtLeastOne = 2000
    #: How long a reader of any answer may take nothing before its connection is cut (seconds).
    stream_stall_s: Annotated[float, msgspec.Meta(ge=1, le=86_400)] = 60
    #: How long a session is good after a login (hours).
    session_hours: Annotated[float, msgspec.Meta(gt=0, le=8760)] = 12
    #: Whether the API's description is shown as a page, at /docs.
    api_docs: bool = False
    #: Origins whose pages may use the API in a browser, such as https://app.example.com.
    cors_origins: _Texts = ()
    #: Addresses and networks of proxies whose X-Forwarded-For and -Proto are believed.
    trusted_proxies: _Texts = ()
    #: For how long browsers are to insist on TLS where they have it (seconds); 0 for not at all.
    hsts_s: _Count = 31_536_000

    def change(self, values: dict[str, Any]) -> None:
        """Take over values that `parsed` has let pass, here or in another koco's time."""
        for name in self.__struct_fields__:
            if name in values:
                value = values[name]
                setattr(self, name, tuple(value) if isinstance(value, list) else value)


def parsed(pairs: Iterable[str]) -> dict[str, Any]:
    """Return the settings in texts `NAME=VALUE`; `NAME=a,b` where there may be several.

    Raises:
        UsageError: there is no such setting, or it cannot have that value.
    """
    values: dict[str, Any] = {}
    for pair in pairs:
        name, sign, text = pair.partition("=")
        if name not in Settings.__struct_fields__:
            known = ", ".join(Settings.__struct_fields__)
            raise UsageError(f"there is no setting {name!r}", hint=f"settings: {known}")
        if not sign:
            raise UsageError(f"--set takes NAME=VALUE, got {pair!r}")
        values[name] = _value(name, text)
    return values


def _value(name: str, text: str) -> Any:
    kind = next(field.type for field in msgspec.structs.fields(Settings) if field.name == name)
    if name in _CHECKS:
        texts = [part for each in text.split(",") if (part := each.strip())]
        return [_CHECKS[name](each) for each in texts]
    try:
        return msgspec.convert(text, kind, strict=False)
    except msgspec.ValidationError as exc:
        raise UsageError(f"the setting {name} cannot be {text!r}", hint=_wanted(kind)) from exc


def _wanted(kind: Any) -> str:
    """Return what a setting takes, in words."""
    if kind is bool:
        return "true or false"
    limits = msgspec.json.schema(kind)
    words = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "up to"}
    said = " ".join(f"{word} {limits[name]:,g}" for name, word in words.items() if name in limits)
    return f"a whole number {said}" if limits["type"] == "integer" else f"a number {said}"


def _origin(text: str) -> str:
    if not _ORIGIN.fullmatch(text.lower()):
        raise UsageError(
            f"cors_origins: {text!r} is no origin", hint="such as https://app.example.com, no path"
        )
    return text.lower()


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text)) if "/" in text else str(ipaddress.ip_address(text))
    except ValueError as exc:
        raise UsageError(f"trusted_proxies: {exc}", hint="such as 10.0.0.5 or 10.0.0.0/8") from exc


_CHECKS = {"cors_origins": _origin, "trusted_proxies": _network}
