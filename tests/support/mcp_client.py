"""A plain client of MCP over HTTP: it sends what a test says, and shows what comes."""

import itertools
import json
from types import TracebackType
from typing import Any, Self

import httpx

MODERN = "2026-07-28"
TASKS = "io.modelcontextprotocol/tasks"
_META = "io.modelcontextprotocol/"
_NAMES = {"tools/call": "name", "resources/read": "uri"}
_NAMES |= dict.fromkeys(("tasks/get", "tasks/update", "tasks/cancel"), "taskId")


class McpClient:
    """Requests of one key, in one revision."""

    def __init__(
        self,
        url: str,
        key: str = "ada",
        *,
        version: str = MODERN,
        path: str = "/mcp",
        capabilities: dict[str, Any] | None = None,
    ) -> None:
        self.version = version
        self.path = path
        self.capabilities = capabilities or {}
        self._ids = itertools.count(1)
        headers = {"Accept": "application/json, text/event-stream"}
        headers |= {"Authorization": f"Bearer {key}"} if key else {}
        self.http = httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=60)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None
    ) -> None:
        self.http.close()

    @property
    def is_modern(self) -> bool:
        return self.version == MODERN

    def message(self, method: str, *, meta: Any = None, **params: Any) -> dict[str, Any]:
        """Return a request, with all that its revision demands."""
        about = dict(meta or {})
        if self.is_modern:
            about[f"{_META}protocolVersion"] = self.version
            about[f"{_META}clientCapabilities"] = self.capabilities
        params |= {"_meta": about} if about else {}
        return {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params}

    def headers(self, message: dict[str, Any]) -> dict[str, str]:
        found = {"MCP-Protocol-Version": self.version}
        if self.is_modern:
            method = message.get("method", "")
            found["Mcp-Method"] = method
            if method in _NAMES:
                found["Mcp-Name"] = str(message["params"].get(_NAMES[method]))
        return found

    def send(self, message: Any, **more: Any) -> httpx.Response:
        """Post a message; `headers` in `more` are added, None removes one."""
        headers = self.headers(message) if isinstance(message, dict) else {}
        headers |= more.pop("headers", {})
        headers = {name: value for name, value in headers.items() if value is not None}
        return self.http.post(self.path, json=message, headers=headers, **more)

    def ask(self, method: str, **params: Any) -> Any:
        """Return the result of a request."""
        answer = self.messages(method, **params)[-1]
        assert "result" in answer, answer
        return answer["result"]

    def messages(self, method: str, **params: Any) -> list[Any]:
        """Return all messages that come upon a request; the last one is its answer."""
        answer = self.send(self.message(method, **params))
        if "event-stream" not in answer.headers.get("content-type", ""):
            return [answer.json()]
        data = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
        return [json.loads(each) for each in data]

    def call(self, name: str, arguments: Any = None, **more: Any) -> Any:
        """Return the result of a tool."""
        return self.ask("tools/call", name=name, arguments=arguments or {}, **more)
