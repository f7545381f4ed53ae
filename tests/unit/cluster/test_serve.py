"""How Serve is written: merged with what others run, or not at all."""

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from types import SimpleNamespace
from typing import Any

import pytest

from koco.api.routes import status
from koco.cluster.dashboard import ServeError
from koco.cluster.serve import Application, Serve
from koco.cluster.serve_failures import ApplicationFailed
from tests.support.http_server import QuietServer

THEIRS = {"name": "koco-alike", "route_prefix": "/t", "import_path": "their.app:app"}
#: As Serve answers where it is not started.
NOTHING: dict[str, Any] = {
    "controller_info": {},
    "proxies": {},
    "applications": {},
    "target_capacity": None,
}


def running(name: str, config: dict[str, Any] | None, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "route_prefix": (config or {}).get("route_prefix"),
        "status": "RUNNING",
        "message": "",
        "deployed_app_config": config,
        "source": "declarative",
        "deployments": {"d": {"message": ""}},
        **more,
    }


class Dashboard:
    """What Ray's dashboard does with Serve's applications, and Serve's proxy beside it."""

    def __init__(self) -> None:
        self.details = json.loads(json.dumps(NOTHING))
        self.puts: list[dict[str, Any]] = []
        self.agents: set[str] = set()
        #: What an application becomes that is put there.
        self.fate: dict[str, Any] = {}
        self.routed_after = 0

    @property
    def applications(self) -> dict[str, Any]:
        found: dict[str, Any] = self.details["applications"]
        return found

    def started(self, *applications: dict[str, Any]) -> None:
        self.details = {
            "controller_info": {"node_id": "n"},
            "proxy_location": "EveryNode",
            "http_options": {"host": "0.0.0.0", "port": self.port},
            "grpc_options": {"port": 9000},
            "target_capacity": 50.0,
            "proxies": {"n": {"status": "HEALTHY"}},
            "applications": {each["name"]: each for each in applications},
        }

    def put(self, body: dict[str, Any]) -> None:
        self.puts.append(body)
        kept = {name: a for name, a in self.applications.items() if a["source"] == "imperative"}
        for config in body["applications"]:
            known = self.applications.get(config["name"])
            is_same = known is not None and known["deployed_app_config"] == config
            kept[config["name"]] = (
                known if is_same else running(config["name"], config, **self.fate)
            )
        self.started(*kept.values())


