"""Every error that koco raises on purpose, with its exit code and HTTP status.

    KocoError
    ├── UsageError          2   400   a command or request that makes no sense
    │   ├── InputsError     2   422   inputs that the flow's form refuses
    │   ├── ManifestError   2   422   a manifest or koco.toml with problems
    │   ├── ConflictError   2   409   the thing's present state forbids it
    │   ├── LimitError      2   413   more than a setting allows
    │   ├── MethodError     2   405   no such method at that path
    │   ├── AcceptError     2   406   not in a media type that was asked for
    │   ├── MediaTypeError  2   415   a body of another kind than is taken
    │   └── PathError       2   400   no path of an execution's files; a ValueError, too
    ├── UnreachableError    3   503   no control plane answers
    ├── AnswerError         3   502   what answers says what no control plane does
    ├── NotFoundError       4   404
    ├── DeployError         5   422   a release did not become ready
    ├── EndpointError       1   502   a service's own endpoint failed at a request
    ├── NotAllowedError     6   403   no key, a wrong key, or not enough scope
    ├── CancelledError      7   409   the execution was cancelled
    ├── AwaitingError       8   409   an execution awaits a person, and none is asked here
    ├── TooManyError        9   429   a limit on what runs or waits at once is reached
    ├── NoRoomError         1   507   the control plane's disk has no room for it
    ├── OutputError        74   500   what a command has to say cannot be written
    ├── TimedOutError     124   504
    └── InterruptedError_ 130   499   Ctrl-C

An error says what happened and where; its hint says how to mend it. Only
`koco.cli.main` prints one and exits, and only one API handler turns one into a
response; `from_wire` turns that response back into the error.
"""

from typing import Any

#: The field name under which messages stand that belong to no field.
GLOBAL_FIELD = "_global_"


class KocoError(Exception):
    """The root: `message` says what and where, `hint` how to mend it."""

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
            self.add_note(f"hint: {hint}")  # where Python itself shows it, in a test say

    def __str__(self) -> str:
        return self.message

    def to_wire(self) -> dict[str, Any]:
        """Return `{"error": {code, message, hint}}`, the form that scripts rely on."""
        told = {"code": self.code, "message": self.message, "hint": self.hint}
        return {"error": told | ({"request_id": self.request_id} if self.request_id else {})}


class UsageError(KocoError):
    """The command, the request or a file given to it makes no sense."""

    exit_code = 2
    http_status = 400
    code = "usage"


def _placed(name: str, text: str) -> str:
    """Return a field's message with its name; one on an element begins with its index."""
    index = text.partition("]")[0]
    return f"{name}{text}" if index[:1] == "[" and index[1:].isdigit() else f"{name}: {text}"


class InputsError(UsageError):
    """Inputs that a form refuses: messages per field.

    Positional messages belong to no field; keyword arguments name one:
    `InputsError("Closed today.", topic="Please give me a topic.")`. Or one by one:

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
        """Add messages to fields; the field `_global_` stands for none."""
        for name, value in fields.items():
            self.errors.setdefault(name, []).extend([value] if isinstance(value, str) else value)
        lines = [
            text if name == GLOBAL_FIELD else _placed(name, text)
            for name, texts in self.errors.items()
            for text in texts
        ]
        self.message = "\n".join(lines) or "the inputs are not valid"
        self.args = (self.message,)

    def has_errors(self) -> bool:
        """Say whether there is a message."""
        return any(self.errors.values())

    def __bool__(self) -> bool:
        """Say the same, so that `if error: raise error` does."""
        return self.has_errors()

    def to_wire(self) -> dict[str, Any]:
        """Add `errors`, the messages by field, as an endpoint's answer has them."""
        return {**super().to_wire(), "errors": self.errors}


class ManifestError(UsageError):
    """A manifest or `koco.toml` with problems; `problems` are `file:line:column: text`."""

    http_status = 422
    code = "invalid_manifest"

    def __init__(self, problems: list[str], *, hint: str | None = None) -> None:
        super().__init__("\n".join(problems), hint=hint)
        self.problems = problems


class ConflictError(UsageError):
    """The present state of the thing forbids what was asked."""

    http_status = 409
    code = "conflict"


class LimitError(UsageError):
    """More than a setting allows; the message names the setting and its value."""

    http_status = 413
    code = "limit"


class MethodError(UsageError):
    """A request with a method that its path does not have; `headers` name those it has."""

    http_status = 405
    code = "method"

    def __init__(self, message: str, *, hint: str | None = None, allow: str = "") -> None:
        super().__init__(message, hint=hint)
        self.headers = {"Allow": allow}


class AcceptError(UsageError):
    """What was asked for exists in no media type that the request accepts."""

    http_status = 406
    code = "accept"


class MediaTypeError(UsageError):
    """The request's body is of another media type than is taken here."""

    http_status = 415
    code = "media_type"


