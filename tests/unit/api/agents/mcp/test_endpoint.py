"""The endpoint: eras, headers, lists, resources, who may ask."""

import base64
import http.client
import json
from typing import Any

import httpx
import pytest

from koco.api.agents.mcp import methods
from tests.support.api_server import Api
from tests.support.mcp_client import MODERN, McpClient

NEEDED = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
}


def refused(answer: httpx.Response) -> tuple[int, int]:
    return answer.status_code, answer.json()["error"]["code"]


def test_lists_flows_as_tools(either: McpClient) -> None:
    """With all that their author says; older clients get the schema of an object."""
    found = either.ask("tools/list")
    tools = {each["name"]: each for each in found["tools"]}
    assert list(tools) == sorted(tools)
    assert "svc.hidden" not in tools
    greet = tools["svc.greet"]
    assert (greet["title"], greet["description"]) == (
        *("Greet somebody", "Greet somebody\n\nSays hello."),
    )
    assert greet["inputSchema"]["properties"]["who"] == {"title": "Who", "type": "string"}
    assert greet["inputSchema"]["examples"] == [{"who": "Ada"}]
    assert greet["annotations"] == {"readOnlyHint": True, "idempotentHint": True}
    assert tools["svc.count"]["outputSchema"]["type"] == "object"
    assert tools["svc.fail"]["description"] == "Run the flow svc/fail."
    kind = {"type": "string"}
    wrapped = {"type": "object", "properties": {"result": kind}, "required": ["result"]}
    assert greet["outputSchema"] == (kind if either.is_modern else wrapped)
    assert found.get("cacheScope") == ("private" if either.is_modern else None)


def test_a_service_has_an_endpoint_of_its_own(api: Api) -> None:
    """Its tools are called as its flows."""
    with McpClient(api.url, path="/mcp/svc") as client:
        names = [each["name"] for each in client.ask("tools/list")["tools"]]
        assert "greet" in names
        assert "svc.greet" not in names
        assert client.call("greet", {"who": "Ada"})["content"][0]["text"] == "Hello, Ada"
        assert "What svc is for." in client.ask("server/discover")["instructions"]
    for key, path in (("ada", "/mcp/none"), ("ada", "/mcp/svc.x")):
        with McpClient(api.url, key, path=path) as client:
            assert client.send(client.message("tools/list")).status_code == 404


def test_a_limited_key_sees_only_its_flows(api: Api) -> None:
    with McpClient(api.url, "narrow") as client:
        assert [each["name"] for each in client.ask("tools/list")["tools"]] == ["svc.greet"]
        (answer,) = client.messages("tools/call", name="svc.count", arguments={})
    assert answer["error"]["message"] == "there is no tool 'svc.count'"


def test_older_clients_begin_with_a_handshake(api: Api) -> None:
    """They get the revision that they ask for, if it is known, and no session."""
    for asked, got in (("2025-06-18", "2025-06-18"), ("2024-01-01", "2025-11-25")):
        with McpClient(api.url, version=asked) as client:
            message = client.message("initialize", protocolVersion=asked, capabilities={})
            answer = client.send(message, headers={"MCP-Protocol-Version": None})
        found = answer.json()["result"]
        assert found["protocolVersion"] == got
        assert found["serverInfo"]["name"] == "koco"
        assert "mcp-session-id" not in answer.headers
        told = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        assert client.is_modern is False
    with McpClient(api.url, version="2025-06-18") as client:
        answer = client.send(told)
        assert (answer.status_code, answer.content) == (202, b"")
        assert client.ask("ping") == {}
        assert refused(client.send(client.message("prompts/list"))) == (200, -32601)


