"""Every error that koco raises on purpose, with its exit code and HTTP status.

    KocoError                  1   500   any other failure
    ├── UsageError             2   400   the command or request is invalid
    │   ├── InputsError        2   422   the flow's form refuses the inputs
    │   ├── ManifestError      2   422   a manifest or koco.toml has problems
    │   ├── ConflictError      2   409   the resource's state does not allow it
    │   │   └── RetriedError   2   409   the execution was already retried or resumed
    │   ├── LimitError         2   413   more than a setting allows
    │   ├── MethodError        2   405   the path does not have this method
    │   ├── AcceptError        2   406   the accepted media types do not include any of ours
    │   ├── MediaTypeError     2   415   the body's media type is not supported
    │   ├── HandlerRefusal     2   400   a service's handler refuses, with a 4xx status of its own
    │   └── PathError          2   400   not a path of an execution's files; a ValueError, too
    ├── UnreachableError       3   503   no control plane answers
    ├── AnswerError            3   502   the answer is not one of a control plane
    ├── NotFoundError          4   404   the named thing does not exist
    ├── DeployError            5   422   a release did not become ready
    ├── EndpointError          1   502   a service's own endpoint failed
    ├── StepResultError        1   500   the outcome of a flow's step cannot be kept
    ├── FlowError              1   500   another execution, which a flow called, failed
    ├── NotAllowedError        6   403   the key's scope is not enough
    │   └── UnauthorizedError  6   401   no key, or an unknown one
    ├── CancelledError         7   409   the execution was cancelled
    ├── AwaitingError          8   409   the execution waits for a person's answer
    ├── TooManyError           9   429   a limit on running or waiting executions is reached
    ├── NoRoomError            1   507   the control plane's disk is full
    ├── OutputError           74   500   a command cannot write its output
    ├── TimedOutError        124   504   it did not happen in time
    └── Interrupted          130   499   Ctrl-C

A test compares this tree with the classes below. A message says what went wrong
and where; the hint says how to fix it. Only `koco.cli.main` prints an error and
exits, and only one API handler turns one into a response. `from_wire` turns that
response back into the error.
"""

from typing import Any

#: The field name for messages that are not about one field.
GLOBAL_FIELD = "_global_"


class KocoError(Exception):
    """The root. `message` says what is wrong and where, `hint` how to fix it."""

    exit_code = 1
    http_status = 500
    code = "error"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        #: The id of the request that a control plane refused with this error.
        self.request_id: str | None = None
        if hint is not None:
            self.add_note(f"hint: {hint}")  # shown in Python's own tracebacks, in tests for example

    def __str__(self) -> str:
        return self.message

    def to_wire(self) -> dict[str, Any]:
        """Return `{"error": {code, message, hint}}`. Scripts rely on this form."""
        error = {"code": self.code, "message": self.message, "hint": self.hint}
        return {"error": error | ({"request_id": self.request_id} if self.request_id else {})}


class UsageError(KocoError):
    """The command, the request or a file given to it is invalid."""

    exit_code = 2
    http_status = 400
    code = "usage"


def _prefix_field(name: str, text: str) -> str:
    """Put a field's name before its message. `[2]: …`, about an element, becomes `name[2]: …`."""
    index = text.partition("]")[0]
    return f"{name}{text}" if index[:1] == "[" and index[1:].isdigit() else f"{name}: {text}"


