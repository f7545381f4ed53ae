"""What an operator may set of a control plane, while it runs.

Kept in the store, so that they outlive its process and its node: `koco up --set
NAME=VALUE` changes one.
"""

from collections.abc import Iterable
from typing import Annotated, Any

import msgspec

from koco.errors import UsageError

_Count = Annotated[int, msgspec.Meta(ge=0)]
_AtLeastOne = Annotated[int, msgspec.Meta(ge=1)]


class Settings(msgspec.Struct, kw_only=True):
    """The settings of one control plane. Parts read them when they need them: they may change."""

    #: The largest file that it takes from anybody (MB).
    max_file_mb: Annotated[float, msgspec.Meta(gt=0, le=1e9)] = 10_240
    #: Releases of a service that can be gone back to; older ones lose their bundle.
    keep_releases: Annotated[int, msgspec.Meta(ge=1)] = 10
    #: Executions that run at once, of all flows; 0 for no limit.
    max_running: _Count = 0
    #: Executions that wait in line, of all flows; 0 for no limit.
    max_queue: _Count = 0
    #: Streams that one key or session has open.
    max_streams_per_key: _AtLeastOne = 1000
    #: Streams that are open in all; each costs up to a megabyte while its reader does not read.
    max_streams: _AtLeastOne = 2000
    #: How long a stream's reader may take nothing before it is dropped (seconds).
    stream_stall_s: Annotated[float, msgspec.Meta(ge=1)] = 60
    #: How long a session is good after a login (hours).
    session_hours: Annotated[float, msgspec.Meta(gt=0, le=8760)] = 12

    def change(self, values: dict[str, Any]) -> None:
        """Take over values that `parsed` has let pass, here or in another koco's time."""
        for name in self.__struct_fields__:
            if name in values:
                setattr(self, name, values[name])


def parsed(pairs: Iterable[str]) -> dict[str, Any]:
    """Return the settings in texts `NAME=VALUE`.

    Raises:
        UsageError: there is no such setting, or it cannot have that value.
    """
    values: dict[str, Any] = {}
    for pair in pairs:
        name, sign, text = pair.partition("=")
        if not sign or name not in Settings.__struct_fields__:
            known = ", ".join(Settings.__struct_fields__)
            raise UsageError(f"--set takes NAME=VALUE, got {pair!r}", hint=f"settings: {known}")
        values[name] = _value(name, text)
    return values


def _value(name: str, text: str) -> Any:
    kind = next(field.type for field in msgspec.structs.fields(Settings) if field.name == name)
    try:
        return msgspec.convert(text, kind, strict=False)
    except msgspec.ValidationError as exc:
        raise UsageError(f"the setting {name} cannot be {text!r}: {exc}") from exc
