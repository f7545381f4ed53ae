"""Users and their sessions over a real socket: logging in, by token and by cookie, and out."""

import asyncio
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from argon2 import PasswordHasher

from koco.api.http import cookies
from koco.control.access.passwords import Passwords
from koco.control.access.users import UserChanges
from koco.errors import TooManyError
from koco.store.model import AuditQuery
from tests.support.api_server import Api, serving

PASSWORD = "correct horse battery staple"
LOGIN = {"name": "eve", "password": PASSWORD}
#: What `serving` says that its public URL is.
PUBLIC = "https://koco.example.com"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with serving(tmp_path) as api:
        api.admit("root", "admin")
        yield api


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """Serve tests that change nothing, with one user, eve."""
    with serving(tmp_path_factory.mktemp("lasting")) as api:
        api.admit("root", "admin")
        assert ask(api, "POST", "/v1/users", json=LOGIN).status_code == 201
        yield api


@pytest.fixture
def eve(api: Api) -> str:
    """Make a user; return their name."""
    answer = ask(api, "POST", "/v1/users", json=LOGIN)
    assert answer.status_code == 201, answer.text
    return "eve"


def ask(api: Api, method: str, path: str, key: str = "root", **more: Any) -> httpx.Response:
    with api.http(key) as client:
        return client.request(method, path, **more)


def anonymous(api: Api, method: str, path: str, **more: Any) -> httpx.Response:
    """Make a request without a key."""
    with api.http() as client:
        del client.headers["Authorization"]
        return client.request(method, path, **more)


def log_in(api: Api, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
    return anonymous(api, "POST", "/v1/session", json={**LOGIN, **more}, headers=headers)


def token_of(api: Api, **more: Any) -> str:
    answer = log_in(api, **more)
    assert answer.status_code == 201, answer.text
    token: str = answer.json()["token"]
    return token


def test_without_a_user_no_login_is_possible(api: Api) -> None:
    """There is no default user. The error says how to create one."""
    assert ask(api, "GET", "/v1/users").json() == {"items": [], "next": None}
    answer = log_in(api)
    assert answer.status_code == 404
    assert "there are no users" in answer.json()["detail"]
    assert "koco user create" in answer.json()["hint"]


def test_only_admins_create_users(api: Api) -> None:
    """And list and remove them."""
    for method, path in (("POST", "/v1/users"), ("GET", "/v1/users"), ("DELETE", "/v1/users/eve")):
        body = {"json": LOGIN} if method == "POST" else {}
        assert ask(api, method, path, "ada", **body).status_code == 403
        assert anonymous(api, method, path, **body).status_code == 401


def test_a_user_is_listed_as_created(api: Api) -> None:
    """With their creator and last login, and nothing of the password."""
    more = {"scopes": ["read"], "flows": ["svc/*"], "all_executions": True}
    made = ask(api, "POST", "/v1/users", json={**LOGIN, **more}).json()
    assert made | more == made
    assert (made["by"], made["last_login"]) == ("root", None)
    token_of(api)
    [listed] = ask(api, "GET", "/v1/users").json()["items"]
    assert (listed["name"], listed["last_from"]) == ("eve", "127.0.0.1")
    assert set(listed) == set(made)
    assert listed["last_login"] > made["created"]


def test_users_are_listed_in_pages(api: Api, eve: str) -> None:
    """By name."""
    ask(api, "POST", "/v1/users", json={**LOGIN, "name": "abe"})
    page = ask(api, "GET", "/v1/users?limit=1").json()
    assert [each["name"] for each in page["items"]] == ["abe"]
    rest = ask(api, "GET", f"/v1/users?limit=1&cursor={page['next']}").json()
    assert ([each["name"] for each in rest["items"]], rest["next"]) == ([eve], None)


def test_keys_and_users_share_one_set_of_names(api: Api, eve: str) -> None:
    """Because executions belong to names."""
    taken = ask(api, "POST", "/v1/users", json={**LOGIN, "name": "ada"})
    assert (taken.status_code, taken.json()["code"]) == (409, "conflict")
    assert ask(api, "POST", "/v1/users", json=LOGIN).status_code == 409
    assert ask(api, "POST", "/v1/keys", json={"name": eve}).status_code == 409


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"password": "elevenchars"}, "12 to 1024"),
        ({"password": "x" * 1025}, "1024"),
        ({"name": "E V E"}, "not a valid name for a user"),
        ({"name": "schedule"}, "reserved for koco"),
        ({"name": "admin"}, "the name of the key that `koco up` makes"),
        ({"scopes": ["root"]}, "no scope"),
        ({"scopes": []}, "without a scope"),
        ({"scopes": ["admin"], "flows": ["svc/*"]}, "cannot be limited to flows"),
        ({"flows": ["svc"]}, "not a pattern of flows"),
        ({"pasword": "x"}, "unknown field"),
    ],
)
def test_invalid_values_create_no_user(lasting: Api, asked: dict[str, Any], said: str) -> None:
    """The error does not repeat the password."""
    answer = ask(lasting, "POST", "/v1/users", json={**LOGIN, "name": "abe", **asked})
    assert answer.status_code == 400
    assert said in answer.json()["detail"]
    assert str(asked.get("password", PASSWORD)) not in answer.text
    [user] = ask(lasting, "GET", "/v1/users").json()["items"]
    assert user["name"] == "eve"


