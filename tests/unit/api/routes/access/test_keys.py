"""The routes of keys over a real socket: create, show, rotate, revoke."""

import re
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from koco import tokens
from koco.control.access import keys
from koco.control.access.head_key import HEAD
from koco.store.model import Key
from tests.support.api_server import Api, serving


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("data")) as api:
        api.admit("root", "admin")
        yield api


def ask(api: Api, method: str, path: str, key: str = "root", **more: Any) -> Any:
    with api.http(key) as client:
        return client.request(method, path, **more)


def make(api: Api, name: str, **more: Any) -> str:
    """Create a key and return its secret."""
    answer = ask(api, "POST", "/v1/keys", json={"name": name, **more})
    assert answer.status_code == 201, answer.text
    secret: str = answer.json()["secret"]
    return secret


def test_a_secret_is_shown_once(api: Api) -> None:
    """It is random, in the form documented for scanners, and not in the store's file."""
    answer = ask(api, "POST", "/v1/keys", json={"name": "ci", "scopes": ["deploy"]})
    secret = answer.json()["secret"]
    assert re.fullmatch(tokens.PATTERN, secret)
    assert answer.headers["cache-control"] == "no-store"
    for path in ("/v1/keys", "/v1/keys/ci"):
        assert "secret" not in ask(api, "GET", path).text
    held = b"".join(each.read_bytes() for each in api.data_dir.glob("store.db*"))
    assert secret.encode() not in held
    assert b"ci" in held


def test_a_key_is_shown_as_it_was_created(api: Api) -> None:
    """With its creator. By default it may only launch."""
    make(api, "eve")
    key = ask(api, "GET", "/v1/keys/eve").json()
    assert key["scopes"] == ["launch"]
    assert (key["flows"], key["all_executions"], key["expires"]) == ([], False, None)
    assert (key["by"], key["status"], key["last_used"]) == ("root", "active", None)


def test_every_key_can_show_itself(api: Api) -> None:
    """`/v1/me` takes any key."""
    secret = make(api, "me-too", scopes=["read"], flows=["svc/*"], expires_s=3600)
    me = ask(api, "GET", "/v1/me", secret).json()
    assert (me["name"], me["by"], me["scopes"], me["flows"]) == (
        "me-too",
        "key",
        ["read"],
        ["svc/*"],
    )
    assert me["expires"]
    assert ask(api, "GET", "/v1/me").json()["all_executions"] is True


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "Ada"},
        {"name": ""},
        {"name": "a" * 65},
        {"name": "../x"},
        {"name": "schedule"},
        {"name": "me"},
        {"name": "x", "scopes": []},
        {"name": "x", "scopes": ["root"]},
        {"name": "x", "flows": ["svc"]},
        {"name": "x", "flows": ["svc/[a]*"]},
        {"name": "x", "flows": ["svc/?"]},
        {"name": "x", "scopes": ["admin"], "flows": ["svc/*"]},
        {"name": "x", "expires_s": 0},
        {"name": "x", "expires_s": 1e12},
        {"name": "x", "digest": "00"},
    ],
    ids=str,
)
def test_invalid_keys_are_refused(api: Api, wrong: dict[str, Any]) -> None:
    """400, and no key is created."""
    refused = ask(api, "POST", "/v1/keys", json=wrong)
    assert refused.status_code == 400
    assert ("ten years" in refused.json()["detail"]) == ("expires_s" in wrong)
    assert ask(api, "GET", "/v1/keys/x").status_code == 404


def test_a_name_is_unique(api: Api) -> None:
    """409 if another key or a user has it."""
    make(api, "once")
    assert ask(api, "POST", "/v1/keys", json={"name": "once"}).status_code == 409
    api.sql(
        "INSERT INTO users (name, password, scopes, created, by, flows, sees_all)"
        " VALUES ('grace', '', '', '', '', '[]', 0)"
    )
    assert ask(api, "POST", "/v1/keys", json={"name": "grace"}).status_code == 409


