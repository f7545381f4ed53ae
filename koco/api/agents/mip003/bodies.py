"""The bodies of requests, which are JSON objects."""

from typing import TypeVar

import msgspec

from koco.api.http.request import Request
from koco.errors import UsageError

T = TypeVar("T")


async def read(request: Request, shape: type[T]) -> T:
    """Return the body of a request. Members that the shape does not have are ignored.

    Raises:
        UsageError: it is not JSON, or has another shape.
    """
    try:
        return msgspec.json.decode(await request.body(), type=shape)
    except (msgspec.DecodeError, RecursionError) as exc:
        raise UsageError(
            f"the body is not valid: {exc}", hint="send a JSON object as MIP-003 describes it"
        ) from exc
