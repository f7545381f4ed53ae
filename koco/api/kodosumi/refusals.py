"""Errors in Kodosumi's shape, with the members of koco's problem details beside it.

Kodosumi's clients read `error`, `path`, `detail` and `status_code`.
"""

from collections.abc import Callable
from typing import Any

import msgspec
from litestar import Request, Response

from koco import tokens
from koco.api.http import errors

AnyRequest = Request[Any, Any, Any]

#: The names that Kodosumi gives to errors, by status.
_NAMES = {
    400: "ValidationException",
    401: "NotAuthorizedException",
    403: "PermissionDeniedException",
    404: "NotFoundException",
    405: "MethodNotAllowedException",
    422: "ValidationException",
    429: "TooManyRequestsException",
    500: "InternalServerException",
}
#: The name of all others.
_OTHER = "HTTPException"


def _translate(handle: Callable[..., Response[Any]]) -> Callable[..., Response[Any]]:
    """Return a handler of an exception whose answer has both shapes."""

    def answer(request: AnyRequest, exc: Exception) -> Response[Any]:
        given = handle(request, exc)
        problem = msgspec.to_builtins(given.content)
        status = given.status_code or 500
        found = {
            **problem,
            "error": _NAMES.get(status, _OTHER),
            "path": tokens.mask_all(request.url.path),
            "status_code": status,
        }
        return Response(
            found, status_code=status, headers=given.headers, media_type=given.media_type
        )

    return answer


#: The handler of each exception that becomes an answer.
HANDLERS: dict[Any, Any] = {kind: _translate(handle) for kind, handle in errors.HANDLERS.items()}