def test_a_session_has_its_users_rights(api: Api, eve: str) -> None:
    """It is shown like a key; `/v1/me` describes it."""
    answer = log_in(api)
    assert answer.headers["cache-control"] == "no-store"
    assert "set-cookie" not in answer.headers
    token = answer.json()["token"]
    assert re.fullmatch(r"kocos_[A-Za-z0-9_-]{43}", token)
    me = ask(api, "GET", "/v1/me", token).json()
    assert (me["name"], me["by"], me["scopes"]) == (eve, "session", ["launch"])
    assert me["expires"] == answer.json()["expires"]
    assert ask(api, "GET", "/v1/users", token).status_code == 403
    fid = api.execution()  # of ada's
    assert ask(api, "GET", f"/v1/executions/{fid}", token).status_code == 404


def test_neither_passwords_nor_tokens_are_stored(api: Api, eve: str) -> None:
    """Only their hashes: argon2id for the password."""
    token = token_of(api)
    held = b"".join(each.read_bytes() for each in api.data_dir.glob("store.db*"))
    assert b"$argon2id$" in held
    assert PASSWORD.encode() not in held
    assert token.encode() not in held and token.removeprefix("kocos_").encode() not in held


def test_an_unknown_user_gets_the_same_answer_as_a_wrong_password(api: Api, eve: str) -> None:
    """Word for word, except the request's id. A test below checks the time."""
    unknown, wrong = log_in(api, name="nobody"), log_in(api, password="x" * 12)
    assert unknown.status_code == wrong.status_code == 401
    assert unknown.json() | {"request_id": ""} == wrong.json() | {"request_id": ""}


