"""Paths that a manifest makes public: which ones those are, and what reaches the app."""

import asyncio
import json
import pickle
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.staticfiles import StaticFiles

from koco import Launch, ServeAPI
from koco.errors import DeployError
from koco.sdk.endpoint import headers, public, serving, signing

KEY = b"k" * 32
NAMED = ["/webhook", "/static/*", "/items/*", "/api/*"]

app = ServeAPI()


@app.enter("/")
@app.enter("/api-launch")
def enter() -> Launch:
    return Launch(None, "os:getcwd")


@app.post("/webhook")
async def webhook(request: Request) -> Any:
    state = request.state
    size = len(await request.body())
    return {"user": state.user, "fid": state.fid, "size": size, "headers": dict(request.headers)}


@app.get("/private")
def private(request: Request) -> Any:
    return {"user": request.state.user, "headers": dict(request.headers)}


@app.get("/items/{item}")
def item(item: str) -> str:
    return item


inner = FastAPI()


@inner.get("/inside")
def inside() -> str:
    return "inside"


app.mount("/api", inner)
app.mount("/static", StaticFiles(directory="/usr/share"))


async def key() -> bytes:
    return KEY


app._gate.key = key


@pytest.fixture(autouse=True)
def _named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(public.VARIABLE, json.dumps(NAMED))


def send(method: str, target: str, *, root: str = "", **more: Any) -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=app, root_path=root)
        async with httpx.AsyncClient(transport=transport, base_url="http://serve") as client:
            return await client.request(method, root + target, **more)

    return asyncio.run(ask())


# which paths


@pytest.mark.parametrize("path", ["/webhook", "/static/a", "/static/a/b.css", "/static/"])
def test_a_listed_path_is_public(path: str) -> None:
    """Either itself, or below a path that ends with `/*`."""
    assert public.is_public(path, NAMED)


@pytest.mark.parametrize(
    "path",
    [
        *("/", "", "/webhook/", "/webhooks", "/webhook/x", "/WEBHOOK", "/static", "/staticx/a"),
        *("//webhook", "/static/../private", "/static/a/../../private", "/static/./a"),
        *("/static//a", "/static/..", "/static/.", "/static\\..\\private", "/x/webhook"),
        *("/_koco/locks/a", "/static/..\\private", "webhook", "/private"),
    ],
)
def test_an_ambiguous_path_is_not_public(path: str) -> None:
    """Other spellings, paths that leave a folder, extra slashes, and koco's own questions."""
    assert not public.is_public(path, NAMED)
    assert not public.is_public(path, [])


# at Serve's port


@pytest.mark.parametrize("root", ["", "/koco/svc/1"])
def test_a_public_route_answers_unsigned_requests_without_a_user(root: str) -> None:
    """Wherever the application is mounted; routes of sub-applications and files as well."""
    answer = send("POST", "/webhook", root=root, content=b"x" * 1000)
    assert (answer.status_code, answer.json()["size"]) == (200, 1000)
    assert (answer.json()["user"], answer.json()["fid"]) == ("", "")
    assert send("GET", "/items/a", root=root).json() == "a"
    assert send("GET", "/api/inside", root=root).json() == "inside"


def test_everything_else_still_needs_a_signature() -> None:
    """Flows above all, whatever is listed; documentation and missing routes as well."""
    for path in ("/", "/private", "/docs", "/openapi.json", "/no", "/static", "/_koco/locks/x"):
        for method in ("GET", "POST", "OPTIONS", "HEAD"):
            assert send(method, path).status_code == 401, path
    assert send("GET", "/items/%2e%2e/private").status_code == 401


