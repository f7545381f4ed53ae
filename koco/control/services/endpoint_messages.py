"""What services' own endpoints say. A service is a stranger: it may say anything."""

from typing import Annotated, Any, TypeVar

import msgspec

from koco.errors import EndpointError

T = TypeVar("T")

#: How many fields an endpoint may refuse at once, with as many messages each: a person reads them.
_MOST = 1_000
_Messages = Annotated[list[str], msgspec.Meta(max_length=_MOST)]


class About(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an endpoint may say about an execution: who runs what is not for it to say."""

    summary: Any = None
    description: Any = None
    reference: Any = None


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """What an endpoint says that a lock shows."""

    form: list[dict[str, Any]] | None = None


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """What an endpoint says of a handler that failed."""

    type: str
    message: str
    traceback: str
    hint: str | None = None


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """What an endpoint says of inputs that it refuses: messages by field."""

    errors: Annotated[dict[str, _Messages], msgspec.Meta(max_length=_MOST)]


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What an endpoint wants to have run: see `koco.sdk.endpoint.launch`."""

    entrypoint: str
    inputs: dict[str, Any]
    #: Which texts of the inputs are dates and times: see `koco.events.datetimes`.
    moments: list[Any] = []
    about: About = About()
    #: The flow that it names instead of the one that was asked for.
    flow: str | None = None


def read_as(kind: type[T], blob: bytes, *, where: str) -> T:
    """Read what an endpoint says: it is a service's own, and may say anything."""
    try:
        return msgspec.json.decode(blob, type=kind)
    except (msgspec.DecodeError, RecursionError) as exc:
        what = kind.__name__.lower()
        raise EndpointError(
            f"{where} gave no {what}: {exc}",
            hint="koco's own headers, `x-koco-…`, are not for a service to set",
        ) from exc
