"""`tools/call`: results, errors, progress, questions, repeated calls."""

import base64
import hashlib
from typing import Any

import pytest

from tests.support.api_server import Api
from tests.support.mcp_client import TASKS, McpClient

FORM = {"elicitation": {"form": {}}}


def text(result: Any) -> str:
    found: str = result["content"][0]["text"]
    return found


def test_returns_the_flows_result(either: McpClient) -> None:
    """As text, as data that fit the schema, and with the fid."""
    found = either.call("svc.greet", {"who": "Ada"})
    assert text(found) == "Hello, Ada"
    said = "Hello, Ada" if either.is_modern else {"result": "Hello, Ada"}
    assert found["structuredContent"] == said
    assert (found["isError"], len(found["_meta"]["koco/fid"])) == (False, 16)
    assert found.get("resultType") == ("complete" if either.is_modern else None)
    counted = either.call("svc.count", {"a": 1, "b": 2})
    assert (counted["structuredContent"], text(counted)) == ({"n": 2}, '{"n": 2}')


def test_a_failed_flow_is_a_result_that_is_an_error(api: Api, either: McpClient) -> None:
    """With its type and message; the traceback is for those who may deploy."""
    found = either.call("svc.fail")
    assert (found["isError"], text(found)) == (True, "ValueError: no luck")
    with McpClient(api.url, "boss") as boss:
        assert text(boss.call("svc.fail")) == "ValueError: no luck\nTraceback"


def test_refused_inputs_are_for_the_agent_to_correct(either: McpClient) -> None:
    """Not an error of the protocol (SEP-1303)."""
    found = either.call("svc.greet", {"whom": "Ada"})
    assert found["isError"] is True
    assert "who: " in text(found)
    assert "whom: " in text(found)


def test_a_key_meets_the_same_execution_again(client: McpClient) -> None:
    """In `_meta` or in the header; with other arguments it is refused."""
    meta = {"koco/idempotencyKey": "once-1"}
    first, again = (client.call("svc.count", {"a": 1}, meta=meta) for _ in range(2))
    assert first["_meta"] == again["_meta"]
    other = client.call("svc.count", {"a": 2}, meta=meta)
    assert other["isError"] is True
    message = client.message("tools/call", name="svc.count", arguments={"a": 1})
    header = client.send(message, headers={"Idempotency-Key": "once-1"}).json()["result"]
    assert header["_meta"]["koco/fid"] == first["_meta"]["koco/fid"]


def test_tells_progress_while_it_waits(either: McpClient) -> None:
    """First the fid, then what happens; the numbers rise, and the result is last."""
    call = {"name": "svc.slow", "arguments": {"steps": 2, "pause": 0.3}}
    *told, last = either.messages("tools/call", meta={"progressToken": "t"}, **call)
    fid = last["result"]["_meta"]["koco/fid"]
    params = [each["params"] for each in told]
    assert all(each["method"] == "notifications/progress" for each in told)
    assert all(each["progressToken"] == "t" for each in params)
    assert fid in params[0]["message"]
    numbers = [each["progress"] for each in params]
    assert numbers == sorted(set(numbers))
    assert any("/3 working" in each["message"] for each in params)
    assert text(last["result"]) == "done"


def test_a_long_call_becomes_a_stream(either: McpClient) -> None:
    """Without progress if none is wanted: only the result."""
    call = {"name": "svc.slow", "arguments": {"steps": 1, "pause": 1.3}}
    (last,) = either.messages("tools/call", **call)
    assert text(last["result"]) == "done"


def test_a_client_that_hangs_up_does_not_end_the_execution(api: Api, client: McpClient) -> None:
    """It goes on, and the same key finds its result."""
    meta = {"progressToken": 1, "koco/idempotencyKey": "hang-up"}
    call = {"name": "svc.slow", "arguments": {"steps": 1, "pause": 1.0}}
    message = client.message("tools/call", meta=meta, **call)
    with client.http.stream(
        "POST", "/mcp", json=message, headers=client.headers(message)
    ) as answer:
        first = next(line for line in answer.iter_lines() if line.startswith("data: "))
    found = client.call(call["name"], call["arguments"], meta={"koco/idempotencyKey": "hang-up"})
    assert found["_meta"]["koco/fid"] in first
    assert text(found) == "done"