class Hasher(PasswordHasher):
    """A cheap one that tells what it is asked for, and how many ask it at once."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.done: list[str] = []
        self.at_work = threading.Semaphore(1)
        self.go = threading.Event()
        self.go.set()

    def hash(self, *args: Any, **more: Any) -> str:
        self.done.append("hash")
        return super().hash(*args, **more)

    def verify(self, *args: Any) -> Any:
        self.done.append("verify")
        assert self.at_work.acquire(blocking=False), "two at a time"
        self.go.wait(60)
        self.at_work.release()
        return super().verify(*args)


@pytest.mark.parametrize("attempt", ["first", "second"])
def test_a_hash_is_verified_for_an_unknown_user(attempt: str) -> None:
    """The same work as for a known one, so the time reveals nothing; also at first."""

    async def work(is_known: bool) -> list[str]:
        passwords = Passwords(hasher := Hasher())
        known = await passwords.hash(PASSWORD) if is_known else None
        if attempt == "second":
            await passwords.verify(known, PASSWORD)
        hasher.done.clear()
        assert await passwords.verify(known, PASSWORD) is is_known
        return hasher.done

    known, unknown = asyncio.run(work(True)), asyncio.run(work(False))
    assert known == unknown
    assert known == (["hash", "verify"] if attempt == "first" else ["verify"])


def test_hashes_are_computed_one_at_a_time_and_few_wait() -> None:
    """Each takes 64 MiB. If sixteen wait, the next caller must come again."""

    async def crowd() -> None:
        passwords = Passwords(hasher := Hasher())
        known = await passwords.hash(PASSWORD)
        await passwords.verify(known, PASSWORD)
        hasher.go.clear()
        waiting = [asyncio.ensure_future(passwords.verify(known, PASSWORD)) for _ in range(16)]
        await asyncio.sleep(0.01)
        with pytest.raises(TooManyError, match="too many users are logging in at once"):
            passwords.require_turn()
        hasher.go.set()
        assert all(await asyncio.gather(*waiting))
        passwords.require_turn()

    asyncio.run(crowd())


def test_the_hash_follows_the_standard() -> None:
    """RFC 9106: argon2id, 64 MiB, three passes, four lanes."""
    hashed = asyncio.run(Passwords().hash(PASSWORD))
    assert hashed.startswith("$argon2id$v=19$m=65536,t=3,p=4$")


def test_an_outdated_hash_is_renewed_at_a_login(api: Api, eve: str) -> None:
    """When the recommended parameters have changed. Sessions continue."""
    [before] = api.call(api.parts.store.users.page()).items
    token = token_of(api)
    api.parts.sessions._hashing._made = PasswordHasher(time_cost=2, memory_cost=8, parallelism=1)
    again = token_of(api)
    [after] = api.call(api.parts.store.users.page()).items
    assert "t=1" in before.password and "t=2" in after.password
    assert token_of(api) and again != token
    assert ask(api, "GET", "/v1/me", token).status_code == 200


def test_equivalent_characters_are_equal_in_passwords(api: Api, eve: str) -> None:
    """Some keyboards send é as one character, others as two."""
    for number, (made, typed) in enumerate((("é", "e\u0301"), ("e\u0301", "é"))):
        more = {"name": f"user{number}", "password": PASSWORD + made}
        assert ask(api, "POST", "/v1/users", json=more).status_code == 201
        assert log_in(api, **{**more, "password": PASSWORD + typed}).status_code == 201


def test_a_session_expires(api: Api, eve: str) -> None:
    """`session_hours` after the login. The next login removes the expired row."""
    api.parts.settings.session_hours = 0.1 / 3600
    token = token_of(api)
    time.sleep(0.12)
    answer = ask(api, "GET", "/v1/me", token)
    assert (answer.status_code, answer.json()["detail"]) == (401, "the session has expired")
    assert "log in again" in answer.json()["hint"]
    api.parts.settings.session_hours = 12
    token_of(api)
    db = api.parts.store.engine._reader
    assert db.execute("SELECT count(*) FROM sessions").fetchone() == (1,)


def follow(api: Api, token: str) -> tuple[threading.Thread, list[Any]]:
    """Follow an execution of eve's in a thread; return it and what came of it."""
    fid = api.execution(user="eve")
    came: list[Any] = []
    began = threading.Event()

    def read() -> None:
        try:
            with api.http(token) as client:
                path = f"/v1/executions/{fid}/events?follow=1"
                with client.stream("GET", path) as answer:
                    came.append(answer.status_code)
                    began.set()
                    for _ in answer.iter_raw():
                        pass
            came.append("ended")
        except httpx.HTTPError:
            came.append("ended")  # broken off: a reader comes again, and is refused then

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    assert began.wait(60), came
    return thread, came


def test_logging_out_ends_only_that_session(api: Api, eve: str) -> None:
    """At once, with its streams."""
    token, other = token_of(api), token_of(api)
    thread, came = follow(api, token)
    assert ask(api, "DELETE", "/v1/session", token).json() == {"name": eve}
    thread.join(30)
    assert not thread.is_alive() and came == [200, "ended"]
    assert ask(api, "GET", "/v1/me", token).status_code == 401
    assert ask(api, "GET", "/v1/me", other).status_code == 200


