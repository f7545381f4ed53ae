"""The messages of services' own endpoints. Services are not trusted: they may send anything."""

from typing import Annotated, Any, TypeVar

import msgspec

from koco.errors import EndpointError

T = TypeVar("T")

#: How many fields an endpoint may refuse at once, and how many messages each may have. The limit
#: is enough, because people read the messages.
_MOST = 1_000
_Messages = Annotated[list[str], msgspec.Meta(max_length=_MOST)]

#: The longest pickled launch in base64 (characters): 8 MB, as in `koco.kodosumi.endpoint.pickles`,
#: which an endpoint need not use.
_PICKLED = (8 * 1024 * 1024 + 2) // 3 * 4


class About(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The details of an execution that an endpoint may set. User and flow are not among them."""

    summary: Any = None
    description: Any = None
    reference: Any = None
    #: Set by apps in Kodosumi's dialect only.
    author: Any = None
    organization: Any = None
    version: Any = None
    deprecated: Any = None
    extra: Any = None


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """The form of a lock, as an endpoint describes it."""

    form: list[dict[str, Any]] | None = None
    #: The same in Kodosumi's own elements, if the app is in its dialect.
    elements: list[dict[str, Any]] | None = None


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint's report of a failed handler."""

    type: str
    message: str
    traceback: str
    hint: str | None = None
    #: The 4xx status that the handler chose (an `HTTPException`); 0 for any other failure.
    status: Annotated[int, msgspec.Meta(ge=0, lt=500)] = 0
    #: When the caller may retry, as the handler's header of that name says.
    retry_after: Annotated[str, msgspec.Meta(pattern=r"^[ -~]{0,40}$")] = ""


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint's refusal of inputs: messages by field."""

    errors: Annotated[dict[str, _Messages], msgspec.Meta(max_length=_MOST)]


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint's order to launch an execution: see `koco.sdk.endpoint.launch`."""

    entrypoint: str
    inputs: dict[str, Any]
    #: The texts in the inputs that are dates and times: see `koco.events.datetimes`.
    moments: list[Any] = []
    about: About = About()
    #: The flow to run instead of the requested one.
    flow: str | None = None
    #: See `koco.runner.spec.Launch`.
    dialect: str = ""
    pickled: Annotated[str, msgspec.Meta(max_length=_PICKLED)] | None = None

    def __post_init__(self) -> None:
        """Refuse text that is not base64, because other characters take more bytes.

        Raises:
            ValueError: it has other characters.
        """
        if self.pickled is not None and not self.pickled.isascii():
            raise ValueError("`pickled` is not base64")


def read_as(kind: type[T], blob: bytes, *, where: str) -> T:
    """Decode an endpoint's message.

    Raises:
        EndpointError: The message is not valid. This can happen because the endpoint is the
            service's own code.
    """
    try:
        return msgspec.json.decode(blob, type=kind)
    except (msgspec.DecodeError, RecursionError) as exc:
        what = kind.__name__.lower()
        raise EndpointError(
            f"{where} did not send a valid {what}: {exc}",
            hint="a service must not set koco's own headers, `x-koco-…`",
        ) from exc