class Handler(BaseHTTPRequestHandler):
    board: Dashboard

    def do_GET(self) -> None:
        self.board.agents.add(self.headers["User-Agent"])
        if self.path == "/-/routes":
            self.board.routed_after -= 1
            routes = {a["route_prefix"]: name for name, a in self.board.applications.items()}
            self.answer(routes if self.board.routed_after < 0 else {})
        else:
            self.answer(self.board.details)

    def do_PUT(self) -> None:
        self.board.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.answer({})

    def do_DELETE(self) -> None:
        raise AssertionError("it ends Serve for everybody")

    def answer(self, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def board() -> Iterator[Dashboard]:
    board = Dashboard()
    handler = type("Mine", (Handler,), {"board": board})
    server = QuietServer(("127.0.0.1", 0), handler)
    board.port = server.server_address[1]  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield board
    server.shutdown()
    server.server_close()


def serve_of(board: Dashboard) -> Serve:
    return Serve(dashboard=lambda: f"http://127.0.0.1:{board.port}")  # type: ignore[attr-defined]


def application(service: str = "hymn", release: int = 1) -> Application:
    return Application(
        service=service,
        release=release,
        import_path="hymn.app:app",
        runtime_env={"env_vars": {"A": "b"}},
        timeout_s=30,
    )


def test_serve_starts_on_loopback_on_a_free_port(board: Dashboard) -> None:
    """With a proxy on the head only, because only the control plane needs it."""

    asyncio.run(serve_of(board).bring_up(application()))
    [put] = board.puts
    assert put["proxy_location"] == "HeadOnly"
    assert put["http_options"]["host"] == "127.0.0.1"
    assert put["http_options"]["port"] > 0
    [config] = put["applications"]
    assert config["name"] == "koco-hymn-1"
    assert config["route_prefix"] == "/koco/hymn/1"
    assert not any("Mozilla" in agent for agent in board.agents)


def test_keeps_other_applications(board: Dashboard) -> None:
    """Their configurations and Serve's options stay; imperative ones need no entry."""
    board.started(
        running("koco-alike", THEIRS),
        running("imperative", None, source="imperative"),
        running("leaving", None, status="DELETING"),
    )

    async def story() -> str:
        serve = serve_of(board)
        await serve.bring_up(application())
        await serve.bring_up(application(release=2))
        await serve.sweep(lambda name: name == "koco-hymn-2")
        return await serve.base()

    base = asyncio.run(story())
    assert [[each["name"] for each in put["applications"]] for put in board.puts] == [
        ["koco-alike", "koco-hymn-1"],
        ["koco-alike", "koco-hymn-1", "koco-hymn-2"],
        ["koco-alike", "koco-hymn-2"],
    ]
    for put in board.puts:
        assert put["applications"][0] == THEIRS
        assert (put["proxy_location"], put["target_capacity"]) == ("EveryNode", 50.0)
        assert put["grpc_options"] == {"port": 9000}
    assert set(board.applications) == {"koco-alike", "imperative", "koco-hymn-2"}
    assert base.startswith("http://127.0.0.1:")


def test_keeps_an_application_that_comes_up_during_a_sweep(board: Dashboard) -> None:
    """The need is decided in turn, because an earlier decision would remove it."""
    board.started(running("koco-alike", THEIRS))

    async def story() -> None:
        serve = serve_of(board)
        await serve.bring_up(application())
        needed = {"koco-hymn-2"}
        is_told = asyncio.Event()
        coming = asyncio.create_task(serve.bring_up(application(release=2)))
        await asyncio.sleep(0)  # it has its turn; now others line up behind it

        async def sweep() -> None:
            is_told.set()
            await serve.sweep(lambda name: name in needed)

        sweeping = asyncio.create_task(sweep())
        await is_told.wait()
        needed.add("koco-hymn-3")
        await asyncio.gather(coming, sweeping, serve.bring_up(application(release=3)))
        await serve.sweep(lambda name: name in needed)

    asyncio.run(story())
    assert set(board.applications) == {"koco-alike", "koco-hymn-2", "koco-hymn-3"}


def test_an_application_that_comes_up_during_a_look_is_ours(board: Dashboard) -> None:
    """A look that began before does not make it foreign."""

    async def story() -> set[str]:
        serve = serve_of(board)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("koco.cluster.serve._is_started", lambda: True)
            await asyncio.gather(serve.look(), serve.bring_up(application()), serve.look())
        return serve.ours

    assert asyncio.run(story()) == {"koco-hymn-1"}


def test_does_not_configure_an_application_that_is_no_longer_wanted(
    board: Dashboard,
) -> None:
    """Its release may have been replaced while others were built."""

    async def story() -> bool:
        return await serve_of(board).bring_up(application(), is_wanted=lambda: False)

    assert asyncio.run(story()) is False
    assert board.puts == []


def test_applications_that_wait_are_written_together(board: Dashboard) -> None:
    """Serve builds them side by side. One that is not wanted any more is left out."""

    async def story() -> list[bool]:
        serve = serve_of(board)
        names = ("a", "b", "c", "d")
        return await asyncio.gather(
            *(serve.bring_up(application(n), is_wanted=lambda n=n: n != "c") for n in names)
        )

    assert asyncio.run(story()) == [True, True, False, True]
    [put] = board.puts
    assert [each["name"] for each in put["applications"]] == ["koco-a-1", "koco-b-1", "koco-d-1"]


def test_a_refused_configuration_does_not_stop_others(board: Dashboard) -> None:
    """Each is tried on its own, and only the one that Serve refuses fails."""
    put = board.put

    def refuse(body: dict[str, Any]) -> None:
        if any(each["name"] == "koco-bad-1" for each in body["applications"]):
            raise ConnectionResetError
        put(body)

    board.put = refuse  # type: ignore[method-assign]

    async def story() -> list[Any]:
        serve = serve_of(board)
        names = ("a", "bad", "b")
        return await asyncio.gather(
            *(serve.bring_up(application(name)) for name in names), return_exceptions=True
        )

    first, refused, second = asyncio.run(story())
    assert (first, second) == (True, True)
    assert isinstance(refused, ServeError)
    assert set(board.applications) == {"koco-a-1", "koco-b-1"}


def test_a_stopped_release_does_not_stop_others(board: Dashboard) -> None:
    """Its application came first, and another one waits for the same change."""

    async def story() -> bool:
        serve = serve_of(board)
        first = asyncio.ensure_future(serve.bring_up(application("a")))
        second = asyncio.ensure_future(serve.bring_up(application("b")))
        await asyncio.sleep(0)
        first.cancel()
        return await second

    assert asyncio.run(story()) is True
    assert set(board.applications) == {"koco-b-1"}


def test_leaves_an_existing_application_alone(board: Dashboard) -> None:
    """After a restart nothing is written. A failed one is tried again."""

    async def story() -> None:
        await serve_of(board).bring_up(application())
        await serve_of(board).bring_up(application())
        board.applications["koco-hymn-1"]["status"] = "DEPLOY_FAILED"
        await asyncio.wait_for(_tried(board), 60)

    asyncio.run(story())
    assert len(board.puts) == 2


async def _tried(board: Dashboard) -> None:
    with pytest.raises(ApplicationFailed):
        await serve_of(board).bring_up(application())


@pytest.mark.parametrize(
    "found",
    [
        running("theirs", None),
        running("theirs", {**THEIRS, "runtime_env": {"env_vars": {"KEY": "<redacted>"}}}),
    ],
    ids=["not-told", "redacted"],
)
def test_an_unreadable_configuration_is_not_an_empty_one(
    board: Dashboard, found: dict[str, Any]
) -> None:
    """If others' configuration is unknown, nothing is written."""
    board.started(found)
    with pytest.raises(ServeError, match=r"does not tell|hides"):
        asyncio.run(serve_of(board).bring_up(application()))
    assert board.puts == []


def test_an_application_is_up_when_the_proxy_knows_it(board: Dashboard) -> None:
    """Serve says RUNNING a moment before its proxy has the route."""
    board.routed_after = 3

    async def story() -> None:
        serve = serve_of(board)
        coming = asyncio.ensure_future(serve.bring_up(application()))
        await asyncio.sleep(0)
        await serve.wait_until_up("hymn", 1)
        assert board.routed_after < 0
        await serve.wait_until_up("other", 1)
        await coming

    asyncio.run(story())


def test_describes_changes_by_others(board: Dashboard) -> None:
    """Removed, replaced or changed, and in what. Unchanged ones are not mentioned."""

    async def said(change: Any) -> str | None:
        serve, mine = serve_of(board), application()
        await serve.bring_up(mine)
        change(board.applications)
        return (await serve.drift({mine.name: mine.config()})).get(mine.name)

    def told(change: Any) -> str | None:
        return asyncio.run(said(change))

    name = "koco-hymn-1"
    assert told(lambda there: None) is None
    assert told(lambda there: there.pop(name)) == "somebody else has removed its Serve application"
    leaving = {"status": "DELETING", "deployed_app_config": None}
    assert "removed" in str(told(lambda there: there[name].update(leaving)))
    more = {"deployments": [{"name": "d", "num_replicas": 9}], "args": {}}
    changed = told(lambda there: there[name]["deployed_app_config"].update(more))
    assert changed == (
        "somebody else has changed its Serve application: options of its deployments, its arguments"
    )
    imperative = {"deployed_app_config": None, "source": "imperative"}
    replaced = told(lambda there: there[name].update(imperative))
    assert replaced == "somebody else has put another Serve application in its place"
    assert len(board.puts) == 4, "to look changes nothing"


def test_drift_that_cannot_be_read_is_an_error() -> None:
    """It does not count as no drift."""

    async def story() -> None:
        with pytest.raises(ServeError, match="does not answer"):
            await Serve(dashboard=lambda: "http://127.0.0.1:9").drift({"koco-hymn-1": {}})

    asyncio.run(story())


def test_a_status_says_that_serve_did_not_answer() -> None:
    """Without a service with an app, Serve is not asked."""
    serve = Serve(dashboard=lambda: "http://127.0.0.1:9")
    parts: Any = SimpleNamespace(endpoints=SimpleNamespace(serve=serve))
    served: Any = SimpleNamespace(service="hymn", app={"flows": []})
    found, drift, unseen = asyncio.run(status._endpoints(parts, [served]))
    assert (found, drift) == ({}, {}), "drift is what a deploy puts back"
    assert str(unseen).startswith(
        "its endpoint could not be checked: Ray's dashboard does not answer"
    )
    plain: Any = SimpleNamespace(service="hello", app=None)
    assert asyncio.run(status._endpoints(parts, [plain])) == ({}, {}, None)


FAILED = """The deployment failed to start 3 times in a row. Error:
\x1b[36mray::ServeReplica\x1b[39m (pid=1)
  File "/v/lib/python3.11/site-packages/ray/serve/_private/replica.py", line 1, in initialize
    raise RuntimeError(traceback.format_exc()) from None
RuntimeError: Traceback (most recent call last):
  File "/v/lib/python3.11/site-packages/ray/serve/_private/replica.py", line 2, in initialize
    await self.call(
  File "/v/lib/python3.11/site-packages/ray/serve/api.py", line 3, in __init__
    cls.__init__(self, *args, **kwargs)
  File "/tmp/ray/session/runtime_resources/py_modules_files/http_1a/hymn/app.py", line 4, in init
    load()
  File "/tmp/ray/session/runtime_resources/py_modules_files/http_1a/hymn/app.py", line 9, in load
    raise OSError("no model here")
OSError: no model here"""


@pytest.mark.parametrize(
    ("fate", "message", "detail"),
    [
        (
            {"status": "DEPLOY_FAILED", "deployments": {"d": {"message": FAILED}}},
            "OSError: no model here",
            'Traceback (most recent call last):\n  File "hymn/app.py", line 4, in init\n'
            '    load()\n  File "hymn/app.py", line 9, in load\n'
            '    raise OSError("no model here")\nOSError: no model here',
        ),
        (
            {"status": "DEPLOY_FAILED", "deployments": {}, "message": "first\n  last word\n"},
            "last word",
            None,
        ),
        ({"status": "UNHEALTHY", "deployments": {}, "message": ""}, "Serve gave no reason", None),
    ],
    ids=["constructor", "no-traceback", "nothing-said"],
)
def test_a_failure_shows_its_authors_own_lines(
    board: Dashboard, fate: dict[str, Any], message: str, detail: str | None
) -> None:
    """Without Serve's frames, colours, and the bundle's folder."""
    board.fate = fate
    with pytest.raises(ApplicationFailed) as caught:
        asyncio.run(serve_of(board).bring_up(application()))
    assert (caught.value.message, caught.value.detail) == (message, detail)


def test_without_a_dashboard_the_hint_says_what_is_needed() -> None:
    """No answer is an error, and nothing is assumed."""

    async def story() -> None:
        with pytest.raises(ServeError, match="does not answer") as caught:
            await Serve(dashboard=lambda: "http://127.0.0.1:9").bring_up(application())
        assert "dashboard" in str(caught.value.hint)

    asyncio.run(story())