class InputsError(UsageError):
    """A form refuses the inputs. Holds the messages of each field.

    Keyword arguments name a field, positional messages are about all inputs:
    `InputsError("Closed today.", topic="Please give me a topic.")`. Or add them one by one:

        error = InputsError()
        error.add(topic="Please give me a topic.")
        if error.has_errors():
            raise error
    """

    http_status = 422
    code = "invalid_inputs"

    def __init__(self, /, *messages: str, **fields: str | list[str]) -> None:
        #: The messages by field.
        self.errors: dict[str, list[str]] = {}
        super().__init__("")
        self.add(**fields)
        if messages:
            self.add(**{GLOBAL_FIELD: list(messages)})

    def add(self, /, **fields: str | list[str]) -> None:
        """Add messages to fields. Messages of `_global_` are not about one field."""
        for name, value in fields.items():
            self.errors.setdefault(name, []).extend([value] if isinstance(value, str) else value)
        lines = [
            text if name == GLOBAL_FIELD else _prefix_field(name, text)
            for name, texts in self.errors.items()
            for text in texts
        ]
        self.message = "\n".join(lines) or "the inputs are not valid"
        self.args = (self.message,)

    def has_errors(self) -> bool:
        """Return whether there is a message."""
        return any(self.errors.values())

    def __bool__(self) -> bool:
        """Return the same, so that `if error: raise error` works."""
        return self.has_errors()

    def to_wire(self) -> dict[str, Any]:
        """Add `errors`, the messages by field, as in an endpoint's answer."""
        return {**super().to_wire(), "errors": self.errors}


class ManifestError(UsageError):
    """A manifest or `koco.toml` has problems; `problems` are `file:line:column: text`."""

    http_status = 422
    code = "invalid_manifest"

    def __init__(self, problems: list[str], *, hint: str | None = None) -> None:
        super().__init__("\n".join(problems), hint=hint)
        self.problems = problems


class ConflictError(UsageError):
    """The resource's state does not allow the operation."""

    http_status = 409
    code = "conflict"


