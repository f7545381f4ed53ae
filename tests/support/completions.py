"""A small server that speaks OpenAI's chat completions: one call of each tool, and an answer."""

import contextlib
import functools
import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.support.http_server import QuietServer

#: The key that the server takes.
KEY = "sk-right"

#: The answer if there are no tools.
VERSE = "The night is long."


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, delay_s: float, prompts: list[str], *more: Any) -> None:
        self._delay_s = delay_s
        self._prompts = prompts
        super().__init__(*more)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers["Authorization"] != f"Bearer {KEY}":
            self._answer(401, {"error": {"message": "Incorrect API key provided"}})
        elif body["model"] == "broken":
            self._answer(200, {"choices": []})
        else:
            self._prompts.append(body["messages"][-1]["content"])
            time.sleep(self._delay_s)
            message = _message(body["messages"], body.get("tools") or [])
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            self._answer(200, {"id": "1", "model": body["model"], "choices": [choice]})

    def _answer(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Say nothing: the tests' output is theirs."""


def _message(messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> dict[str, Any]:
    """Ask for each tool once, calculating what the question is, then answer with what they said."""
    last = messages[-1]
    if not tools:
        return {"role": "assistant", "content": _text(str(last["content"]))}
    if last["role"] == "tool":
        said = [m["content"] for m in messages if m["role"] == "tool"]
        return {"role": "assistant", "content": f"It is {', '.join(said)}."}
    arguments = {"calculate": {"expression": last["content"]}}
    calls = [
        {
            "id": f"call-{tool['function']['name']}",
            "type": "function",
            "function": {
                "name": tool["function"]["name"],
                "arguments": json.dumps(arguments.get(tool["function"]["name"], {})),
            },
        }
        for tool in tools
    ]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def _text(prompt: str) -> str:
    """Return as many questions as are asked for, an answer of its own to each, or a verse."""
    if found := re.match(r"List (\d+) questions about: (.*)\. One a line", prompt):
        return "\n".join(f"{n}. What is {found[2]} {n}?" for n in range(1, int(found[1]) + 1))
    if prompt.startswith(("Answer ", "Summarise")):
        return f"That is {hashlib.sha256(prompt.encode()).hexdigest()[:12]}."
    return VERSE


@contextlib.contextmanager
def endpoint(delay_s: float = 0, prompts: list[str] | None = None) -> Iterator[str]:
    """A running server; its base URL.

    Each answer takes `delay_s`. `prompts` gets the last message of each request that it accepts.
    """
    handler = functools.partial(_Handler, delay_s, [] if prompts is None else prompts)
    server = QuietServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
