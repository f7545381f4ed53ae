"""What the compatibility kit of A2A needs around an agent: a proxy, and a flow that obeys it.

The kit sends no key, asks at the root of a host, and tells the agent what to do by the beginning of
a message's id, which it uses again and again. So the proxy adds the key, leads to the agent of one
flow, makes each id unique, and hands the kit's id to the flow as an input.
"""

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from threading import Thread
from typing import Any

import httpx

from koco.events.model import Kind
from tests.support.api_server import Api
from tests.support.http_server import QuietServer
from tests.support.played_flows import Stage

#: The form of the flow.
FORM: list[dict[str, Any]] = [
    {"type": "text", "name": "scenario"},
    {"type": "textarea", "name": "text"},
]
_AGENT = "/a2a/svc/tck"


class Rejected(Exception):  # noqa: N818 - as the kit's scenario is called
    """What a flow raises that refuses its task."""


async def tck(stage: Stage) -> Any:
    """Do what the kit's scenario says."""
    scenario = (stage.inputs["scenario"] or "").removeprefix("tck-").removeprefix("stream-")
    if scenario.startswith("input-required"):
        answer = await stage.ask("question")
        while str(answer).startswith("TCK history"):
            answer = await stage.ask("question")
        return "answered"
    if scenario.startswith("artifact-file"):
        await stage.make_file("output.txt", b"output")
        return None
    if scenario.startswith("artifact-data"):
        return {"key": "value", "count": 42}
    if scenario.startswith("artifact-chunked"):
        await stage.write(Kind.RESULT, "chunk-1 ", "chunk-2")
        return None
    if scenario.startswith("reject"):
        raise Rejected("rejected")
    if scenario.startswith("artifact-text"):
        return "Generated text content"
    return "Hello from TCK"


@contextmanager
def proxied(api: Api, key: str) -> Iterator[str]:
    """Run the proxy to the API's flow `svc/tck`; yield its URL."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def _forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            path, _, query = self.path.partition("?")
            path = f"{_AGENT}{path}".rstrip("/") + (f"?{query}" if query else "")
            headers = {n: v for n, v in self.headers.items() if n.lower() not in _HOP}
            if headers.get("Accept", "*/*") == "*/*":
                # The kit wants `application/json`, where the specification has another one first.
                headers["Accept"] = "application/json, text/event-stream"
            headers["Authorization"] = f"Bearer {key}"
            with (
                httpx.Client(base_url=api.url, trust_env=False, timeout=60) as client,
                client.stream(
                    self.command, path, content=_changed(body) or None, headers=headers
                ) as answer,
            ):
                self._answer(answer)

        def _answer(self, answer: httpx.Response) -> None:
            is_stream = "event-stream" in answer.headers.get("content-type", "")
            body = b"" if is_stream else answer.read()
            if "agent-card" in self.path:
                body = body.replace(f"{api.url}{_AGENT}".encode(), url.encode())
            self.send_response(answer.status_code)
            for name, value in answer.headers.items():
                if name not in _HOP:
                    self.send_header(name, value)
            if not is_stream:
                self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            if is_stream:
                for piece in answer.iter_raw():
                    self.wfile.write(piece)
                    self.wfile.flush()

        def do_GET(self) -> None:
            self._forward()

        def do_POST(self) -> None:
            self._forward()

        def do_DELETE(self) -> None:
            self._forward()

    server = QuietServer(("127.0.0.1", 0), Handler)
    url = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield url
    finally:
        server.shutdown()
        server.server_close()


_HOP = frozenset({"host", "content-length", "connection", "transfer-encoding", "accept-encoding"})


def _changed(body: bytes) -> bytes:
    """Return a request whose message begins a task with an id of its own and the kit's as input."""
    try:
        asked = json.loads(body)
        message = (asked.get("params") or asked)["message"]
        if message.get("taskId") or not message["parts"]:
            return body
        scenario = message["messageId"]
        message["messageId"] = f"{scenario}-{secrets.token_hex(8)}"
        message["parts"].append({"data": {"scenario": scenario}})
    except (ValueError, KeyError, TypeError, AttributeError):
        return body  # one of the kit's bad requests
    return json.dumps(asked).encode()