def test_pages_of_keys_are_stable(api: Api) -> None:
    """By name, so that a new key moves no other to another page."""
    for name in ("p1", "p2", "p3"):
        make(api, name)
    page = ask(api, "GET", "/v1/keys", params={"limit": 2, "cursor": "p0"}).json()
    assert [each["name"] for each in page["items"]] == ["p1", "p2"]
    make(api, "p1a")
    page = ask(api, "GET", "/v1/keys", params={"limit": 1, "cursor": page["next"]}).json()
    assert [each["name"] for each in page["items"]] == ["p3"]


def test_an_expired_key_is_refused_with_the_reason(api: Api) -> None:
    """401 with the time, and a hint."""
    secret = make(api, "late", expires_s=3600)
    assert ask(api, "GET", "/v1/me", secret).status_code == 200
    api.sql("UPDATE keys SET expires = 1000 WHERE name = 'late'")
    answer = ask(api, "GET", "/v1/me", secret)
    assert answer.status_code == 401
    assert "'late' expired at 1970-" in answer.json()["detail"]
    assert answer.headers["www-authenticate"] == "Bearer"
    assert ask(api, "GET", "/v1/keys/late").json()["status"] == "expired"


@pytest.mark.parametrize(
    "credential",
    ["", "Bearer", "Basic cm9vdDpyb290", "Bearer koco_" + "x" * 43, "Bearer Zoë", "Bearer Root"],
)
def test_wrong_credentials_are_refused(api: Api, credential: str) -> None:
    """401 with `WWW-Authenticate` for each."""
    with api.http() as client:
        answer = client.get("/v1/me", headers={"Authorization": credential.encode()})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


def test_the_old_secret_is_valid_for_the_grace_period(api: Api) -> None:
    """Then it is refused with the reason that it was replaced."""
    old = make(api, "turn")
    answer = ask(api, "POST", "/v1/keys/turn/rotate", json={"grace_s": 3600})
    new = answer.json()["secret"]
    assert answer.json()["status"] == "rotating"
    assert [ask(api, "GET", "/v1/me", each).status_code for each in (old, new)] == [200, 200]
    # What is followed by the old one ends with its grace.
    assert ask(api, "GET", "/v1/me", old).json()["expires"] is not None
    assert ask(api, "GET", "/v1/me", new).json()["expires"] is None
    api.sql("UPDATE keys SET former_until = 1000 WHERE name = 'turn'")
    answer = ask(api, "GET", "/v1/me", old)
    assert (answer.status_code, ask(api, "GET", "/v1/me", new).status_code) == (401, 200)
    assert "was rotated" in answer.json()["detail"]
    assert ask(api, "GET", "/v1/keys/turn").json()["status"] == "active"


def test_without_a_grace_the_old_secret_ends_at_once(api: Api) -> None:
    """With `grace_s: 0`. The default is a day."""
    old = make(api, "swift")
    day = ask(api, "POST", "/v1/keys/swift/rotate", json={}).json()
    assert day["former_until"] > day["created"]
    assert ask(api, "GET", "/v1/me", old).status_code == 200
    ask(api, "POST", "/v1/keys/swift/rotate", json={"grace_s": 0})
    assert ask(api, "GET", "/v1/me", day["secret"]).status_code == 401
    assert ask(api, "GET", "/v1/me", old).status_code == 401
    for wrong in (-1, 1e9):
        body = {"grace_s": wrong}
        refused = ask(api, "POST", "/v1/keys/swift/rotate", json=body)
        assert (refused.status_code, "90 days" in refused.json()["detail"]) == (400, True)


def test_rotating_an_expired_key_needs_a_new_expiry(api: Api) -> None:
    """Otherwise its new secret would be expired, too."""
    make(api, "again", expires_s=3600)
    api.sql("UPDATE keys SET expires = 1000 WHERE name = 'again'")
    assert ask(api, "POST", "/v1/keys/again/rotate", json={}).status_code == 409
    body = {"expires_s": 3600}
    secret = ask(api, "POST", "/v1/keys/again/rotate", json=body).json()["secret"]
    assert ask(api, "GET", "/v1/me", secret).status_code == 200