def test_discovery_tells_what_there_is(client: McpClient) -> None:
    found = client.ask("server/discover")
    assert found["supportedVersions"][:2] == [MODERN, "2025-11-25"]
    assert "io.modelcontextprotocol/tasks" in found["capabilities"]["extensions"]
    assert found["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "koco"
    assert (found["cacheScope"], found["ttlMs"]) == ("private", 60000)


@pytest.mark.parametrize(
    ("headers", "meta", "status"),
    [
        ({"MCP-Protocol-Version": None}, NEEDED, (400, -32020)),
        ({"MCP-Protocol-Version": "2025-11-25"}, NEEDED, (400, -32020)),
        ({"Mcp-Method": None}, NEEDED, (400, -32020)),
        ({"Mcp-Method": "tools/call"}, NEEDED, (400, -32020)),
        ({}, {}, (400, -32602)),
        ({}, {**NEEDED, "io.modelcontextprotocol/clientCapabilities": None}, (200, 0)),
        ({"MCP-Protocol-Version": "2099-01-01"}, {}, (400, -32602)),
    ],
)
def test_headers_must_say_what_the_body_says(
    client: McpClient, headers: Any, meta: Any, status: Any
) -> None:
    """Proxies read the headers, and koco the body."""
    message = client.message("tools/list")
    message["params"]["_meta"] = meta
    answer = client.send(message, headers=headers)
    assert (answer.status_code, answer.json().get("error", {}).get("code", 0)) == status


def test_a_tools_name_is_in_a_header_too(client: McpClient) -> None:
    """In base64 if it must be."""
    message = client.message("tools/call", name="svc.count", arguments={})
    coded = base64.b64encode(b"svc.count").decode()
    assert client.send(message, headers={"Mcp-Name": f"=?base64?{coded}?="}).status_code == 200
    # httpx refuses to send white space, which is no part of a value (RFC 9110, 5.5).
    link = http.client.HTTPConnection(client.http.base_url.netloc.decode())
    headers = {**client.http.headers, **client.headers(message), "Mcp-Name": "svc.count \t"}
    link.request("POST", "/mcp", json.dumps(message), headers)
    assert link.getresponse().status == 200
    link.close()
    for wrong in (None, "svc.greet", "=?base64?!?=", f"=?base64?{coded}"):
        assert refused(client.send(message, headers={"Mcp-Name": wrong})) == (400, -32020)


def test_unknown_revisions_are_told_the_known_ones(api: Api) -> None:
    with McpClient(api.url) as client:
        message = client.message("tools/list")
        message["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = "2099-01-01"
        answer = client.send(message, headers={"MCP-Protocol-Version": "2099-01-01"})
    assert refused(answer) == (400, -32022)
    data = answer.json()["error"]["data"]
    assert (data["requested"], data["supported"][0]) == ("2099-01-01", MODERN)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", (400, -32700)),
        (b"[]", (400, -32600)),
        (b'"x"', (400, -32600)),
        (b'{"method": "ping", "id": 1}', (400, -32600)),
        (b'{"jsonrpc": "2.0", "method": "ping", "id": null}', (400, -32600)),
        (b'{"jsonrpc": "2.0", "method": "ping", "id": 1, "params": []}', (400, -32600)),
    ],
)
def test_refuses_what_is_no_message(client: McpClient, body: bytes, status: Any) -> None:
    headers = {"Content-Type": "application/json"}
    assert refused(client.http.post("/mcp", content=body, headers=headers)) == status


def test_what_is_no_message_is_answered_with_its_id(client: McpClient) -> None:
    """If it has one that can be read; and null is no parameters."""
    for members, code in (('"params": []', -32600), ('"method": 5', -32600)):
        body = f'{{"jsonrpc": "2.0", "id": "a", "method": "ping", {members}}}'
        headers = {"Content-Type": "application/json"}
        found = client.http.post("/mcp", content=body, headers=headers).json()
        assert (found["id"], found["error"]["code"]) == ("a", code)
    ping = {"jsonrpc": "2.0", "id": 0, "method": "ping", "params": None}
    assert client.http.post("/mcp", json=ping).json() == {"jsonrpc": "2.0", "id": 0, "result": {}}


def test_names_are_known_without_dots_and_dashes(api: Api) -> None:
    """Some clients write them so. What two tools could be called is no tool."""
    for path, name, known in (
        ("/mcp", "svc_greet", True),
        ("/mcp", "svc__greet", True),
        ("/mcp", "svc.twin-a", True),
        ("/mcp", "svc_twin_a", False),
        ("/mcp", "svc_hidden", False),
        ("/mcp/svc", "twin_a", False),
        ("/mcp/svc", "twin--a", True),
    ):
        with McpClient(api.url, path=path) as client:
            message = client.message("tools/call", name=name, arguments={"who": "Ada"})
            answer = client.send(message).json()
        assert ("error" not in answer) == known, name


def test_there_are_only_posts(client: McpClient) -> None:
    """Neither a stream of the server's nor a session to end."""
    for method in ("GET", "DELETE"):
        answer = client.http.request(method, "/mcp")
        assert (answer.status_code, "POST" in answer.headers["allow"]) == (405, True)
    assert refused(client.send(client.message("ping"))) == (404, -32601)
    assert refused(client.send(client.message("initialize"))) == (404, -32601)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://evil.example.com"}, 403),
        ({"Origin": "http://evil.example.com", "Host": "evil.example.com"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://["}, 403),
        ({"Origin": "http://localhost:1234"}, 200),
        ({"Origin": "https://koco.example.com"}, 200),
    ],
)
def test_pages_of_other_sites_may_not_ask(client: McpClient, headers: Any, status: int) -> None:
    """Not even with a name of this host, which DNS rebinding gives them."""
    assert client.send(client.message("tools/list"), headers=headers).status_code == status


