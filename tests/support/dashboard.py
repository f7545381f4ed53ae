"""Ray's dashboard without Ray: real HTTP, and answers as `ray.dashboard` gives them."""

import http.server
import json
import ssl
import threading
from collections.abc import Callable
from typing import Any

from tests.support.http_server import QuietServer

TOKEN = "ray-token-of-a-test"


class Ray:
    """A dashboard: what it has been asked, and what it says of a job."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.url = ""
        self.version = "2.60.0"
        self.mode = "token"
        self.packages: dict[str, bytes] = {}
        self.job: list[dict[str, Any]] = [{"status": "SUCCEEDED"}]
        self.log = ""

    def answer(self, method: str, path: str, body: bytes, token: str) -> tuple[int, Any]:
        if path == "/api/authentication_mode":
            return 200, {"authentication_mode": self.mode}
        if self.mode == "token" and token != f"Bearer {TOKEN}":
            return (403, "Forbidden") if token else (401, "Unauthorized")
        if path == "/api/version":
            return 200, {"ray_version": self.version}
        if path.startswith("/api/packages/gcs/"):
            name = path.rpartition("/")[2]
            if method == "PUT":
                self.packages[name] = body
            return (200, "") if name in self.packages else (404, "does not exist")
        if path.endswith("/logs"):
            return 200, {"logs": self.log}
        if method == "GET":
            return 200, self.job.pop(0) if len(self.job) > 1 else self.job[0]
        return 200, {"submission_id": json.loads(body)["submission_id"]}


Answer = Callable[[str, str, bytes, str], tuple[int, Any]]


class Server:
    """Serves answers: objects as JSON, texts as HTML."""

    def __init__(self, ray: Ray, answer: Answer, context: ssl.SSLContext | None = None) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                ray.requests.append((self.command, self.path, dict(self.headers), body))
                code, what = answer(
                    self.command, self.path, body, self.headers.get("Authorization", "")
                )
                data = (what if isinstance(what, str) else json.dumps(what)).encode()
                self.send_response(code)
                kind = "text/html" if isinstance(what, str) else "application/json"
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_POST = do_PUT = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self.http = QuietServer(("127.0.0.1", 0), Handler)
        if context:
            self.http.socket = context.wrap_socket(self.http.socket, server_side=True)
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()
        scheme = "https" if context else "http"
        self.url = f"{scheme}://127.0.0.1:{self.http.server_address[1]}"

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
