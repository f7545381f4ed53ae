"""The place of an app as its callers see it."""

import asyncio
import json
from typing import Any

import fastapi
import pytest
from fastapi.responses import PlainTextResponse
from fastapi.staticfiles import StaticFiles

from koco.kodosumi.serve import ServeAPI as KodosumisAPI
from koco.sdk.endpoint import place, public, serve_api, signing

KEY = b"k" * 32
BASE = place.base_of("https://koco.example.com:444/tools/", "shop")


def build(kind: Any, folder: Any) -> Any:
    """Return an app whose routes say where they are."""
    app = kind()

    @app.get("/where/{name}", name="where")
    def where(request: fastapi.Request, name: str) -> dict[str, str]:
        return {
            "self": str(request.url_for("where", name="b")),
            "static": str(request.url_for("static", path="a.css")),
            "base": str(request.base_url),
            "url": str(request.url),
        }

    (folder / "a.css").write_text("body {}")
    app.mount("/static", StaticFiles(directory=folder), name="static")

    async def key() -> bytes:
        return KEY

    app._gate.key = key
    return app


def get(app: Any, path: str, headers: dict[str, str], *, is_signed: bool = True) -> Any:
    """Ask as Serve's proxy passes a request on; return the body and the status."""
    sent: list[Any] = []
    asked: list[bool] = []
    if is_signed:
        headers = {**headers, **signing.sign(KEY, "GET", path, body=b"", user="ada")}
    every = {"host": "127.0.0.1:8000", **headers}
    scope = {
        **{"type": "http", "method": "GET", "path": f"/koco/shop/2{path}", "scheme": "http"},
        **{"root_path": "/koco/shop/2", "query_string": b"", "server": ("127.0.0.1", 8000)},
        "raw_path": f"/koco/shop/2{path}".encode(),
        "headers": [(name.encode(), value.encode()) for name, value in every.items()],
    }

    async def receive() -> Any:
        if asked:
            await asyncio.Event().wait()  # the client stays connected
        asked.append(True)
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    body = b"".join(each.get("body", b"") for each in sent)
    return sent[0]["status"], body.decode()


@pytest.mark.parametrize("kind", [serve_api.ServeAPI, KodosumisAPI])
def test_an_app_makes_urls_that_its_callers_can_use(kind: Any, tmp_path: Any) -> None:
    """`url_for`, the documentation and mounted apps: the public URL and the app's path there."""
    app = build(kind, tmp_path)
    status, body = get(app, "/where/x", {place.BASE: BASE})
    assert status == 200
    here = "https://koco.example.com:444/tools/v1/services/shop/app"
    assert json.loads(body) == {
        "self": f"{here}/where/b",
        "static": f"{here}/static/a.css",
        "base": f"{here}/",
        "url": f"{here}/where/x",
    }
    assert get(app, "/static/a.css", {place.BASE: BASE}) == (200, "body {}")
    _, page = get(app, "/docs", {place.BASE: BASE})
    assert "'/tools/v1/services/shop/app/openapi.json'" in page
    _, document = get(app, "/openapi.json", {place.BASE: BASE})
    assert json.loads(document)["servers"] == [{"url": "/tools/v1/services/shop/app"}]


def test_only_a_signed_request_says_where_an_app_is(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that nobody signed keeps Serve's place; so do those of an older control plane."""
    monkeypatch.setenv(public.VARIABLE, '["/where/*"]')
    app = build(serve_api.ServeAPI, tmp_path)
    serves = "http://127.0.0.1:8000/koco/shop/2/"
    forged = {place.BASE: "https://evil.example.com", "x-forwarded-host": "evil.example.com"}
    status, body = get(app, "/where/x", forged, is_signed=False)
    assert (status, json.loads(body)["base"]) == (200, serves)
    status, body = get(app, "/where/x", {})
    assert (status, json.loads(body)["base"]) == (200, serves)


def test_a_reply_of_a_callers_route_has_no_place(tmp_path: Any) -> None:
    """The header itself does not reach an app's code."""
    app = build(serve_api.ServeAPI, tmp_path)

    @app.get("/headers")
    def headers(request: fastapi.Request) -> PlainTextResponse:
        return PlainTextResponse(" ".join(sorted(request.headers)))

    assert get(app, "/headers", {place.BASE: BASE}) == (200, "host")
