"""Settings that an operator may change while the control plane runs.

They are kept in the store, because they must outlive its process and its node. `koco config set
NAME=VALUE` changes one, and so does `koco up --set`. docs/settings.md describes all of them.
"""

import ipaddress
import math
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Annotated, Any

import msgspec

from koco.errors import UsageError
from koco.spelling import nearest

_Count = Annotated[int, msgspec.Meta(ge=0)]
_AtLeastOne = Annotated[int, msgspec.Meta(ge=1)]
_Days = Annotated[float, msgspec.Meta(ge=0, le=36_500)]
_Texts = tuple[str, ...]

_URL = re.compile(r"https?://[^\s/?#@]+(/[^\s?#]*)?", re.IGNORECASE)
#: The longest name of a key (characters).
_NAME_LENGTH = 64

_ORIGIN = re.compile(r"\*|https?://(\[[0-9a-f:]+\]|[a-z0-9.-]+)(:\d{1,5})?")


class Settings(msgspec.Struct, kw_only=True):
    """The settings of one control plane. Parts read them at each use, because they may change."""

    #: The largest file that it accepts (MB).
    max_file_mb: Annotated[float, msgspec.Meta(gt=0, le=1e9)] = 10_240
    #: Releases of a service that it can be rolled back to; older ones lose their bundle.
    keep_releases: _AtLeastOne = 10
    #: How long ended executions are kept, and their files (days); 0 for ever.
    keep_executions_days: _Days = 0
    keep_files_days: _Days = 0
    #: How long the audit log is kept (days); 0 for ever.
    keep_audit_days: _Days = 0
    #: Executions that run at once, of all flows; 0 for no limit.
    max_running: _Count = 0
    #: Executions that wait in line, of all flows; 0 for no limit.
    max_queue: _Count = 0
    #: The largest body of a request, uploads excepted (MB).
    max_body_mb: Annotated[float, msgspec.Meta(gt=0, le=1000)] = 16
    #: Values (texts, numbers, lists, objects …) in the JSON of such a body.
    max_body_values: Annotated[int, msgspec.Meta(ge=1000, le=10_000_000)] = 50_000
    #: The largest head of a request: its target and its headers (kB).
    max_header_kb: Annotated[float, msgspec.Meta(ge=1, le=1000)] = 64
    #: The largest form of a flow (kB of its JSON).
    max_form_kb: Annotated[float, msgspec.Meta(gt=0, le=16_000)] = 256
    #: The largest payload of an event that is stored whole (kB of its JSON).
    max_event_kb: Annotated[float, msgspec.Meta(ge=4, le=65_536)] = 65_536
    #: The most that is stored of an execution's events (MB); the rest is cut.
    max_events_mb: Annotated[float, msgspec.Meta(ge=1, le=1e6)] = 1024
    #: Space that the data directory's disk keeps free for urgent writes (MB), or a fifth of a
    #: smaller disk; 0 for none.
    disk_reserve_mb: Annotated[float, msgspec.Meta(ge=0, le=1e6)] = 256
    #: Unfinished uploads of one key or one user: how many, and their total size (MB).
    max_unfinished_uploads: _AtLeastOne = 100
    max_unfinished_mb: Annotated[float, msgspec.Meta(gt=0, le=1e9)] = 20_480
    #: How long an unfinished upload may be idle before it is removed (hours).
    unfinished_hours: Annotated[float, msgspec.Meta(gt=0, le=8760)] = 24
    #: Requests that a key or a user may make (/s, over ten seconds); 0 for no limit.
    key_requests_per_s: Annotated[float, msgspec.Meta(ge=0)] = 1000
    #: Launches by schedules, of all services (/s).
    schedules_per_s: Annotated[float, msgspec.Meta(ge=0.1, le=10_000)] = 50
    #: Open streams of one key or one user.
    max_streams_per_key: _AtLeastOne = 1000
    #: Open streams in all; each costs up to a megabyte while its reader does not read.
    max_streams: _AtLeastOne = 2000
    #: How long a reader of any answer may read nothing before its connection is cut (seconds).
    stream_stall_s: Annotated[float, msgspec.Meta(ge=1, le=86_400)] = 60
    #: How long a session is valid after a login (hours).
    session_hours: Annotated[float, msgspec.Meta(gt=0, le=8760)] = 12
    #: Whether the API's description is shown as a page, at /docs.
    api_docs: bool = False
    #: A file on the head node with the private key that signs agent cards; empty for none.
    card_key: str = ""
    #: Whether Kodosumi's HTTP API is served, too, for clients of Kodosumi.
    kodosumi_api: bool = False
    #: Whether downloads of files are redirected to signed URLs of the storage, if it has such.
    blobs_redirect: bool = False
    #: Whether a file field takes a URL, which the control plane fetches.
    url_inputs: bool = False
    #: How long a durable execution may only wait until it leaves its runner (seconds).
    park_after: Annotated[float, msgspec.Meta(ge=0, le=1e9)] = 60
    #: The largest result of a step (MB).
    max_step_mb: Annotated[float, msgspec.Meta(gt=0, le=48)] = 16
    #: Where the Masumi payment service answers, through which jobs over MIP-003 are paid.
    masumi_url: str = ""
    #: How often it is asked for the payments of open jobs (seconds).
    masumi_poll_s: Annotated[float, msgspec.Meta(ge=0.1, le=3600)] = 10
    #: How long a purchaser may take to pay a job, and the seller to submit its result (hours).
    masumi_pay_hours: Annotated[float, msgspec.Meta(gt=0, le=8760)] = 12
    masumi_result_hours: Annotated[float, msgspec.Meta(gt=0, le=8760)] = 24
    #: Whether results are hashed as they stand within JSON, as the package `masumi` does.
    masumi_escaped_hash: bool = False
    #: The key as which callers without a key use flows that are public over MIP-003.
    mip003_key: str = ""
    #: Origins whose pages may use the API in a browser, such as https://app.example.com.
    cors_origins: _Texts = ()
    #: Addresses and networks that webhooks may be sent to although they are not public.
    webhook_networks: _Texts = ()
    #: How long the log of webhooks is kept (days); 0 for ever.
    keep_deliveries_days: _Days = 14
    #: Addresses and networks of proxies whose X-Forwarded-For and -Proto headers are trusted.
    trusted_proxies: _Texts = ()
    #: For how long browsers must insist on TLS once they have seen it (seconds); 0 for never.
    hsts_s: _Count = 31_536_000

    def change(self, values: dict[str, Any]) -> None:
        """Take over values that `parsed` has accepted, in this koco or an earlier one."""
        for name in self.__struct_fields__:
            if name in values:
                value = values[name]
                setattr(self, name, tuple(value) if isinstance(value, list) else value)


