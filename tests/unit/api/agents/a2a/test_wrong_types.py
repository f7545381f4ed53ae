"""Parameters with values of wrong types: refused as such, for every operation."""

from collections.abc import Iterator
from typing import Any, get_origin

import msgspec
import pytest

from koco.api.agents.a2a.operations.table import OPERATIONS
from tests.support.api_server import Api
from tests.unit.api.agents.a2a.conftest import Agent, client_of

#: A value of each type of JSON, and extremes.
VALUES = (
    *(None, True, -1, 0, 1.5, 10**30, 1e300, "", "x", "\x00", "1-" + "9" * 400),
    *([], [1], {}, {"a": 1}, [[{}]]),
)


def params_of(kind: type[msgspec.Struct], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the paths of all members of a request."""
    for field in msgspec.structs.fields(kind):
        here = (*path, field.encode_name)
        yield here
        kinds = getattr(field.type, "__args__", (field.type,))
        for each in (field.type, *kinds):
            is_plain = get_origin(each) is None and isinstance(each, type)
            if is_plain and issubclass(each, msgspec.Struct):
                yield from params_of(each, here)


def given(fid: str, path: tuple[str, ...], value: Any) -> Any:
    """Return parameters that are right but for one member."""
    message = {"messageId": "m", "role": "ROLE_USER", "parts": [{"data": {"who": "x"}}]}
    found: Any = {"id": fid, "taskId": fid, "url": "https://example.com/", "message": message}
    at = found
    for name in path[:-1]:
        at = at.setdefault(name, {})
    at[path[-1]] = value
    return found


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_no_value_is_an_internal_error(api: Api, name: str) -> None:
    """Of any member, and of the parameters themselves."""
    agent = Agent(api, "greet")
    fid = agent.send({"data": {"who": "Ada"}})["id"]
    with client_of(api) as client:
        for path in params_of(OPERATIONS[name].reads):
            for value in VALUES:
                asked = given(fid, path, value)
                body = {"jsonrpc": "2.0", "id": 1, "method": name, "params": asked}
                answer = client.post(agent.path, json=body)
                assert answer.status_code < 500, (path, value, answer.text)
                assert "-32603" not in answer.text, (path, value, answer.text)
        for value in (True, 5, "x", [1]):
            body = {"jsonrpc": "2.0", "id": 1, "method": name, "params": value}
            answer = client.post(agent.path, json=body)
            assert answer.json()["error"]["code"] in (-32600, -32602), (value, answer.text)


@pytest.mark.parametrize("token", ["1-" + "9" * 400, "1-x", "1-", "-", "1-\u0661", "x"])
def test_made_up_page_tokens_are_refused(api: Api, token: str) -> None:
    """Nothing of them is repeated."""
    error = Agent(api).error("ListTasks", {"pageToken": token})
    assert (error["code"], "999" in str(error)) == (-32602, False)


def test_cards_do_not_name_the_host_that_a_request_does(api: Api) -> None:
    """Neither their interfaces nor anything else of them: caches and signatures hand them on."""
    with client_of(api) as client:
        for path in ("/.well-known/agent-card.json", "/a2a/svc/greet/.well-known/agent-card.json"):
            answer = client.get(path, headers={"Host": "evil.example"})
            assert answer.status_code == 200
            assert "evil.example" not in answer.text
            assert api.url in answer.text
