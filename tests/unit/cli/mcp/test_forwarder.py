"""`koco mcp`, as its own process: what goes in, what comes out."""

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from koco.cli.mcp.forwarder import Forwarder
from tests.support.api_server import Api, serving
from tests.support.http_server import QuietServer
from tests.support.mcp_client import TASKS, McpClient
from tests.support.mcp_flows import give_flows
from tests.support.mcp_sdk import text_of


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("data")) as api:
        give_flows(api)
        yield api


class Server:
    """A running `koco mcp`."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def send(self, message: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(
            f"{message if isinstance(message, str) else json.dumps(message)}\n"
        )
        self.process.stdin.flush()

    def read(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def ask(self, message: Any) -> Any:
        self.send(message)
        return self.read()


def environment(api: Api, home: Path) -> dict[str, str]:
    own = {"KOCO_URL": api.url, "KOCO_KEY": "ada", "KOCO_HOME": str(home), "NO_COLOR": "1"}
    return {**os.environ, **own}


@contextmanager
def running(api: Api, home: Path, *options: str) -> Iterator[Server]:
    process = subprocess.Popen(
        [sys.executable, "-m", "koco", "mcp", *options],
        env=environment(api, home),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    guard = threading.Timer(60, process.kill)
    guard.start()
    try:
        yield Server(process)
        assert process.stdin is not None
        process.stdin.close()
        process.wait(30)
        assert process.stderr is not None
        assert (process.returncode, process.stderr.read()) == (0, "")
    finally:
        guard.cancel()
        process.kill()
        process.wait(30)
        for stream in (process.stdin, process.stdout, process.stderr):
            assert stream is not None
            stream.close()


def modern(api: Api, method: str, **params: Any) -> dict[str, Any]:
    with McpClient(api.url, capabilities={"extensions": {TASKS: {}}}) as client:
        return client.message(method, **params)


def test_forwards_both_eras(api: Api, tmp_path: Path) -> None:
    """Requests and their answers; several at once, each with its own id."""
    with running(api, tmp_path) as server:
        found = server.ask(modern(api, "server/discover"))["result"]
        assert found["resultType"] == "complete"
        old = {"jsonrpc": "2.0", "id": "a", "method": "initialize"}
        old["params"] = {"protocolVersion": "2025-06-18", "capabilities": {}}  # type: ignore[assignment]
        assert server.ask(old)["result"]["protocolVersion"] == "2025-06-18"
        server.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        for id_, name, arguments in ((1, "svc.slow", {"pause": 0.4}), (2, "svc.count", {})):
            params = {"name": name, "arguments": arguments}
            server.send({"jsonrpc": "2.0", "id": id_, "method": "tools/call", "params": params})
        answers = [server.read() for _ in range(2)]
        assert [each["id"] for each in answers] == [2, 1]
        assert answers[1]["result"]["content"][0]["text"] == "done"


def test_answers_what_is_no_message(api: Api, tmp_path: Path) -> None:
    """And goes on."""
    with running(api, tmp_path) as server:
        assert server.ask("{")["error"]["code"] == -32700
        assert server.ask("[]")["error"]["code"] == -32600
        assert server.ask({"jsonrpc": "1", "id": 7, "method": "x"})["error"]["code"] == -32600
        unknown = server.ask(modern(api, "no/method"))
        assert unknown["error"]["code"] == -32601


#: What a client may get wrong, as it is written, and the code of the answer.
_WRONG = [
    ('"method": "tools/call", "params": [1]', -32600),
    ('"method": "tools/list", "params": "x"', -32600),
    ('"method": 5', -32600),
    ('"method": "tools/call", "params": {"name": "svc.greet", "_meta": "x"}', -32602),
    ('"method": "tools/call", "params": {"name": ["koco_ps"]}', -32602),
    # Half of an emoji, as a text has that was cut in the wrong place.
    ('"method": "ping", "params": {"a": "\\ud83d"}', -32700),
]


def test_each_request_gets_an_answer_with_its_id(api: Api, tmp_path: Path) -> None:
    """Whatever is wrong with it: a client without an answer waits for ever."""
    with running(api, tmp_path, "--operate") as server:
        for number, (members, code) in enumerate(_WRONG):
            found = server.ask(f'{{"jsonrpc": "2.0", "id": {number}, {members}}}')
            assert (found["id"], found["error"]["code"]) == (number, code), members
        assert server.ask('{"id": "old", "method": "ping"}')["id"] == "old"
        assert server.ask('{"jsonrpc": "2.0", "id": null, "method": "ping"}')["id"] is None
        listed = server.ask('{"jsonrpc": "2.0", "id": 7, "method": "tools/list", "params": null}')
        assert "tools" in listed["result"]


def test_no_line_ends_the_server(api: Api, tmp_path: Path) -> None:
    """Neither deep nesting nor a notification of an odd shape."""
    with running(api, tmp_path) as server:
        server.send('{"jsonrpc": "2.0", "method": "notifications/cancelled", "params": [1]}')
        assert server.read()["error"]["code"] == -32600
        assert server.ask("[" * 100_000)["error"]["code"] == -32700
        assert server.ask('{"jsonrpc": "2.0", "id": 1, "method": "ping"}')["result"] == {}


def test_an_unexpected_error_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug of koco's own is no silence, either. Its traceback is shown before koco ends."""
    told: list[threading.ExceptHookArgs] = []

    def tell(error: threading.ExceptHookArgs) -> None:
        time.sleep(0.2)
        told.append(error)

    monkeypatch.setattr(threading, "excepthook", tell)
    lines: list[bytes] = []
    nothing: Any = None
    server = Forwarder(nothing, lines.append, path="/mcp")
    server.serve([b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}'])
    (answer,) = map(json.loads, lines)
    assert (answer["id"], answer["error"]["code"]) == (1, -32603)
    assert [each.exc_type for each in told] == [AttributeError]


@pytest.mark.parametrize(
    "said",
    [
        b"{",
        b"[]",
        b"[" * 100_000,
        b'{"method": "x", "params": []}',
        b'{"id": 9, "result": {"text": "\\ud800"}}',
        b'{"method": "notifications/progress", "params": {}}\n\ndata: {"result": {"tools": 1}}',
    ],
    ids=["cut", "list", "deep", "params", "other-id", "progress"],
)
def test_whatever_a_control_plane_says_is_an_answer(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    """To the request that was sent, in JSON that the agent can read."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            self.wfile.write(b"data: %b\n\n" % said)

        def log_message(self, *_: Any) -> None:
            pass

    with QuietServer(("127.0.0.1", 0), Handler) as hostile:
        threading.Thread(target=hostile.serve_forever, daemon=True).start()
        monkeypatch.setattr(api, "url", f"http://127.0.0.1:{hostile.server_port}")
        with running(api, tmp_path, "--operate") as server:
            answer = server.ask({"jsonrpc": "2.0", "id": "x", "method": "tools/list"})
        hostile.shutdown()
    assert answer["id"] == "x"
    assert ("error" in answer) == (b"result" not in said)


def test_says_why_a_request_is_refused(api: Api, tmp_path: Path) -> None:
    """As an error of the protocol, with the hint."""
    with running(api, tmp_path, "--service", "none") as server:
        found = server.ask(modern(api, "tools/list"))
        assert found["error"]["message"] == "no service is called 'none'"
    with running(api, tmp_path, "--service", "svc") as server:
        names = [each["name"] for each in server.ask(modern(api, "tools/list"))["result"]["tools"]]
        assert "greet" in names


def test_a_broken_call_meets_its_execution_again(api: Api, tmp_path: Path) -> None:
    """The connection of a stream ends in the middle; the client sees one result, of one launch."""
    call = {"name": "svc.slow", "arguments": {"steps": 2, "pause": 1.2}}
    message = modern(api, "tools/call", meta={"progressToken": 1}, **call)
    del message["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"]["extensions"]
    with running(api, tmp_path) as server:
        server.send(message)
        first = server.read()
        fid = first["params"]["message"].split()[2]
        # As a restart does: all followers end.
        api.call(end_streams(api))
        found = []
        while not found or "result" not in found[-1]:
            found.append(server.read())
    assert found[-1]["result"]["_meta"]["koco/fid"] == fid
    numbers = [each["params"]["progress"] for each in [first, *found[:-1]]]
    assert numbers == sorted(set(numbers))


async def end_streams(api: Api) -> None:
    api.parts.spooler.dismiss()
    await asyncio.sleep(0.3)
    api.parts.spooler._is_dismissed = False


def test_a_cancelled_request_gets_no_answer(api: Api, tmp_path: Path) -> None:
    """The execution goes on, and so does the server."""
    message = modern(api, "subscriptions/listen", notifications={"toolsListChanged": True})
    with running(api, tmp_path) as server:
        first = server.ask(message)
        assert first["method"] == "notifications/subscriptions/acknowledged"
        told = {"requestId": message["id"]}
        server.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": told})
        time.sleep(0.1)
        assert "result" in server.ask(modern(api, "tools/list"))


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_the_official_client_starts_it(api: Api, tmp_path: Path, mode: str) -> None:
    """It lists, calls, and is told of progress."""
    told: list[str] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        told.append(message or "")

    async def work() -> None:
        from mcp.client.client import Client
        from mcp.client.stdio import StdioServerParameters, stdio_client

        parameters = StdioServerParameters(
            command=sys.executable, args=["-m", "koco", "mcp"], env=environment(api, tmp_path)
        )
        async with Client(stdio_client(parameters), mode=mode) as client:
            names = [each.name for each in (await client.list_tools()).tools]
            assert "svc.greet" in names
            found = await client.call_tool("svc.greet", {"who": "Ada"})
            assert text_of(found) == "Hello, Ada"
            slow = {"steps": 2, "pause": 0.3}
            await client.call_tool("svc.slow", slow, progress_callback=note)
            assert len(told) > 1

    asyncio.run(work())


def test_names_can_be_plain(api: Api, tmp_path: Path) -> None:
    """For clients that take no dots and dashes; those that two tools would have stay."""
    with running(api, tmp_path, "--plain-names", "--operate") as server:
        tools = server.ask(modern(api, "tools/list"))["result"]["tools"]
        names = {each["name"] for each in tools}
        assert {"svc_greet", "svc_count", "koco_plan", "svc.twin-a", "svc.twin--a"} <= names
        found = server.ask(modern(api, "tools/call", name="svc_greet", arguments={"who": "Ada"}))
        assert found["result"]["content"][0]["text"] == "Hello, Ada"


def test_operates_with_koco_itself(api: Api, tmp_path: Path) -> None:
    """Its tools are the commands, with their output and their exit code."""
    with running(api, tmp_path, "--operate") as server:
        tools = server.ask(modern(api, "tools/list"))["result"]["tools"]
        names = [each["name"] for each in tools]
        assert {"svc.greet", "koco_plan", "koco_deploy", "koco_doctor"} <= set(names)

        def call(name: str, **arguments: Any) -> tuple[str, bool]:
            answer = server.ask(modern(api, "tools/call", name=name, arguments=arguments))
            result = answer["result"]
            return result["content"][0]["text"], result["isError"]

        text, is_error = call("koco_run", flow="svc/count", inputs={"a": 1}, wait_s=30)
        outcome = json.loads(text.splitlines()[-1])
        assert (is_error, outcome["status"]) == (False, "finished"), text
        fid = outcome["fid"]
        text, _ = call("koco_result", fid=fid)
        assert json.loads(text)["result"] == {"n": 1}
        text, _ = call("koco_ps", flow="svc/count", limit=1)
        assert [each["fid"] for each in json.loads(text)["items"]] == [fid]
        text, _ = call("koco_logs", fid=fid, tail=2)
        assert len(text.splitlines()) == 2
        assert call("koco_result", fid="--help")[1]
        assert call("koco_logs") == ("'fid' is missing; the arguments are: fid, tail, kinds", True)
        assert call("koco_logs", fid=1) == ("fid must be of the type string", True)
        assert call("koco_logs", fid=fid, x=1)[0].startswith("there is no argument 'x'")
        text, is_error = call("koco_plan", folder=str(tmp_path))
        assert (is_error, "koco.toml" in text or "koco.yaml" in text) == (True, True), text
        assert call("koco_plan", folder=str(tmp_path / "none"))[1]
        for odd in ("a\0b", "\ud83d"):
            text, is_error = call("koco_logs", fid=odd)
            assert (is_error, "characters that no command takes" in text) == (True, True), text
