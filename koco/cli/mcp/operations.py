"""Tools for agents that develop flows: koco's own commands, with the caller's own key.

Each runs the command in a process of its own, and its result is what the command prints.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from koco.client import mcp

#: How often a running command is checked for being cancelled (seconds).
_LOOK_S = 0.2
#: How much of a command's output a result has (characters): its end.
_MOST_CHARS = 100_000

Arguments = Mapping[str, Any]
_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 1}
_FOLDER = {
    "type": "string",
    "description": "the project's folder; by default the one that the server was started in",
}


@dataclass(frozen=True)
class Operation:
    """One tool: what it does, its arguments, and the command line that it stands for."""

    about: str
    line: Callable[[Arguments], list[str]]
    properties: Mapping[str, Any] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    is_read_only: bool = True
    #: The argument that is the command's standard input, as JSON.
    stdin: str = ""


def _logs(given: Arguments) -> list[str]:
    kinds = [f"--kind={each}" for each in given.get("kinds", [])]
    return ["logs", "--json", f"--tail={given.get('tail', 100)}", *kinds, "--", str(given["fid"])]


def _ps(given: Arguments) -> list[str]:
    filters = [f"--{name}={given[name]}" for name in ("status", "flow", "since") if name in given]
    return ["ps", "--json", "--all", f"--limit={given.get('limit', 20)}", *filters]


def _run(given: Arguments) -> list[str]:
    wait = ["--wait", f"--timeout={given['wait_s']}"] if "wait_s" in given else []
    return ["run", "--json", "--no-input", "--inputs=-", *wait, "--", str(given["flow"])]


def _rollback(given: Arguments) -> list[str]:
    release = [str(given["release"])] if "release" in given else []
    return ["rollback", "--json", "--", str(given["service"]), *release]


OPERATIONS = {
    "koco_plan": Operation(
        "Show what a deploy of the project in a folder would change. Changes nothing.",
        lambda _: ["plan", "--json"],
        {"folder": _FOLDER},
    ),
    "koco_deploy": Operation(
        "Deploy the project in a folder, and wait until its services are live. If one fails, its"
        " former release goes on, and the result says why.",
        lambda _: ["deploy", "--json"],
        {"folder": _FOLDER},
        is_read_only=False,
    ),
    "koco_run": Operation(
        "Launch a flow (`service/flow`) and return its fid; with wait_s, its outcome.",
        _run,
        {
            "flow": _TEXT,
            "inputs": {"type": "object"},
            "wait_s": {**_COUNT, "description": "how long to wait for its end (seconds)"},
        },
        ("flow",),
        is_read_only=False,
        stdin="inputs",
    ),
    "koco_logs": Operation(
        "Show the latest events of an execution: what it printed, its steps, errors, statuses.",
        _logs,
        {
            "fid": {**_TEXT, "description": "the fid, or service/flow for its latest execution"},
            "tail": {**_COUNT, "description": "how many events; 100 by default"},
            "kinds": {"type": "array", "items": _TEXT},
        },
        ("fid",),
    ),
    "koco_ps": Operation(
        "List executions, newest first.",
        _ps,
        {
            **{"status": _TEXT, "flow": _TEXT, "limit": _COUNT},
            "since": {**_TEXT, "description": "such as 2h or yesterday"},
        },
    ),
    "koco_result": Operation(
        "Return the result of an execution, or its error with the traceback.",
        lambda given: ["result", "--json", "--", str(given["fid"])],
        {"fid": _TEXT},
        ("fid",),
    ),
    "koco_rollback": Operation(
        "Go back to the former release of a service, or to one by its number.",
        _rollback,
        {"service": _TEXT, "release": _COUNT},
        ("service",),
        is_read_only=False,
    ),
    "koco_doctor": Operation(
        "Check this machine, the connection, the control plane and Ray.",
        lambda _: ["doctor", "--json"],
    ),
}


class Operations:
    """The tools, for one context."""

    def __init__(self, options: list[str]) -> None:
        """`options` are the options with which `koco` chooses the context."""
        self._koco = [sys.executable, "-m", "koco", *options]

    def has(self, name: Any) -> bool:
        """Return whether there is a tool of that name."""
        return isinstance(name, str) and name in OPERATIONS

    def tools(self) -> list[dict[str, Any]]:
        """Return the tools as `tools/list` has them."""
        return [
            {
                "name": name,
                "description": each.about,
                "inputSchema": {
                    "type": "object",
                    "properties": dict(each.properties),
                    "required": [*each.required],
                    "additionalProperties": False,
                },
                "annotations": {"readOnlyHint": each.is_read_only, "openWorldHint": False},
            }
            for name, each in OPERATIONS.items()
        ]

    def call(self, message: dict[str, Any], cancelled: threading.Event) -> dict[str, Any]:
        """Carry out a call; return the answer. A cancelled one ends its command."""
        params = message["params"]
        operation = OPERATIONS[params["name"]]
        given = params.get("arguments") or {}
        if wrong := _find_problem(operation, given):
            text, is_error = wrong, True
        else:
            text, is_error = self._run(operation, given, cancelled)
        result = {"content": [{"type": "text", "text": text}], "isError": is_error}
        if mcp.VERSION in (params.get("_meta") or {}):
            result["resultType"] = "complete"
        return {"jsonrpc": "2.0", "id": message["id"], "result": result}

    def _run(
        self, operation: Operation, given: Arguments, cancelled: threading.Event
    ) -> tuple[str, bool]:
        try:
            process = subprocess.Popen(
                [*self._koco, *operation.line(given)],
                cwd=given.get("folder"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                errors="replace",
                env={**os.environ, "NO_COLOR": "1"},
            )
        except OSError as exc:
            return f"{given.get('folder') or '.'}: {exc.strerror}", True
        except ValueError as exc:  # a NUL, or half a character
            return f"an argument has characters that no command takes: {exc}", True
        sent: str | None = json.dumps(given.get(operation.stdin, {})) if operation.stdin else ""
        while True:
            try:
                output, errors = process.communicate(sent, timeout=_LOOK_S)
                break
            except subprocess.TimeoutExpired:
                sent = None
                if cancelled.is_set():
                    process.terminate()
        text = "\n".join(part for part in (output.strip(), errors.strip()) if part)
        return text[-_MOST_CHARS:], process.returncode != 0


def _find_problem(operation: Operation, given: Any) -> str:
    """Return what is wrong with a call's arguments, or an empty text."""
    if not isinstance(given, dict):
        return "the arguments are no object"
    unknown = [name for name in given if name not in operation.properties]
    missing = [name for name in operation.required if name not in given]
    if unknown or missing:
        takes = ", ".join(operation.properties) or "none"
        what = f"there is no argument {unknown[0]!r}" if unknown else f"{missing[0]!r} is missing"
        return f"{what}; the arguments are: {takes}"
    kinds = {"string": str, "integer": int, "object": dict, "array": list}
    for name, value in given.items():
        if not isinstance(value, kinds[operation.properties[name]["type"]]):
            return f"{name} must be of the type {operation.properties[name]['type']}"
    return ""