def test_a_revoked_key_is_refused_at_once(api: Api) -> None:
    """Its name is free, and its secret is invalid."""
    secret = make(api, "gone")
    assert ask(api, "GET", "/v1/me", secret).status_code == 200
    assert ask(api, "DELETE", "/v1/keys/gone").status_code == 200
    assert ask(api, "GET", "/v1/me", secret).status_code == 401
    assert ask(api, "DELETE", "/v1/keys/gone").status_code == 404
    assert ask(api, "POST", "/v1/keys/gone/rotate", json={}).status_code == 404
    make(api, "gone")
    assert ask(api, "GET", "/v1/me", secret).status_code == 401


def test_the_last_admin_key_that_does_not_expire_stays(api: Api) -> None:
    """It can be neither revoked nor given an expiry, because an expiring one is not enough."""
    make(api, "second", scopes=["admin"], expires_s=3600)
    for method, path, body in (
        ("DELETE", "/v1/keys/root", None),
        ("POST", "/v1/keys/root/rotate", {"expires_s": 3600}),
    ):
        answer = ask(api, method, path, json=body)
        assert answer.status_code == 409
        assert "last admin key that does not expire" in answer.json()["detail"]
    third = make(api, "third", scopes=["read", "admin"])
    assert ask(api, "DELETE", "/v1/keys/root", third).status_code == 200
    assert ask(api, "DELETE", "/v1/keys/third", third).status_code == 409
    api.admit("root", "admin")
    assert ask(api, "DELETE", "/v1/keys/third").status_code == 200


def test_the_last_use_of_a_key_is_noted_once_a_minute(api: Api) -> None:
    """Beside the request, which does not wait for it."""
    secret = make(api, "seen")
    ask(api, "GET", "/v1/me", secret)
    deadline = time.monotonic() + 60
    while (key := ask(api, "GET", "/v1/keys/seen").json())["last_used"] is None:
        assert time.monotonic() < deadline
    assert key["last_from"] == "127.0.0.1"
    api.sql("UPDATE keys SET last_from = 'elsewhere' WHERE name = 'seen'")
    for _ in range(5):
        ask(api, "GET", "/v1/me", secret)
    make(api, "seen-after")  # a commit later than any that the five might have begun
    assert ask(api, "GET", "/v1/keys/seen").json()["last_from"] == "elsewhere"


def test_revoking_and_rotating_end_open_streams(api: Api) -> None:
    """Those of the key's credential. A reader with a valid secret can reconnect."""
    ended: list[str] = []
    mine = keys.Keys(api.parts.store, end=ended.append)

    async def work() -> None:
        await mine.create("follower", by="root", scopes=["read"])
        await mine.rotate("follower")
        assert ended == ["key:follower"]
        await mine.revoke("follower")

    api.call(work())
    assert ended == ["key:follower"] * 2


def test_only_a_lost_admin_key_is_replaced(api: Api) -> None:
    """`koco up --recover-admin` gives the key `admin` a new secret and changes no other."""
    store = api.parts.store
    old = Key(name="admin", digest=b"o" * 32, scopes=("admin",), created="", sees_all=True)
    api.call(store.keys.put(msgspec.structs.replace(old, former=b"f" * 32, former_until=9e9)))
    before = {each.name for each in api.call(store.keys.page(limit=1000)).items}
    ended: list[str] = []
    mine = keys.Keys(store, end=ended.append)
    assert api.call(mine.admit(b"n" * 32, recover=False)) is False
    assert api.call(mine.admit(b"n" * 32, recover=True)) is True
    assert api.call(mine.admit(b"n" * 32, recover=False)) is True
    assert ended == ["key:admin"]
    for gone in (b"o", b"f"):
        assert api.call(store.keys.find(gone * 32)) is None
    key = api.call(store.keys.find(b"n" * 32))
    assert (key.name, key.scopes, key.by, key.sees_all) == ("admin", ("admin",), HEAD, True)
    assert {each.name for each in api.call(store.keys.page(limit=1000)).items} == before