def test_a_person_is_asked_through_the_client(api: Api) -> None:
    """The lock's form as a question; the repeated call carries the answer to it."""
    with McpClient(api.url, capabilities=FORM) as client:
        first = client.call("svc.review", {})
        assert first["resultType"] == "input_required"
        ((lid, question),) = first["inputRequests"].items()
        params = question["params"]
        assert (question["method"], params["mode"]) == ("elicitation/create", "form")
        assert params["message"] == "Is this fine?"
        assert params["requestedSchema"]["properties"] == {
            "ok": {"type": "boolean", "title": "Fine", "default": False},
            "stars": {"type": "integer", "minimum": 1, "maximum": 5},
            "tone": {
                "type": "string",
                "oneOf": [{"const": "kind", "title": "kind"}, {"const": "cold", "title": "Cold"}],
            },
            "day": {"type": "string", "format": "date"},
        }
        state = {"requestState": first["requestState"]}
        wrong = {lid: {"action": "accept", "content": {"stars": 9}}}
        again = client.call("svc.review", {}, inputResponses=wrong, **state)
        assert again["inputRequests"].keys() == {lid}
        why = again["inputRequests"][lid]["params"]["message"]
        assert why.startswith("The answer was refused.\nstars: must be at most 5, got 9\n\nIs this")
        declined = client.call(
            "svc.review", {}, inputResponses={lid: {"action": "decline"}}, **state
        )
        assert declined["resultType"] == "input_required"
        right = {lid: {"action": "accept", "content": {"ok": True, "stars": 5, "tone": "kind"}}}
        found = client.call("svc.review", {}, inputResponses=right, **state)
        said = found["structuredContent"]
        assert (said["ok"], said["stars"], said["tone"]) == (True, 5, "kind")


def test_the_state_is_only_for_its_caller_and_call(api: Api) -> None:
    """It names an execution, so it must not be forged."""
    with McpClient(api.url, capabilities=FORM) as client, McpClient(api.url, "boss") as boss:
        state = client.call("svc.review", {})["requestState"]
        raw = base64.urlsafe_b64decode(state)
        forged = base64.urlsafe_b64encode(raw[:-3] + b"9}" + raw[-1:]).decode()
        for who, name, sent in (
            (boss, "svc.review", state),
            (client, "svc.free", state),
            (client, "svc.review", forged),
            (client, "svc.review", f"{state}-and-more"),
            (client, "svc.review", "rubbish"),
        ):
            (answer,) = who.messages("tools/call", name=name, arguments={}, requestState=sent)
            assert answer["error"]["code"] == -32602


def test_a_lock_without_a_form_takes_any_value(api: Api) -> None:
    """The text that a person types may be JSON."""
    for typed, value in (('{"a": 1}', {"a": 1}), ("yes, do", None), ("7", None)):
        with McpClient(api.url, capabilities=FORM) as client:
            first = client.call("svc.free")
            ((lid, question),) = first["inputRequests"].items()
            assert "'anything'" in question["params"]["message"]
            assert '"draft"' in question["params"]["message"]
            given = {lid: {"action": "accept", "content": {"answer": typed}}}
            state = first["requestState"]
            found = client.call("svc.free", inputResponses=given, requestState=state)
            assert (text(found), found.get("structuredContent")) == (typed, value)


def test_says_how_to_answer_what_the_client_cannot_ask(api: Api, either: McpClient) -> None:
    """A client that asks nobody, and a password, which no client may ask for in a form."""
    found = either.call("svc.review")
    fid = found["_meta"]["koco/fid"]
    assert f"koco answer {fid}" in text(found)
    assert found["content"][1]["uri"] == f"koco://executions/{fid}"
    assert found["isError"] is False
    with McpClient(api.url, capabilities=FORM) as client:
        assert "awaits a person: secret" in text(client.call("svc.secretive"))


def test_files_go_in_and_out(api: Api, client: McpClient) -> None:
    """As base64 in the arguments, and as links to resources in the result."""
    data = {"name": "a.txt", "data": base64.b64encode(b"text").decode()}
    more = {"name": "b.bin", "data": base64.encodebytes(b"\x00\xff").decode()}  # with a line end
    found = client.call("svc.files", {"f": data, "g": [more]})
    assert found["isError"] is False, found
    links = [each for each in found["content"] if each["type"] == "resource_link"]
    assert [(each["name"], each["mimeType"], each["size"]) for each in links] == [
        ("out/a.txt", "text/plain", 4),
        ("out/b.bin", "application/octet-stream", 2),
    ]
    contents = [client.ask("resources/read", uri=each["uri"])["contents"][0] for each in links]
    assert contents[0]["text"] == "text"
    assert base64.b64decode(contents[1]["blob"]) == b"\x00\xff"
    wrong = client.call("svc.files", {"f": {"name": "a", "data": "!"}})
    assert text(wrong) == "f: `data` must be the file's content in base64"
    wrong = client.call("svc.files", {"g": ["in/a.txt"]})
    assert text(wrong).startswith(
        "g: a file is an object with its `name` and, in base64, its `data`"
    )