def parse(pairs: Iterable[str]) -> dict[str, Any]:
    """Return the settings in texts `NAME=VALUE`; `NAME=a,b` if a setting takes several values.

    Raises:
        UsageError: there is no such setting, or the value is invalid.
    """
    values: dict[str, Any] = {}
    for pair in pairs:
        name, sign, text = pair.partition("=")
        require_known(name)
        if not sign:
            raise UsageError(f"--set takes NAME=VALUE, got {pair!r}")
        values[name] = _value(name, text)
    return values


def check(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return checked values of settings, which may be given as texts.

    Raises:
        UsageError: there is no such setting, or the value is invalid.
    """
    for name in values:
        require_known(name)
    return {name: _value(name, value) for name, value in values.items()}


def require_known(name: str) -> None:
    """Check the name of a setting.

    Raises:
        UsageError: there is no such setting. The hint has the name that was probably meant.
    """
    if name in Settings.__struct_fields__:
        return
    near = nearest(name, Settings.__struct_fields__)
    known = ", ".join(Settings.__struct_fields__)
    hint = f"did you mean {near}?" if near else f"settings: {known}"
    raise UsageError(f"there is no setting {name[:80]!r}", hint=hint)


def defaults() -> dict[str, Any]:
    """Return the default of each setting, in their order."""
    found: dict[str, Any] = msgspec.to_builtins(Settings())
    return found


def _value(name: str, value: Any) -> Any:
    kind = next(field.type for field in msgspec.structs.fields(Settings) if field.name == name)
    if name in _TEXT_READERS:
        return _TEXT_READERS[name](value)
    if name in _CHECKS:
        return [_CHECKS[name](each) for each in _texts(name, value)]
    try:
        found = msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError as exc:
        raise _invalid(name, value, kind) from exc
    if isinstance(found, float) and not math.isfinite(found):
        raise _invalid(name, value, kind)  # no bound excludes NaN
    return found


def _texts(name: str, value: Any) -> list[str]:
    """Return the parts of a text `a,b`, or a list as it is."""
    if isinstance(value, str):
        return [part for each in value.split(",") if (part := each.strip())]
    if isinstance(value, list | tuple) and all(isinstance(each, str) for each in value):
        return list(value)
    raise UsageError(f"the setting {name} cannot be {value!r}", hint="a text, or a list of texts")


def _invalid(name: str, value: Any, kind: Any) -> UsageError:
    return UsageError(f"the setting {name} cannot be {value!r}", hint=_wanted(kind))


def _wanted(kind: Any) -> str:
    """Return a setting's type in words."""
    if kind is bool:
        return "true or false"
    if kind is str:
        return "a text"
    limits = msgspec.json.schema(kind)
    words = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "up to"}
    bounds = " ".join(f"{word} {limits[name]:,g}" for name, word in words.items() if name in limits)
    return f"a whole number {bounds}" if limits["type"] == "integer" else f"a number {bounds}"


def _origin(text: str) -> str:
    if not _ORIGIN.fullmatch(text.lower()):
        raise UsageError(
            f"cors_origins: {text!r} is not an origin",
            hint="for example https://app.example.com, without a path",
        )
    return text.lower()


def _network(setting: str, text: str) -> str:
    try:
        return str(ipaddress.ip_network(text)) if "/" in text else str(ipaddress.ip_address(text))
    except ValueError as exc:
        raise UsageError(f"{setting}: {exc}", hint="such as 10.0.0.5 or 10.0.0.0/8") from exc


def _url(value: Any) -> str:
    """Return the checked URL of a payment service, which may be empty."""
    if not isinstance(value, str) or (value and not _URL.fullmatch(value)):
        raise UsageError(
            f"masumi_url: {value!r} is not the URL of a payment service",
            hint="such as https://payment.example.com/api/v1",
        )
    return value.rstrip("/")


def _name(value: Any) -> str:
    """Return a name of a key, which may be empty. The key need not be there yet."""
    if not isinstance(value, str) or not value.isprintable() or len(value) > _NAME_LENGTH:
        raise UsageError(f"mip003_key: {value!r} is not the name of a key", hint="such as masumi")
    return value.strip()


_CHECKS: dict[str, Callable[[str], str]] = {
    "cors_origins": _origin,
    "trusted_proxies": partial(_network, "trusted_proxies"),
    "webhook_networks": partial(_network, "webhook_networks"),
}
_TEXT_READERS: dict[str, Callable[[Any], str]] = {"masumi_url": _url, "mip003_key": _name}