def test_a_flow_is_never_public(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate knows the flows, and does not rely on the check at the deploy."""
    monkeypatch.setenv(public.VARIABLE, '["/api-launch", "/"]')
    assert send("POST", "/api-launch", json={}).status_code == 401
    assert send("POST", "/", json={}).status_code == 401


def test_without_public_paths_everything_needs_a_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    """As before there were public paths."""
    for value in ("", "[]"):
        monkeypatch.setenv(public.VARIABLE, value)
        assert send("POST", "/webhook").status_code == 401


SAYING_WHO = {
    "X-Koco-User": b"admin".hex(),
    "x_koco_user": "admin",
    "X-Koco-Fid": "0123",
    "X-Forwarded-User": "admin",
    "X_Forwarded_For": "1.2.3.4",
    "Forwarded": "for=1.2.3.4",
    "Via": "1.1 x",
    "Remote-User": "admin",
    "REMOTE_USER": "admin",
    "X-Remote-User": "admin",
    "X-Real-IP": "1.2.3.4",
    "X-Auth-Request-Email": "a@b.c",
    "X-WebAuth-User": "admin",
    "X-Kodosumi": "true",
    "X-Kodosumi-URL": "http://evil.example",
    "X-Kodosumi_User": "admin",
    "x_kodosumi-base": "/x",
    "KODOSUMI_API_KEY": "x",
    "Cookie": "session=kocos_x",
    "Authorization": "Bearer koco_x",
    "Proxy-Authorization": "Basic eA==",
    "X-Original-URL": "/private",
    "X-Api-Key": "koco_0123456789abcdef0123456789abcdef",
}


def test_headers_about_the_caller_are_removed_from_public_requests() -> None:
    """In any spelling; other headers reach the application."""
    given = [*SAYING_WHO.items(), ("X-Koco-User", "twice"), ("X-Hub-Signature", "sha1=1")]
    answer = send("POST", "/webhook", headers=given, content=b"{}").json()
    assert set(answer["headers"]) == {
        *("host", "accept", "accept-encoding", "user-agent", "content-length"),
        "x-hub-signature",
    }
    assert answer["user"] == ""


def test_unsigned_headers_of_a_signed_request_are_removed() -> None:
    """A process on the way to Serve's port cannot add a user; the signed one counts."""
    signed = signing.sign(KEY, "GET", "/private", body=b"", user="ada")
    others = {name: value for name, value in SAYING_WHO.items() if "oco-" not in name}
    answer = send("GET", "/private", headers={**others, **signed}).json()
    assert answer["user"] == "ada"
    assert set(answer["headers"]) == {"host", "accept", "accept-encoding", "user-agent"}


def test_a_wrong_signature_is_refused_even_on_a_public_path() -> None:
    """It claims to have a user."""
    signed = signing.sign(b"x" * 32, "POST", "/webhook", body=b"", user="ada")
    assert send("POST", "/webhook", headers=signed).status_code == 401
    assert send("POST", "/webhook", headers={"x-koco-signature": ""}).status_code == 401


def test_the_application_can_be_pickled() -> None:
    """Serve sends it to replicas, including its gate."""
    gate = pickle.loads(pickle.dumps(app._gate))
    assert set(gate._flows) == {"/", "/api-launch"}


@pytest.mark.parametrize(
    ("name", "value", "passes"),
    [
        *[(name, "x", True) for name in ("accept", "content-type", "x-a", "x-kodosumi_extra")],
        *[(name, value, False) for name, value in SAYING_WHO.items()],
        ("x-token", "Bearer koco_abcdefghijklmnopqrst", False),
        ("x-token", "the koco_ prefix", True),
    ],
)
def test_which_headers_pass(name: str, value: str, passes: bool) -> None:
    """By name in any spelling; and no header with one of koco's keys."""
    for spelt in (name, name.upper(), name.lower(), name.replace("-", "_")):
        assert headers.may_pass(spelt, value) is passes


# at the deploy


@pytest.mark.parametrize(
    ("named", "said", "hint"),
    [
        ("/webhok", "no route at '/webhok'", "did you mean '/webhook'?"),
        ("/zzz/*", "no route at '/zzz/*'", "routes: "),
        ("/api-launch", "opens the flow at '/api-launch' (enter)", "needs a user"),
    ],
)
def test_an_invalid_public_path_fails_the_deploy(named: str, said: str, hint: str) -> None:
    """A path without a route, with the nearest existing one; or a flow's path."""
    with pytest.raises(DeployError) as caught:
        serving.describe(f"{__name__}:app", "svc", public=["/webhook", named])
    assert said in caught.value.message
    assert hint in str(caught.value.hint)


def test_a_folder_with_a_flow_cannot_be_public() -> None:
    """Not even if it has other routes, too."""
    shaded = ServeAPI()
    shaded.enter("/a/b/c")(enter)
    shaded.get("/a/d")(item)
    with pytest.raises(DeployError, match="opens the flow at '/a/b/c'"):
        public.check(shaded, ["/a/*"])
    public.check(shaded, ["/a/d"])


def test_finds_routes_with_parameters_mounts_and_folders() -> None:
    """A path that a route with parameters matches counts, and so does a mounted one."""
    serving.describe(f"{__name__}:app", "svc", public=[*NAMED, "/items/7", "/static/x", "/docs"])