@pytest.mark.parametrize("how", ["removed", "by an admin", "by the user"])
def test_sessions_end_with_their_user_or_password(api: Api, eve: str, how: str) -> None:
    """At once, with their streams, so a stolen session is useless."""
    token, other = token_of(api), token_of(api)
    thread, _ = follow(api, token)
    new = {"password": f"{PASSWORD}, too"}
    path = f"/v1/users/{eve}"
    if how == "removed":
        answer = ask(api, "DELETE", path)
    elif how == "by an admin":
        answer = ask(api, "PUT", f"{path}/password", json=new)
    else:
        answer = ask(api, "PUT", f"{path}/password", other, json={**new, "old": PASSWORD})
    assert (answer.status_code, answer.json()) == (200, {"name": eve})
    thread.join(30)
    assert not thread.is_alive()
    for each in (token, other):
        assert ask(api, "GET", "/v1/me", each).status_code == 401
    if how == "removed":
        assert log_in(api).status_code == 404
    else:
        assert log_in(api).status_code == 401
        token_of(api, **new)


def test_an_inactive_user_has_no_access(api: Api, eve: str) -> None:
    """Sessions and streams end at once, and there are no new ones, until they are active again."""
    token = token_of(api)
    thread, _ = follow(api, token)
    path = f"/v1/users/{eve}"
    answer = ask(api, "PATCH", path, json={"active": False})
    assert (answer.status_code, answer.json()["active"]) == (200, False)
    thread.join(30)
    assert not thread.is_alive()
    assert ask(api, "GET", "/v1/me", token).status_code == 401
    refused = log_in(api)
    assert (refused.status_code, refused.json()["detail"]) == (401, "the user 'eve' is not active")
    assert "not active" not in log_in(api, password="x" * 12).text
    assert ask(api, "PATCH", path, json={"active": True}).status_code == 200
    assert ask(api, "GET", "/v1/me", token).status_code == 401
    token_of(api)
    actions = [
        (each.action, each.target, each.detail)
        for each in api.call(api.parts.store.audit.page(AuditQuery(target=eve))).items
        if each.action == "change_user"
    ]
    assert actions == [
        ("change_user", eve, {"active": True}),
        ("change_user", eve, {"active": False}),
    ]