class RetriedError(ConflictError):
    """The execution was already retried or resumed, and the caller wants that only once.

    `new` is the fid of the latest execution that was launched for it, if it is known.
    """

    code = "retried"

    def __init__(self, message: str, *, hint: str | None = None, new: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.new = new


class LimitError(UsageError):
    """The request exceeds a setting. The message names the setting and its value."""

    http_status = 413
    code = "limit"


class MethodError(UsageError):
    """The path does not have this method; `headers` list its methods."""

    http_status = 405
    code = "method"

    def __init__(self, message: str, *, hint: str | None = None, allow: str = "") -> None:
        super().__init__(message, hint=hint)
        self.headers = {"Allow": allow}


class AcceptError(UsageError):
    """The request accepts only media types that this path does not offer."""

    http_status = 406
    code = "accept"


class MediaTypeError(UsageError):
    """The request's body has a media type that this path does not take."""

    http_status = 415
    code = "media_type"


class HandlerRefusal(UsageError):  # noqa: N818 - a handler's answer, not a failure
    """A service's handler refuses the request. The status (4xx) and the message are its own."""

    code = "refused"

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        status: int = 400,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.http_status = status
        self.headers = headers or {}


class PathError(UsageError, ValueError):
    """The text is not a path of an execution's files. They are in `in/` and `out/`."""

    code = "path"


class UnreachableError(KocoError):
    """No control plane answers."""

    exit_code = 3
    http_status = 503
    code = "unreachable"


class AnswerError(KocoError):
    """Something answers that is not a control plane, or its answer cannot be understood."""

    exit_code = 3
    http_status = 502
    code = "answer"


class NotFoundError(KocoError):
    """The named thing does not exist."""

    exit_code = 4
    http_status = 404
    code = "not_found"


class _DetailedError(KocoError):
    """An error with a `detail` from the user's side: a traceback, or pip's output."""

    def __init__(self, message: str, *, detail: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.detail = detail

    def to_wire(self) -> dict[str, Any]:
        """Add `detail` to the error."""
        wire = super().to_wire()
        wire["error"]["detail"] = self.detail
        return wire


class DeployError(_DetailedError):
    """A release did not become ready; `detail` is the user's traceback or pip's output."""

    exit_code = 5
    http_status = 422
    code = "deploy_failed"


class EndpointError(_DetailedError):
    """A service's own endpoint failed; `detail` is its traceback, if the caller may see it."""

    http_status = 502
    code = "endpoint_failed"


class StepResultError(KocoError):
    """The outcome of a step cannot be kept: its type, or its size. The message says which."""

    code = "step_result"


class FlowError(KocoError):
    """Another execution, which a flow called, failed, was cancelled or could not be launched."""

    code = "flow"

    #: The other execution's id; empty if it could not be launched.
    fid: str = ""
    #: The type and the message of its error, as its own event `error` has them, or of the refusal.
    type: str = ""
    reason: str = ""
    #: Its traceback, as text; empty if there is none.
    traceback: str = ""


class NotAllowedError(KocoError):
    """The caller's key, session or Ray token does not allow the operation."""

    exit_code = 6
    http_status = 403
    code = "not_allowed"


class UnauthorizedError(NotAllowedError):
    """The caller sent no key, or an unknown one. A known key without the scope gets 403."""

    http_status = 401
    code = "unauthorized"


class CancelledError(KocoError):
    """The execution that the caller waits for was cancelled."""

    exit_code = 7
    http_status = 409
    code = "cancelled"


class AwaitingError(KocoError):
    """The execution waits for a person's answer, and the caller must not ask for one."""

    exit_code = 8
    http_status = 409
    code = "awaiting"


class TooManyError(KocoError):
    """A limit on running or waiting executions is reached. The message names the limit."""

    exit_code = 9
    http_status = 429
    code = "too_many"

    def __init__(
        self, message: str, *, hint: str | None = None, retry_after_s: float = 1.0
    ) -> None:
        super().__init__(message, hint=hint)
        self.headers = {"Retry-After": str(max(1, round(retry_after_s)))}


class NoRoomError(KocoError):
    """The control plane's disk is full. Nothing of the request was stored."""

    http_status = 507
    code = "no_room"


class OutputError(KocoError):
    """A command cannot write its output, because the disk is full for example."""

    exit_code = 74
    code = "output"


class TimedOutError(KocoError):
    """It did not happen in time. It may still happen."""

    exit_code = 124
    http_status = 504
    code = "timed_out"


class Interrupted(KocoError):  # noqa: N818 - the builtin InterruptedError means something else
    """The user pressed Ctrl-C."""

    exit_code = 130
    http_status = 499
    code = "interrupted"


def unexpected(exc: Exception) -> KocoError:
    """Return the error that tells the user of a bug in koco."""
    return KocoError(
        f"unexpected {type(exc).__name__}: {exc}; this is a bug",
        hint="KOCO_DEBUG=1 shows where; please report it with that",
    )


def _with_subclasses(cls: type[KocoError]) -> list[type[KocoError]]:
    return [cls, *(each for sub in cls.__subclasses__() for each in _with_subclasses(sub))]


def from_wire(body: dict[str, Any]) -> KocoError:
    """Return the error in an answer's body: problem details, or the form of `KocoError.to_wire`."""
    if isinstance(data := body.get("error"), dict):
        message, detail = data.get("message"), data.get("detail")
    else:
        # Problem details (RFC 9457), from the API; their `detail` is our message.
        data, message, detail = body, body.get("detail"), body.get("traceback")
    error = _build_error(
        str(data.get("code")),
        str(message or ""),
        hint=data.get("hint"),
        detail=detail,
        fields=dict(body.get("errors") or {}),
        status=body.get("status"),
    )
    error.request_id = data.get("request_id")
    return error


def _build_error(
    code: str, message: str, *, hint: Any, detail: Any, fields: dict[str, Any], status: Any
) -> KocoError:
    if code == InputsError.code:
        return InputsError(*fields.pop(GLOBAL_FIELD, []), **fields)
    if code == HandlerRefusal.code and isinstance(status, int):
        return HandlerRefusal(message, hint=hint, status=status)
    if code == ManifestError.code:
        return ManifestError(message.splitlines(), hint=hint)
    for cls in (DeployError, EndpointError):
        if code == cls.code:
            return cls(message, detail=detail, hint=hint)
    # If several classes share a code, take the one nearest to the root: a class that inherits
    # its code is only for internal use.
    ours = [cls for cls in _with_subclasses(KocoError) if cls.__module__ == __name__]
    kinds = {cls.code: cls for cls in reversed(ours)}
    # A newer control plane may send an unknown code. The status says at least whose fault it is.
    is_callers_fault = isinstance(status, int) and 400 <= status < 500
    return kinds.get(code, UsageError if is_callers_fault else KocoError)(message, hint=hint)
