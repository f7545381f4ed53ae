"""Forward messages of MCP between stdin, stdout and a control plane.

Each request has a thread of its own, because a call may take long. If the connection breaks, or
the control plane restarts, the request is sent again: a call has an idempotency key, so that it
meets its execution.
"""

import contextlib
import json
import re
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from koco.cli.mcp.operations import Operations
from koco.client import mcp
from koco.client.transport import Transport
from koco.errors import AnswerError, KocoError, UnreachableError

#: How long the answers that are under way may take once stdin has ended (seconds).
_LAST_S = 10.0
_LOOK_S = 0.1
#: How long a control plane may be away (seconds).
_AWAY_S = 60.0

_PARSE_ERROR, _INVALID_REQUEST, _INVALID_PARAMS, _INTERNAL_ERROR = -32700, -32600, -32602, -32603
_KEY = "koco/idempotencyKey"
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9]+")

Message = dict[str, Any]


class Forwarder:
    """One client on stdin and stdout."""

    def __init__(
        self,
        transport: Transport,
        write: Callable[[bytes], None],
        *,
        path: str,
        operations: Operations | None = None,
        has_plain_names: bool = False,
    ) -> None:
        """`write` writes one line; `operations` are tools that are carried out here.

        With `has_plain_names`, names of tools have only letters, digits and underscores.
        """
        self._transport = transport
        self._write_line = write
        self._path = path
        self._operations = operations
        self._has_plain_names = has_plain_names
        #: The revision that an older client agreed on.
        self._version = ""
        self._writing = threading.Lock()
        #: The requests under way by id: their threads, and whether the client has cancelled them.
        #: Some may have ended. A thread stays here to its very end, so that `serve` waits for it.
        self._threads: dict[str | int | float, tuple[threading.Thread, threading.Event]] = {}

    def serve(self, lines: Iterable[bytes]) -> None:
        """Serve the client until stdin ends, and then what is under way, for a while."""
        for line in lines:
            if line.strip():
                self._take(line)
        until = time.monotonic() + _LAST_S
        for thread, cancelled in list(self._threads.values()):
            while thread.is_alive() and not cancelled.is_set() and time.monotonic() < until:
                thread.join(_LOOK_S)

    def _take(self, line: bytes) -> None:
        """Begin to answer a line, if it wants an answer."""
        try:
            message = _read(line)
        except _InvalidError as exc:
            self._refuse(exc.id, exc.code, str(exc))
            return
        if message.get("method") == "notifications/cancelled":
            self._cancel(message["params"].get("requestId"))
        if "id" not in message or "method" not in message:
            return  # the control plane has no use for notifications
        for ended in [each for each, (own, _) in self._threads.items() if not own.is_alive()]:
            del self._threads[ended]
        cancelled = threading.Event()
        thread = threading.Thread(target=self._answer, args=(message, cancelled), daemon=True)
        self._threads[message["id"]] = (thread, cancelled)
        thread.start()

    def _cancel(self, id_: Any) -> None:
        if isinstance(id_, str | int | float) and (found := self._threads.get(id_)):
            found[1].set()

    def _answer(self, message: Message, cancelled: threading.Event) -> None:
        id_ = message["id"]
        try:
            own = self._operations
            name = message["params"].get("name")
            if own and message["method"] == "tools/call" and own.has(name):
                self._write(own.call(message, cancelled), cancelled)
            else:
                self._forward(message, cancelled)
        except KocoError as exc:
            if not cancelled.is_set():
                hint = f" (hint: {exc.hint})" if exc.hint else ""
                self._refuse(id_, _INTERNAL_ERROR, f"{exc.message}{hint}")
        except OSError:
            pass  # nobody reads any more
        except Exception as exc:
            # Whatever it is, the client does not wait for ever.
            self._refuse(id_, _INTERNAL_ERROR, f"unexpected {type(exc).__name__}: {exc}")
            raise

    def _forward(self, message: Message, cancelled: threading.Event) -> None:
        """Send a request until its answer has come, and pass on what comes."""
        if message["method"] == "tools/call":
            message = _with_key(message)
        passed = _Passed(message["id"])
        attempts = self._transport.attempts(_AWAY_S)
        while True:
            answers = mcp.send(self._transport, self._path, message, version=self._version)
            try:
                with contextlib.closing(answers):  # type: ignore[type-var]
                    for found in answers:
                        if cancelled.is_set():
                            return
                        if found is None:
                            continue
                        attempts.reset()
                        value = self._read_answer(found)
                        if passed.is_new(value):
                            self._write(self._completed(message, value), cancelled)
                        if passed.is_over:
                            return
                raise UnreachableError(f"{self._transport.url} ends in the middle of an answer")
            except UnreachableError as exc:
                attempts.pause(exc, patience_s=self._transport.patience_s(exc))

    def _read_answer(self, found: bytes) -> Message:
        """Return a message of the control plane's, which may send anything.

        Raises:
            AnswerError: it is none.
        """
        try:
            message = json.loads(found)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict) or not isinstance(message.get("params", {}), dict):
            raise AnswerError(f"{self._transport.url} answers with what is no message of MCP")
        return message

    def _completed(self, message: Message, answer: Message) -> Message:
        """Return an answer as the client gets it."""
        if "method" not in answer:
            # A body that cannot be read has no id for the control plane, but the client waits.
            answer = {**answer, "id": message["id"]}
        result = answer.get("result")
        if not isinstance(result, dict):
            return answer
        if message["method"] == "initialize":
            self._version = str(result.get("protocolVersion", ""))
        tools = result.get("tools", [])
        if message["method"] != "tools/list" or not isinstance(tools, list):
            return answer
        if self._has_plain_names:
            tools = _renamed(tools)
        if self._operations and "nextCursor" not in result:
            tools = [*tools, *self._operations.tools()]
        return {**answer, "result": {**result, "tools": tools}}

    def _refuse(self, id_: Any, code: int, message: str) -> None:
        error = {"code": code, "message": message}
        with contextlib.suppress(OSError):
            self._write({"jsonrpc": "2.0", "id": id_, "error": error})

    def _write(self, message: Message, cancelled: threading.Event | None = None) -> None:
        with self._writing:
            if cancelled is None or not cancelled.is_set():
                self._write_line(json.dumps(message).encode() + b"\n")


