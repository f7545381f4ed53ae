"""Reading JSON bodies."""

from typing import TypeVar

import msgspec

from koco.api.http.request import Request
from koco.errors import UsageError

Body = TypeVar("Body")


async def read(
    request: Request, kind: type[Body], *, hint: str | None = None, default: bytes = b""
) -> Body:
    """Return a JSON body as a type; `default` is read instead of an empty one.

    Raises:
        UsageError: the body does not fit the type.
    """
    try:
        return msgspec.json.decode(await request.body() or default, type=kind)
    except (msgspec.DecodeError, RecursionError) as exc:
        raise UsageError(f"the body: {exc}", hint=hint) from exc