def test_a_login_fails_if_its_user_is_deactivated_meanwhile(
    api: Api, eve: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the password is verified, which takes a while."""
    users = api.parts.users
    verified = users.verified

    async def slow(*args: Any, **more: Any) -> Any:
        user = await verified(*args, **more)
        await users.change(eve, UserChanges(active=False), by="root")
        return user

    monkeypatch.setattr(users, "verified", slow)
    assert log_in(api).status_code == 401


def test_changed_rights_hold_at_once(api: Api, eve: str) -> None:
    """The session goes on with them; a stream that was opened with other rights ends."""
    token = token_of(api)
    thread, _ = follow(api, token)
    path = f"/v1/users/{eve}"
    more = {"scopes": ["deploy", "read"], "flows": ["svc/*"], "all_executions": True}
    changed = ask(api, "PATCH", path, json={**more, "email": "eve@example.com"}).json()
    assert (changed["scopes"], changed["email"]) == (["read", "deploy"], "eve@example.com")
    assert ask(api, "GET", path).json() == changed
    thread.join(30)
    assert not thread.is_alive()
    me = ask(api, "GET", "/v1/me", token).json()
    assert (me["scopes"], me["flows"], me["all_executions"]) == (
        ["deploy", "read"],
        ["svc/*"],
        True,
    )
    assert ask(api, "PATCH", path, json={"email": ""}).json()["scopes"] == ["read", "deploy"]


def test_an_address_ends_no_stream(api: Api, eve: str) -> None:
    thread, _ = follow(api, token_of(api))
    assert ask(api, "PATCH", f"/v1/users/{eve}", json={"email": "eve@home"}).status_code == 200
    thread.join(0.3)
    assert thread.is_alive()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"scopes": []}, 400),
        ({"flows": ["svc"]}, 400),
        ({"scopes": ["admin"], "flows": ["svc/*"]}, 400),
        ({"email": "eve"}, 400),
        ({"email": "a b@example.com"}, 400),
        ({"email": "a@" + "x" * 300}, 400),
        ({"name": "adam"}, 400),
        ({"active": None}, 400),
    ],
)
def test_invalid_changes_are_refused(lasting: Api, body: dict[str, Any], status: int) -> None:
    assert ask(lasting, "PATCH", "/v1/users/eve", json=body).status_code == status
    assert ask(lasting, "PATCH", "/v1/users/nobody", json={"active": False}).status_code == 404
    assert ask(lasting, "PATCH", "/v1/users/eve", "ada", json={"active": False}).status_code == 403


def test_nobody_takes_away_their_own_access(api: Api, eve: str) -> None:
    """So an admin is always left: the one who changes others."""
    ask(api, "PATCH", f"/v1/users/{eve}", json={"scopes": ["admin"]})
    token = token_of(api)
    for body in ({"active": False}, {"scopes": ["deploy"]}):
        refused = ask(api, "PATCH", f"/v1/users/{eve}", token, json=body)
        assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert ask(api, "PATCH", f"/v1/users/{eve}", token, json={"email": "e@x"}).status_code == 200
    assert ask(api, "PATCH", f"/v1/users/{eve}", json={"scopes": ["deploy"]}).status_code == 200


def test_users_change_only_their_own_password(api: Api, eve: str) -> None:
    """With the old one. The holder of a key has none."""
    ask(api, "POST", "/v1/users", json={**LOGIN, "name": "abe"})
    token, new = token_of(api), {"password": f"{PASSWORD}, too"}
    for path, key, body, status in (
        ("/v1/users/abe/password", token, {**new, "old": PASSWORD}, 403),
        ("/v1/users/eve/password", token, new, 403),
        ("/v1/users/eve/password", token, {**new, "old": "x" * 12}, 403),
        ("/v1/users/eve/password", token, {"password": "short", "old": PASSWORD}, 400),
        ("/v1/users/ada/password", "ada", {**new, "old": PASSWORD}, 403),
        ("/v1/users/nobody/password", "root", new, 404),
    ):
        assert ask(api, "PUT", path, key, json=body).status_code == status, path
    assert log_in(api).status_code == 201


def test_a_login_fails_if_its_user_is_removed_meanwhile(
    api: Api, eve: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the password is verified, which takes a while."""
    users = api.parts.users
    verified = users.verified

    async def slow(*args: Any, **more: Any) -> Any:
        user = await verified(*args, **more)
        await users.set_password(eve, f"{PASSWORD}, too")
        return user

    monkeypatch.setattr(users, "verified", slow)
    assert log_in(api).status_code == 401


def test_a_slow_password_change_does_not_undo_an_admins(
    api: Api, eve: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The admin's is faster than the hashing of the user's own."""
    users, token = api.parts.users, token_of(api)
    verified, by_admin = users.verified, f"{PASSWORD}, by an admin"

    async def slow(*args: Any, **more: Any) -> Any:
        user = await verified(*args, **more)
        await users.set_password(eve, by_admin)
        return user

    with monkeypatch.context() as slowly:
        slowly.setattr(users, "verified", slow)
        change = {"password": f"{PASSWORD}, by a thief", "old": PASSWORD}
        answer = ask(api, "PUT", "/v1/users/eve/password", token, json=change)
    assert answer.status_code == 403
    token_of(api, password=by_admin)


def test_failures_delay_a_name_but_no_key(api: Api, eve: str) -> None:
    """After five. The error says for how long; a new password by an admin ends it."""
    for _ in range(5):
        assert log_in(api, password="x" * 12).status_code == 401
    held = log_in(api)
    assert held.status_code == 429
    assert held.headers["retry-after"] == "1"
    assert "too many failed logins as 'eve'" in held.json()["detail"]
    assert "wait" in held.json()["hint"]
    assert ask(api, "GET", "/v1/me", "ada").status_code == 200
    new = {"password": f"{PASSWORD}, too"}
    ask(api, "PUT", "/v1/users/eve/password", json=new)
    token_of(api, **new)


def test_a_successful_login_clears_failures(api: Api, eve: str) -> None:
    """Occasional typing errors never cause a delay."""
    for _ in range(2):
        for _ in range(4):
            assert log_in(api, password="x" * 12).status_code == 401
        assert log_in(api).status_code == 201


def test_a_wrong_old_password_counts_as_a_failure(api: Api, eve: str) -> None:
    """Otherwise a browser left logged in could be used to guess for ever."""
    token = token_of(api)
    body = {"password": PASSWORD, "old": "x" * 12}
    codes = [
        ask(api, "PUT", f"/v1/users/{eve}/password", token, json=body).status_code for _ in range(6)
    ]
    assert codes == [403] * 5 + [429]


def test_wrong_keys_delay_their_address_but_no_valid_key(api: Api, eve: str) -> None:
    """Session tokens count as well. Valid credentials are never delayed."""
    with api.http("koco_wrong") as client:
        for number in range(100):
            headers = {"Authorization": f"Bearer kocos_{number}"} if number % 2 else {}
            assert client.get("/v1/me", headers=headers).status_code == 401
        held = client.get("/v1/me")
    assert (held.status_code, held.headers["retry-after"]) == (429, "1")
    assert "too many wrong keys from 127.0.0.1" in held.json()["detail"]
    assert ask(api, "GET", "/v1/me", "ada").status_code == 200
    assert ask(api, "GET", "/v1/me", token_of(api)).status_code == 200


# Cookies


def cookie_of(api: Api) -> dict[str, str]:
    answer = log_in(api, cookie=True)
    assert answer.status_code == 201
    return {"Cookie": answer.headers["set-cookie"].partition(";")[0]}


def test_a_cookie_is_only_for_browsers(api: Api, eve: str) -> None:
    """No script of a page can read it, and no other site's page sends it."""
    answer = log_in(api, cookie=True)
    assert "token" not in answer.json()
    name_value, *attributes = answer.headers["set-cookie"].split("; ")
    assert re.fullmatch(r"koco_session=kocos_[A-Za-z0-9_-]{43}", name_value)
    assert {each.lower() for each in attributes} == {
        "httponly",
        "samesite=strict",
        "path=/",
        "max-age=43200",
    }
    me = anonymous(api, "GET", "/v1/me", headers={"Cookie": name_value}).json()
    assert (me["name"], me["by"]) == (eve, "session")


def test_over_tls_a_cookie_is_secure_and_bound_to_the_host() -> None:
    """Browsers accept its prefix only from this host, and only over TLS."""
    cookie = cookies.make("kocos_x", {"scheme": "https"}, max_age_s=60)
    header = cookie.to_header(header="")
    assert header.startswith("__Host-koco_session=kocos_x; ")
    attributes = {each.lower() for each in header.split("; ")[1:]}
    assert {"secure", "httponly", "path=/", "samesite=strict"} <= attributes
    assert not any(each.startswith("domain") for each in attributes)


@pytest.mark.parametrize("is_trusted", [True, False])
def test_behind_a_trusted_proxy_a_cookie_is_secure(api: Api, eve: str, is_trusted: bool) -> None:
    """Where the proxy ends TLS. Other senders of its header are not believed."""
    api.parts.settings.trusted_proxies = ("127.0.0.1",) if is_trusted else ()
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.7"}
    answer = log_in(api, headers=headers, cookie=True)
    told = answer.headers["set-cookie"]
    assert told.startswith("__Host-koco_session=") is is_trusted
    assert ("; Secure" in told) is is_trusted
    [user] = ask(api, "GET", "/v1/users").json()["items"]
    assert user["last_from"] == ("192.0.2.7" if is_trusted else "127.0.0.1")
    # The other name is no session there: over TLS a page of a neighbour's could have set it.
    token = told.partition(";")[0].partition("=")[2]
    for name, is_good in (("__Host-koco_session", is_trusted), ("koco_session", not is_trusted)):
        shown = {**headers, "Cookie": f"{name}={token}"}
        assert (anonymous(api, "GET", "/v1/me", headers=shown).status_code == 200) is is_good


def test_a_cookie_is_accepted_from_permitted_pages(api: Api, eve: str) -> None:
    """From origins that an admin has named for CORS, whatever `*` may read."""
    page = {"Origin": "https://app.example.com", "Sec-Fetch-Site": "same-site"}
    for origins, status in ((("*",), 403), (("https://app.example.com",), 200)):
        api.parts.settings.cors_origins = origins
        headers = {**cookie_of(api), **page}
        assert anonymous(api, "DELETE", "/v1/session", headers=headers).status_code == status


def test_logging_out_removes_the_cookie(api: Api, eve: str) -> None:
    """In the browser as well. Without a cookie, the credential was a key."""
    cookie = cookie_of(api)
    answer = anonymous(api, "DELETE", "/v1/session", headers={**cookie, "Origin": api.url})
    assert answer.status_code == 200
    assert "max-age=0" in answer.headers["set-cookie"].lower()
    assert anonymous(api, "GET", "/v1/me", headers=cookie).status_code == 401
    assert ask(api, "DELETE", "/v1/session", "ada").status_code == 409


@pytest.mark.parametrize(
    ("headers", "is_ours"),
    [
        ({}, False),
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "cross-site", "Origin": PUBLIC}, False),
        ({"Origin": PUBLIC}, True),
        ({"Origin": f"{PUBLIC}:443"}, True),
        ({"Origin": "http://koco.example.com"}, False),
        ({"Origin": f"{PUBLIC}:8443"}, False),
        ({"Origin": f"{PUBLIC}.evil.test"}, False),
        ({"Origin": "https://evil.test"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "https://evil.test:x"}, False),
        ({"Origin": "https://here.test", "Host": "here.test"}, False),  # another scheme
        ({"Origin": "http://here.test", "Host": "here.test"}, True),
        ({"Referer": PUBLIC}, False),
    ],
    ids=str,
)
def test_a_cookie_changes_nothing_for_other_sites(
    lasting: Api, headers: dict[str, str], is_ours: bool
) -> None:
    """The browser's headers about the page decide. Reads need no proof."""
    cookie = cookie_of(lasting)
    path = f"/v1/executions/{lasting.execution(user='eve')}/cancel"
    answer = anonymous(lasting, "POST", path, headers={**cookie, **headers})
    assert answer.status_code == (202 if is_ours else 403), answer.text
    assert anonymous(lasting, "GET", "/v1/me", headers={**cookie, **headers}).status_code == 200