class _Passed:
    """What the client was told of a request, so that a repeated request tells nothing twice."""

    def __init__(self, id_: Any) -> None:
        self._id = id_
        self._progress = -1.0
        self._is_acknowledged = False
        self.is_over = False

    def is_new(self, message: Message) -> bool:
        """Whether a message is to be passed on."""
        method, params = message.get("method"), message.get("params", {})
        if method == "notifications/progress":
            told = params.get("progress")
            now = told if isinstance(told, int | float) else -1.0
            former, self._progress = self._progress, max(self._progress, now)
            return self._progress > former
        if method == "notifications/subscriptions/acknowledged":
            former_one, self._is_acknowledged = self._is_acknowledged, True
            return not former_one
        self.is_over = method is None
        return True


class _InvalidError(Exception):
    """A line is no message; `id` is that of the request that it was to be."""

    def __init__(self, code: int, why: str, *, id_: Any = None) -> None:
        super().__init__(why)
        self.code = code
        self.id = id_


def _read(line: bytes) -> Message:
    """Return the message in a line. Its `params` and their `_meta` are objects, perhaps empty.

    Raises:
        _InvalidError: there is none.
    """
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as exc:
        raise _InvalidError(_PARSE_ERROR, f"this is not JSON: {exc}") from exc
    if not isinstance(message, dict):
        raise _InvalidError(_INVALID_REQUEST, "send one JSON-RPC message a line")
    id_ = message.get("id")
    if "method" in message and "id" in message and not _is_id(id_):
        raise _InvalidError(_INVALID_REQUEST, "the `id` of a request is a text or a number")
    params = message.get("params")
    params = {} if params is None else params
    if not isinstance(message.get("method", ""), str) or not isinstance(params, dict):
        what = "`method` must be a string, and `params` an object"
        raise _InvalidError(_INVALID_REQUEST, what, id_=id_)
    if not isinstance(params.get("_meta") or {}, dict):
        raise _InvalidError(_INVALID_PARAMS, "params._meta must be an object", id_=id_)
    return {**message, "params": params}


def _is_id(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _renamed(tools: list[Any]) -> list[Any]:
    """Return tools with plain names, which the control plane takes for theirs.

    Tools whose plain names are the same keep their own.
    """
    named = [each for each in tools if isinstance(each, dict) and isinstance(each.get("name"), str)]
    plain = {each["name"]: _NOT_PLAIN.sub("_", each["name"]) for each in named}
    count = Counter(plain.values())
    return [
        {**each, "name": plain[each["name"]]} if count[plain[each["name"]]] == 1 else each
        for each in named
    ]


def _with_key(message: Message) -> Message:
    """Return a call with an idempotency key, its own or a new one."""
    params = message["params"]
    meta = {_KEY: f"mcp-{uuid.uuid4().hex}", **(params.get("_meta") or {})}
    return {**message, "params": {**params, "_meta": meta}}
