"""A release's token: what it gives access to, for how long, and how a process uses it."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from koco import tokens
from koco.control.services.release_tokens import ReleaseTokens
from koco.errors import KocoError, UnauthorizedError, UnreachableError
from koco.sdk.process import release_secrets
from koco.sdk.process.release_secrets import Access
from koco.store.model import AuditQuery, ReleaseFailure
from tests.support.api_server import Api, serving
from tests.support.http_server import QuietServer
from tests.support.releases import manifest

VALUE = "sesame-open-7d1f"


def made(secret: bytes = b"s" * 32) -> ReleaseTokens:
    return ReleaseTokens(secret=secret, url="http://127.0.0.1:1")


def test_a_token_is_for_one_release_and_one_control_plane() -> None:
    """Changing any character makes it invalid, and it has the form that is masked everywhere."""
    token = made().token("svc-a", 12)
    assert made().release(token) == ("svc-a", 12)
    assert tokens.are_in(f"with {token} in it")
    wrong = [
        made(b"x" * 32).token("svc-a", 12),
        token.replace("_12_", "_13_"),
        token.replace("svc-a", "svc-b"),
        token[:-1] + ("0" if token[-1] != "0" else "1"),
        token.replace(tokens.RELEASE, tokens.FLOW),
        *(token[:length] for length in range(len(token))),
        token + "é",
        "kocor_svc-a_" + "9" * 5000 + "_x",
    ]
    for each in wrong:
        with pytest.raises(UnauthorizedError, match="not the token of a release"):
            made().release(each)


# the route


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    """Two releases, each with its own secret, and one secret that neither of them names."""
    with serving(tmp_path) as api:

        async def prepare() -> None:
            store = api.parts.store
            for name in ("A", "B", "C"):
                await api.parts.vault.put(name, f"{VALUE}-{name}", by="ada")
            for service, names in (("one", ["A"]), ("two", ["B"]), ("needy", ["A", "GONE"])):
                more = {"bundle": "", "fingerprint": "", "by": "ada"}
                await store.releases.create(service, manifest=manifest(secrets=names), **more)

        api.call(prepare())
        yield api


def ask(api: Api, token: str) -> tuple[int, Any]:
    with api.http(token) as client:
        answer = client.get(release_secrets.PATH)
    return answer.status_code, answer.json()


def test_a_release_gets_only_its_own_secrets(api: Api) -> None:
    """By its token alone: no key gives access, not even an admin's."""
    token = api.parts.release_tokens.token
    assert ask(api, token("one", 1)) == (200, {"values": {"A": f"{VALUE}-A"}})
    assert ask(api, token("two", 1)) == (200, {"values": {"B": f"{VALUE}-B"}})
    api.admit("root", "admin")
    for other in ("root", "x", token("one", 1)[:-1], api.parts.files.token("x")):
        status, told = ask(api, other)
        assert (status, told["code"]) == (401, "unauthorized")
        assert VALUE not in str(told)
    # A valid token for a release that does not exist gets the same answer.
    assert ask(api, token("one", 2))[0] == 404


def test_a_token_is_valid_while_its_release_has_processes(api: Api) -> None:
    """Processes that outlive a switch of releases may still start tasks; then it expires."""
    store, token = api.parts.store, api.parts.release_tokens.token("one", 1)
    api.call(store.releases.fail("one", 1, ReleaseFailure(message="")))
    status, told = ask(api, token)
    assert (status, told["code"]) == (403, "not_allowed")
    assert told["detail"] == "release 1 of 'one' has ended: it gets no secrets"
    api.parts.supervisor.pools["one", 1] = SimpleNamespace()
    assert ask(api, token)[0] == 200
    del api.parts.supervisor.pools["one", 1]


def test_a_missing_secret_is_named(api: Api) -> None:
    """All or nothing: no process starts with only some of them."""
    status, told = ask(api, api.parts.release_tokens.token("needy", 1))
    assert (status, told["detail"]) == (404, "there is no secret 'GONE'")
    assert told["hint"] == "`koco secret set GONE`"


def test_refusals_are_audited_and_delayed(api: Api) -> None:
    """Like wrong keys."""
    for _ in range(120):
        status, _ = ask(api, "kocor_one_1_" + "0" * 64)
    assert status == 429
    assert ask(api, api.parts.release_tokens.token("one", 1))[0] == 200
    page = api.call(api.parts.store.audit.page(AuditQuery(), limit=1000))
    told = {(each.action, each.outcome) for each in page.items}
    assert ("show_values", "unauthorized") in told


# the process's side


class _Store:
    """The key-value store of Ray's head."""

    def __init__(self, access: Access | None) -> None:
        self._access = access

    def internal_kv_get(self, key: bytes, namespace: bytes, timeout: float) -> bytes | None:
        assert (key, namespace) == (b"secrets/svc/3", b"koco")
        return msgspec.json.encode(self._access) if self._access else None


@pytest.fixture
def plane(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, Any]]]:
    """A control plane that gives these answers; it repeats the last one."""
    answers: list[tuple[int, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.path == release_secrets.PATH
            assert self.headers["Authorization"] == "Bearer kocor_x"
            status, told = answers.pop(0) if len(answers) > 1 else answers[0]
            body = msgspec.json.encode(told)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with QuietServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        access = Access(f"http://127.0.0.1:{server.server_port}", "kocor_x")
        monkeypatch.setattr(release_secrets, "_store", lambda: _Store(access))
        yield answers
        server.shutdown()


def test_retries_while_the_control_plane_is_away(plane: list[tuple[int, Any]]) -> None:
    """While it starts, and if it gets too many requests."""
    plane += [(503, {}), (429, {"detail": "slow down"}), (500, "x"), (200, {"values": {"A": "b"}})]
    assert release_secrets.fetch("svc", 3) == {"A": "b"}


def test_does_not_retry_after_a_refusal(plane: list[tuple[int, Any]]) -> None:
    """Its message and hint are passed on."""
    plane.append((403, {"detail": "it has ended", "hint": "deploy it"}))
    with pytest.raises(KocoError, match="it has ended") as caught:
        release_secrets.fetch("svc", 3)
    assert caught.value.hint == "deploy it"


def test_gives_up_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says which URL could not be reached, and never shows the token."""
    access = Access("http://127.0.0.1:1", "kocor_x")
    monkeypatch.setattr(release_secrets, "_store", lambda: _Store(access))
    with pytest.raises(UnreachableError, match=r"not answer at http://127\.0\.0\.1:1") as caught:
        release_secrets.fetch("svc", 3, gone_s=0.1)
    assert "kocor_x" not in str(caught.value)


def test_a_release_without_access_fails_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting would not help."""
    monkeypatch.setattr(release_secrets, "_store", lambda: _Store(None))
    with pytest.raises(KocoError, match="release 3 of 'svc' has no access to secrets"):
        release_secrets.fetch("svc", 3)