class PathError(UsageError, ValueError):
    """A text that is no path of an execution's files: those stand in `in/` and `out/`."""

    code = "path"


class UnreachableError(KocoError):
    """No control plane answers."""

    exit_code = 3
    http_status = 503
    code = "unreachable"


class AnswerError(KocoError):
    """Something else than a control plane answers, or one that says what it never should."""

    exit_code = 3
    http_status = 502
    code = "answer"


class NotFoundError(KocoError):
    """What was named does not exist."""

    exit_code = 4
    http_status = 404
    code = "not_found"


class _DetailedError(KocoError):
    """An error whose `detail` is the user's: a traceback, or pip's lines."""

    def __init__(self, message: str, *, detail: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.detail = detail

    def to_wire(self) -> dict[str, Any]:
        """Add `detail` to the error."""
        wire = super().to_wire()
        wire["error"]["detail"] = self.detail
        return wire


class DeployError(_DetailedError):
    """A release did not become ready; `detail` is the user's traceback or pip's lines."""

    exit_code = 5
    http_status = 422
    code = "deploy_failed"


class EndpointError(_DetailedError):
    """A service's own endpoint failed; `detail` is its traceback, for those who may see it."""

    http_status = 502
    code = "endpoint_failed"


class NotAllowedError(KocoError):
    """Something that the caller's key or session does not allow; Ray's token, too."""

    exit_code = 6
    http_status = 403
    code = "not_allowed"


class UnauthorizedError(NotAllowedError):
    """No key was sent, or none that is known: 401, where a known key gets 403."""

    http_status = 401
    code = "unauthorized"


class CancelledError(KocoError):
    """The execution that was waited for was cancelled."""

    exit_code = 7
    http_status = 409
    code = "cancelled"


class AwaitingError(KocoError):
    """An execution awaits a person's answer, and whoever waits for it must not ask one."""

    exit_code = 8
    http_status = 409
    code = "awaiting"


class TooManyError(KocoError):
    """As much runs or waits as a limit allows; the message names it. Later it may be less."""

    exit_code = 9
    http_status = 429
    code = "too_many"

    def __init__(
        self, message: str, *, hint: str | None = None, retry_after_s: float = 1.0
    ) -> None:
        super().__init__(message, hint=hint)
        self.headers = {"Retry-After": str(max(1, round(retry_after_s)))}


class NoRoomError(KocoError):
    """The control plane's disk has no room for it, and nothing of it was kept."""

    http_status = 507
    code = "no_room"


class OutputError(KocoError):
    """What a command has to say cannot be written: the disk is full, say."""

    exit_code = 74
    code = "output"


class TimedOutError(KocoError):
    """What was waited for did not happen in time; it may still."""

    exit_code = 124
    http_status = 504
    code = "timed_out"


class Interrupted(KocoError):  # noqa: N818 - the builtin InterruptedError means something else
    """The user pressed Ctrl-C."""

    exit_code = 130
    http_status = 499
    code = "interrupted"


def unexpected(exc: Exception) -> KocoError:
    """Return what to tell a user of an error that nobody expected."""
    return KocoError(
        f"unexpected {type(exc).__name__}: {exc}; this is a bug",
        hint="KOCO_DEBUG=1 shows where; please report it with that",
    )


def _leaves(cls: type[KocoError]) -> list[type[KocoError]]:
    return [cls, *(leaf for sub in cls.__subclasses__() for leaf in _leaves(sub))]


def from_wire(body: dict[str, Any]) -> KocoError:
    """Return the error that an answer stands for: problem details, or `KocoError.to_wire`'s."""
    if isinstance(told := body.get("error"), dict):
        message, detail = told.get("message"), told.get("detail")
    else:
        # Problem details (RFC 9457), as an API answers; `detail` is what we call the message.
        told, message, detail = body, body.get("detail"), body.get("traceback")
    error = _named(
        str(told.get("code")),
        str(message or ""),
        hint=told.get("hint"),
        detail=detail,
        fields=dict(body.get("errors") or {}),
        status=body.get("status"),
    )
    error.request_id = told.get("request_id")
    return error


def _named(
    code: str, message: str, *, hint: Any, detail: Any, fields: dict[str, Any], status: Any
) -> KocoError:
    if code == InputsError.code:
        return InputsError(*fields.pop(GLOBAL_FIELD, []), **fields)
    if code == ManifestError.code:
        return ManifestError(message.splitlines(), hint=hint)
    for cls in (DeployError, EndpointError):
        if code == cls.code:
            return cls(message, detail=detail, hint=hint)
    # The nearest to the root of those that share a code: what inherits one is its maker's own.
    ours = [cls for cls in _leaves(KocoError) if cls.__module__ == __name__]
    kinds = {cls.code: cls for cls in reversed(ours)}
    # One that only the control plane knows is at least somebody's fault.
    is_asker = isinstance(status, int) and 400 <= status < 500
    return kinds.get(code, UsageError if is_asker else KocoError)(message, hint=hint)