def test_without_a_key_clients_are_told_where_to_get_one(api: Api) -> None:
    """RFC 9728: the answer names the metadata, which names the scopes."""
    with McpClient(api.url, "") as client:
        answer = client.send(client.message("tools/list"))
        assert answer.status_code == 401
        challenge = answer.headers["www-authenticate"]
        url = challenge.partition('resource_metadata="')[2].partition('"')[0]
        assert url.startswith(api.parts.url)
        path = url.removeprefix(api.parts.url)
        found = client.http.get(path, headers={"Host": "evil.example"}).json()
    assert found["resource"] == f"{api.parts.url}/mcp"
    assert found["scopes_supported"] == ["read", "launch"]


def test_executions_are_resources(either: McpClient) -> None:
    """Their state, result and events; those of others do not exist."""
    fid = either.call("svc.greet", {"who": "Ada"})["_meta"]["koco/fid"]
    uri = f"koco://executions/{fid}"
    listed = either.ask("resources/list")["resources"]
    assert uri in [each["uri"] for each in listed]
    templates = either.ask("resources/templates/list")["resourceTemplates"]
    assert uri.replace(fid, "{fid}") in [each["uriTemplate"] for each in templates]
    texts = {
        part: either.ask("resources/read", uri=f"{uri}{part}")["contents"][0]["text"]
        for part in ("", "/result", "/events")
    }
    assert '"status":"finished"' in texts[""]
    assert '"result":"Hello, Ada"' in texts["/result"]
    assert texts["/events"].count("\n") >= 4
    for wrong in (f"{uri}/none", f"{uri}/files/out/none", "koco://x", "file:///etc/passwd", ""):
        (answer,) = either.messages("resources/read", uri=wrong)
        assert answer["error"]["code"] == -32602


def test_others_executions_are_no_resources(api: Api, client: McpClient) -> None:
    fid = client.call("svc.count")["_meta"]["koco/fid"]
    with McpClient(api.url, "bob") as bob:
        (answer,) = bob.messages("resources/read", uri=f"koco://executions/{fid}")
        assert answer["error"]["data"] == {"uri": f"koco://executions/{fid}"}
        listed = bob.ask("resources/list")["resources"]
    assert fid not in str(listed)


def test_wrong_parameters_are_refused(client: McpClient) -> None:
    """Whatever their types are: never an error of the server's."""
    for method, params in (
        ("tools/list", {"cursor": 5}),
        ("resources/list", {"cursor": 5}),
        ("resources/list", {"cursor": "x"}),
        ("tools/call", {"name": 5}),
        ("tools/call", {"name": "svc.count", "arguments": [1]}),
        ("resources/read", {"uri": None}),
        ("subscriptions/listen", {"notifications": {"resourceSubscriptions": [1]}}),
        ("subscriptions/listen", {"notifications": []}),
    ):
        message = client.message(method, **params)
        named = {"Mcp-Name": str(params["name"])} if "name" in params else {}
        assert refused(client.send(message, headers=named)) == (400, -32602), (method, params)


#: A value of each type of JSON, and extremes.
VALUES = (None, True, -1, 1.5, 10**30, "", "x", "\x00", "9" * 400, [], [1], {}, {"a": 1}, [[{}]])
#: All parameters that any method reads.
PARAMS = (
    *("name", "arguments", "cursor", "uri", "taskId", "requestState", "inputResponses"),
    *("notifications", "protocolVersion", "capabilities", "clientInfo", "_meta", "task"),
)
METAS = (
    *("progressToken", "traceparent", "tracestate", "koco/idempotencyKey"),
    *(f"io.modelcontextprotocol/{each}" for each in ("protocolVersion", "clientCapabilities")),
)


@pytest.mark.parametrize("method", sorted({*methods._LEGACY, *methods._MODERN}))
def test_no_value_of_a_parameter_is_an_internal_error(api: Api, method: str) -> None:
    """Of any method in either era."""
    for version in ("2026-07-28", "2025-11-25"):
        with McpClient(api.url, version=version) as client:
            for value in VALUES:
                for name in (*PARAMS, *METAS):
                    message = client.message(method, name="svc.greet", arguments={"who": "x"})
                    at = message["params"] if name in PARAMS else message["params"].get("_meta", {})
                    at[name] = value
                    headers = client.headers(message)
                    headers = {key: text for key, text in headers.items() if text.isprintable()}
                    if method == "subscriptions/listen" and name not in ("notifications", "_meta"):
                        continue  # is a stream without end
                    with client.http.stream(
                        "POST", client.path, json=message, headers=headers
                    ) as answer:
                        assert answer.status_code < 500, (name, value)
                        if "event-stream" not in answer.headers.get("content-type", ""):
                            assert b"-32603" not in answer.read(), (name, value)
