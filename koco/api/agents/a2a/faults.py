"""The errors of A2A, and which of them stands for each of koco's errors.

Codes and statuses are those of the specification's section 5.4.
"""

import time
from typing import Any, NamedTuple

from koco import tokens
from koco.errors import (
    GLOBAL_FIELD,
    ConflictError,
    InputsError,
    KocoError,
    MediaTypeError,
    MethodError,
    NotAllowedError,
    NotFoundError,
    TooManyError,
    UnauthorizedError,
    UsageError,
)
from koco.events import line

_ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"
_BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"
#: The domain of the specification's own reasons, and that of the others.
_DOMAIN, _OURS = "a2a-protocol.org", "koco"


class Fault(NamedTuple):
    """A kind of error: its code in JSON-RPC, its status in HTTP and in gRPC's words, its reason."""

    rpc: int
    http: int
    status: str
    reason: str
    domain: str = _DOMAIN


TASK_NOT_FOUND = Fault(-32001, 404, "NOT_FOUND", "TASK_NOT_FOUND")
TASK_NOT_CANCELABLE = Fault(-32002, 400, "FAILED_PRECONDITION", "TASK_NOT_CANCELABLE")
UNSUPPORTED = Fault(-32004, 400, "FAILED_PRECONDITION", "UNSUPPORTED_OPERATION")
CONTENT_TYPE = Fault(-32005, 400, "INVALID_ARGUMENT", "CONTENT_TYPE_NOT_SUPPORTED")
VERSION = Fault(-32009, 400, "FAILED_PRECONDITION", "VERSION_NOT_SUPPORTED")

NOT_JSON = Fault(-32700, 400, "INVALID_ARGUMENT", "PARSE_ERROR", _OURS)
NOT_A_REQUEST = Fault(-32600, 400, "INVALID_ARGUMENT", "INVALID_REQUEST", _OURS)
NO_METHOD = Fault(-32601, 404, "NOT_FOUND", "METHOD_NOT_FOUND", _OURS)
PARAMS = Fault(-32602, 400, "INVALID_ARGUMENT", "INVALID_PARAMS", _OURS)
INTERNAL = Fault(-32603, 500, "INTERNAL", "INTERNAL", _OURS)

#: Which fault stands for a class of koco's errors, the most specific first. The codes of those
#: without one of A2A's own are of the range that JSON-RPC leaves to servers.
_OTHERS: tuple[tuple[type[KocoError], Fault], ...] = (
    (InputsError, PARAMS),
    (MediaTypeError, CONTENT_TYPE),
    (MethodError, Fault(-32601, 405, "UNIMPLEMENTED", "METHOD_NOT_FOUND", _OURS)),
    (ConflictError, Fault(-32602, 409, "ABORTED", "CONFLICT", _OURS)),
    (UnauthorizedError, Fault(-32010, 401, "UNAUTHENTICATED", "UNAUTHENTICATED", _OURS)),
    (NotAllowedError, Fault(-32011, 403, "PERMISSION_DENIED", "PERMISSION_DENIED", _OURS)),
    (NotFoundError, Fault(-32602, 404, "NOT_FOUND", "NOT_FOUND", _OURS)),
    (TooManyError, Fault(-32012, 429, "RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED", _OURS)),
    (UsageError, PARAMS),
)


class A2AError(UsageError):
    """An error of the protocol. `violations` are messages by the path of the field they are of."""

    def __init__(
        self,
        fault: Fault,
        message: str,
        *,
        hint: str | None = None,
        violations: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.fault = fault
        self.violations = violations or {}
        self.http_status = fault.http
        self.code = fault.reason.lower()


def fault_of(error: KocoError) -> Fault:
    """Return the fault that an error is told as."""
    if isinstance(error, A2AError):
        return error.fault
    found = next((fault for kind, fault in _OTHERS if isinstance(error, kind)), INTERNAL)
    # A service's own endpoint, a full disk or a limit has a status of its own.
    return found._replace(http=error.http_status) if found is INTERNAL else found


def details(error: KocoError, **metadata: str) -> list[dict[str, Any]]:
    """Return the objects with an error's details, each with its `@type`."""
    fault = fault_of(error)
    about = {"timestamp": line.timestamp(time.time()), "code": error.code, **metadata}
    if error.hint:
        about["hint"] = tokens.mask_all(error.hint)
    info = {"reason": fault.reason, "domain": fault.domain, "metadata": about}
    found: list[dict[str, Any]] = [{"@type": _ERROR_INFO, **info}]
    if violations := _violations(error):
        found.append({"@type": _BAD_REQUEST, "fieldViolations": violations})
    return found


def _violations(error: KocoError) -> list[dict[str, str]]:
    if isinstance(error, A2AError):
        return [{"field": at, "description": text} for at, text in error.violations.items()]
    if not isinstance(error, InputsError):
        return []
    return [
        {"field": "message.parts" if name == GLOBAL_FIELD else name, "description": text}
        for name, texts in error.errors.items()
        for text in texts
    ]


def violated(field: str, why: str, *, hint: str | None = None) -> A2AError:
    """Return the error that a field of a request is not valid."""
    return A2AError(PARAMS, f"{field}: {why}", hint=hint, violations={field: why})


def no_task(fid: str) -> A2AError:
    """Return the error that a task does not exist, or is not the caller's to see."""
    return A2AError(TASK_NOT_FOUND, f"there is no task {fid[:80]!r} here")
