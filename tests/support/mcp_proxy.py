"""A proxy for the conformance kit of MCP, which can neither send a key nor call tools with `-`.

It adds a key, and writes the names of tools with `_` in the place of `-`.
"""

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

from tests.support.http_server import QuietServer

_HOPS = {"connection", "transfer-encoding", "content-length", "keep-alive"}


class _Proxy(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    target = ""
    key = ""

    def do_POST(self) -> None:
        self._forward()

    def do_GET(self) -> None:
        self._forward()

    def do_DELETE(self) -> None:
        self._forward()

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOPS}
        headers["Authorization"] = f"Bearer {self.key}"
        method, body = _translated(body)
        if "Mcp-Name" in self.headers and method == "tools/call":
            headers["Mcp-Name"] = self.headers["Mcp-Name"].replace("_", "-")
        target = urlsplit(self.target)
        link = http.client.HTTPConnection(target.hostname or "", target.port, timeout=60)
        link.request(self.command, target.path, body, headers)
        answer = link.getresponse()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in _HOPS:
                self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        if method == "tools/list":
            self.wfile.write(_renamed(answer.read()))
        while piece := answer.read1(65536):
            self.wfile.write(piece)
            self.wfile.flush()
        link.close()
        self.close_connection = True

    def log_message(self, *args: Any) -> None:
        pass


def _translated(body: bytes) -> tuple[str, bytes]:
    """Return a message's method, and the message with the name of a tool as koco has it."""
    try:
        message = json.loads(body)
        method = message["method"]
    except (ValueError, KeyError, TypeError):
        return "", body
    params = message.get("params")
    if method == "tools/call" and isinstance(params, dict) and isinstance(params.get("name"), str):
        params["name"] = params["name"].replace("_", "-")
        return method, json.dumps(message).encode()
    return str(method), body


def _renamed(body: bytes) -> bytes:
    try:
        message = json.loads(body)
    except ValueError:
        return body
    for tool in message.get("result", {}).get("tools", []):
        tool["name"] = tool["name"].replace("-", "_")
    return json.dumps(message).encode()


@contextmanager
def proxying(target: str, *, key: str) -> Iterator[str]:
    """Give the URL of a proxy to an endpoint."""
    handler = type("Proxy", (_Proxy,), {"target": target, "key": key})
    server = QuietServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://localhost:{server.server_port}/mcp"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