def test_offers_urls_for_files_only_if_they_are_fetched(api: Api, client: McpClient) -> None:
    """The setting `url_inputs` says so; fields of several files take lists."""

    def properties() -> Any:
        tools = client.ask("tools/list")["tools"]
        [found] = [each for each in tools if each["name"] == "svc.files"]
        return found["inputSchema"]["properties"]

    assert "uri" not in str(properties())
    api.parts.settings.url_inputs = True
    try:
        one, several = properties()["f"]["anyOf"], properties()["g"]["anyOf"]
        assert [each.get("format", each["type"]) for each in one] == ["object", "uri", "null"]
        assert [each.get("format") for each in several[0]["items"]["anyOf"]] == [None, "uri"]
    finally:
        api.parts.settings.url_inputs = False


def test_a_call_that_goes_on_tells_nothing_twice(api: Api) -> None:
    """Its progress begins where the former round ended."""
    with McpClient(api.url, capabilities=FORM) as client:
        meta = {"progressToken": 1}
        *told, last = client.messages("tools/call", name="svc.approve", arguments={}, meta=meta)
        assert any("before" in each["params"]["message"] for each in told)
        first = last["result"]
        ((lid, _),) = first["inputRequests"].items()
        answer = {lid: {"action": "accept", "content": {"ok": True}}}
        state = {"requestState": first["requestState"], "inputResponses": answer}
        *told, last = client.messages(
            "tools/call", name="svc.approve", arguments={}, meta=meta, **state
        )
        messages = [each["params"]["message"] for each in told]
        assert not any(each in ("before", "queued") for each in messages)
        assert any("after" in each for each in messages)
        assert last["result"]["structuredContent"] == {"ok": True}


def test_who_may_not_launch_is_told_the_scope(api: Api) -> None:
    with McpClient(api.url, "reader") as reader:
        answer = reader.send(reader.message("tools/call", name="svc.greet", arguments={}))
    assert answer.status_code == 403
    assert 'error="insufficient_scope", scope="launch"' in answer.headers["www-authenticate"]


def test_who_may_not_launch_leaves_no_file(api: Api) -> None:
    """Otherwise whoever may only read could fill the disk."""
    data = {"name": "a.txt", "data": base64.b64encode(b"of a reader").decode()}
    with McpClient(api.url, "reader") as reader:
        message = reader.message("tools/call", name="svc.files", arguments={"f": data})
        assert reader.send(message).status_code == 403
    kept = hashlib.sha256(b"of a reader").hexdigest()
    assert not [each for each in api.data_dir.rglob("*") if kept in each.name]


@pytest.mark.parametrize("name", ["svc.hidden", "svc.none", "greet", "svc/greet", ""])
def test_what_is_not_exposed_is_no_tool(client: McpClient, name: str) -> None:
    """Neither a flow of another protocol nor a name of another form."""
    (answer,) = client.messages("tools/call", name=name, arguments={})
    assert answer["error"]["code"] == -32602


def test_a_launch_is_in_the_audit_log_once(api: Api, client: McpClient) -> None:
    """As one over `/v1`; and a list is not in it."""
    client.ask("tools/list")
    fid = client.call("svc.count", {"audit": 1})["_meta"]["koco/fid"]
    with api.http("boss") as boss:
        entries = boss.get("/v1/audit").json()["items"]
    own = [each for each in entries if each["target"] == fid]
    assert [(each["action"], each["detail"]) for each in own] == [("launch", {"flow": "svc/count"})]
    assert not [each for each in entries if each["action"] in ("speak_mcp", "list_tools")]


def test_tasks_need_no_second_connection(api: Api) -> None:
    """A call that is over soon is answered at once, even if the client knows tasks."""
    with McpClient(api.url, capabilities={"extensions": {TASKS: {}}}) as client:
        assert client.call("svc.greet", {"who": "Ada"})["resultType"] == "complete"