def test_a_cookie_is_ignored_beside_a_key(api: Api, eve: str) -> None:
    """And beside any other credential."""
    cookie = cookie_of(api)
    for shown, status in (
        ("Bearer ada", 200),
        ("Bearer wrong", 401),
        ("Basic eDp5", 401),
        ("", 401),
    ):
        answer = anonymous(api, "GET", "/v1/me", headers={**cookie, "Authorization": shown})
        assert answer.status_code == status, shown
        assert status != 200 or answer.json()["name"] == "ada"


def test_a_key_in_a_cookie_is_refused(api: Api) -> None:
    """It would be valid for years, in a browser."""
    for name in ("koco_session", "__Host-koco_session"):
        answer = anonymous(api, "GET", "/v1/me", headers={"Cookie": f"{name}=ada"})
        assert answer.status_code == 401


@pytest.mark.parametrize(
    "kind",
    ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain", None],
)
def test_forms_of_other_sites_cannot_log_in(lasting: Api, kind: str | None) -> None:
    """Browsers send them without asking, and nobody would notice the other user."""
    headers = {"Content-Type": kind} if kind else {}
    body = msgspec.json.encode({**LOGIN, "cookie": True})
    answer = anonymous(lasting, "POST", "/v1/session", content=body, headers=headers)
    assert answer.status_code == 415
    assert "set-cookie" not in answer.headers
