"""A launch whose file fields have URLs."""

import asyncio
import contextlib
import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from typing import Any

import httpx
import pytest

from koco.control.access.asker import Asker
from koco.control.access.caller import Caller
from koco.control.executions import url_inputs
from koco.control.executions.launcher import Launches
from koco.control.executions.url_inputs import UrlInputs
from koco.control.services.catalog import Catalog
from koco.control.storage.downloads import Downloads
from koco.errors import InputsError, TooManyError, UnauthorizedError
from koco.store.model import Execution
from tests.support.api_server import Api, serving
from tests.support.http_server import QuietServer
from tests.support.releases import flow, manifest

FORM = [
    {"type": "file", "name": "report", "required": True},
    {"type": "file", "name": "more", "multiple": True},
    {"type": "text", "name": "link"},
]


#: The largest file of the service (MB): a little more than the names of files here.
SIZE_MB = 60 / 1024 / 1024


class _Site(BaseHTTPRequestHandler):
    heard: list[str]
    #: While it is not set, paths with `hang` send nothing more than a byte.
    goes_on: threading.Event

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.heard.append(self.path)
        self.send_response(404 if "missing" in self.path else 200)
        self.end_headers()
        if "hang" in self.path:
            self.wfile.write(b"x")
            self.wfile.flush()
            self.goes_on.wait(100)
        with contextlib.suppress(OSError):
            self.wfile.write(self.path.encode())


@pytest.fixture
def site() -> Iterator[str]:
    handler = type("Handler", (_Site,), {"heard": [], "goes_on": threading.Event()})
    server = QuietServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    handler.goes_on.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A live flow with a form of files, on a control plane that fetches any URL."""
    with serving(tmp_path_factory.mktemp("data")) as api:
        parts, store = api.parts, api.parts.store
        limits = {"min": 0, "max": 1, "idle_timeout": 9, "concurrency": 1, "executions": None}
        declared = manifest(service="svc", flows=[], runner=limits, files={"max_size_mb": SIZE_MB})
        release = api.call(
            store.releases.create("svc", bundle="", fingerprint="", manifest=declared, by="ada")
        )
        flows = [flow(form=FORM), flow("kodosumi", form=FORM, dialect="kodosumi")]
        parts.catalog = Catalog()
        parts.catalog.put(api.call(store.releases.go_live("svc", release.number, flows)))

        async def never(*_: Any) -> Any:
            raise OSError("no runner comes")

        parts.supervisor._start_runner = never
        parts.settings.url_inputs = True
        urls = UrlInputs(
            Downloads(parts.files.blobs, module="tests.support.open_fetch"), parts.settings
        )
        parts.launches = Launches(
            store, parts.supervisor, parts.catalog, endpoints=None, files=parts.files, urls=urls
        )
        yield api


def launch(api: Api, **inputs: Any) -> Execution:
    entry = api.parts.catalog.find("svc/flow")
    found: Execution = api.call(api.parts.launches.launch(entry, inputs, user="ada"))[0]
    return found


def refusal(api: Api, **inputs: Any) -> dict[str, list[str]]:
    with pytest.raises(InputsError) as caught:
        launch(api, **inputs)
    return dict(caught.value.errors)


def test_urls_become_files_of_the_execution(api: Api, site: str) -> None:
    """Of the same content as if they had been uploaded. Text fields keep their URLs."""
    more = [f"{site}/b/report.txt?x=1", f"{site}/a/report.txt"]
    execution = launch(api, report=f"{site}/a/report.txt", more=more, link=f"{site}/c")
    assert execution.inputs == {
        "report": "in/report.txt",
        "more": ["in/report-2.txt", "in/report.txt"],
        "link": f"{site}/c",
    }
    files = api.call(api.parts.store.files.all_of(execution.id))
    assert {each.path: each.sha256 for each in files} == {
        "in/report.txt": hashlib.sha256(b"/a/report.txt").hexdigest(),
        "in/report-2.txt": hashlib.sha256(b"/b/report.txt?x=1").hexdigest(),
    }


def test_a_url_can_stand_beside_an_upload(api: Api, site: str) -> None:
    sha256 = api.upload(b"data")
    mark = {"$file": {"name": "a.txt", "sha256": sha256}}
    execution = launch(api, report=mark, more=[mark, f"{site}/b.txt"])
    assert execution.inputs["more"] == ["in/a.txt", "in/b.txt"]


def test_errors_name_the_field_and_not_the_query(api: Api, site: str) -> None:
    """A query may hold a signature."""
    errors = refusal(
        api, report=f"{site}/missing?token=hunter2", more=[f"{site}/ok", "http://user@{site}/"]
    )
    assert errors.keys() == {"report", "more"}
    assert "status 404" in str(errors["report"]) and "hunter2" not in str(errors)
    assert "a name or a password" in str(errors["more"])


def test_nothing_is_fetched_unless_the_setting_allows_it(api: Api, site: str) -> None:
    """By default. The message says what to do."""
    api.parts.settings.url_inputs = False
    errors = refusal(api, report=f"{site}/a")
    assert "url_inputs=true" in str(errors["report"])


def test_a_launch_has_few_urls(api: Api, site: str) -> None:
    errors = refusal(api, report=f"{site}/a", more=[f"{site}/{number}" for number in range(20)])
    assert "at most 20" in str(errors["report"])


def test_the_release_limits_each_file(api: Api, site: str) -> None:
    """While it arrives."""
    errors = refusal(api, report=f"{site}/{'x' * 100}")
    assert "it has more than" in str(errors["report"])


def test_fetched_files_count_as_uploads_of_the_user(api: Api, site: str) -> None:
    """A retry of the launch therefore works, and nobody else may name them."""
    launch(api, report=f"{site}/a")
    sha256 = hashlib.sha256(b"/a").hexdigest()
    assert api.call(api.parts.store.uploads.renew("ada", sha256)) == 2
    assert api.call(api.parts.store.uploads.renew("bob", sha256)) is None


def test_flows_written_for_kodosumi_get_the_url_itself(api: Api, site: str) -> None:
    """As there; nothing is fetched."""
    entry = api.parts.catalog.find("svc/kodosumi")
    inputs = {"report": f"{site}/a"}
    execution = api.call(api.parts.launches.launch(entry, inputs, user="ada"))[0]
    assert execution.inputs["report"] == f"{site}/a"


@pytest.mark.parametrize(
    "secret", ["http://ada:hunter2@{}/x", "{}/missing#t=hunter2", "{}/missing#?t=hunter2"]
)
def test_errors_name_no_user_and_no_fragment(api: Api, site: str, secret: str) -> None:
    errors = refusal(api, report=secret.format(site))
    assert "cannot be fetched" in str(errors) and "hunter2" not in str(errors)


def test_one_failure_ends_the_other_downloads(
    api: Api, site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shortly afterwards. Here the other one would never end."""
    monkeypatch.setattr(url_inputs, "_LEFT_S", 0.1)
    errors = refusal(api, report=f"{site}/missing", more=[f"{site}/hang"])
    assert errors.keys() == {"report"}
    assert api.parts.files.blobs.unfinished.sizes == {}


def test_an_upload_limit_ends_the_other_downloads(api: Api, site: str) -> None:
    api.parts.settings.max_unfinished_mb = 1 / 1024 / 1024
    with pytest.raises(TooManyError, match="max_unfinished_mb"):
        launch(api, report=f"{site}/a", more=[f"{site}/hang"])
    assert api.parts.files.blobs.unfinished.sizes == {}


def test_a_launch_has_one_time_limit(api: Api, site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which includes the wait for a turn."""
    monkeypatch.setattr(url_inputs, "_MOST_S", 3.0)
    errors = refusal(api, report=f"{site}/hang", more=[f"{site}/hang{n}" for n in range(5)])
    assert "more than 3 s in all" in str(errors["report"]) and len(errors["more"]) == 5


Post = Callable[..., "Future[httpx.Response]"]


@pytest.fixture
def post(api: Api) -> Iterator[Post]:
    """Launch over HTTP, in a thread; return once the control plane waits for the file."""
    with ThreadPoolExecutor() as pool:

        def launch_it(key: str, url: str, once: str = "once") -> "Future[httpx.Response]":
            count = len(api.parts.streams)
            future = pool.submit(
                httpx.post,
                f"{api.url}/v1/flows/svc/flow",
                json={"report": url},
                headers={"Authorization": f"Bearer {key}", "Idempotency-Key": once},
                trust_env=False,
                timeout=100,
            )
            until(lambda: future.done() or len(api.parts.streams) > count)
            return future

        yield launch_it


def until(is_so: Callable[[], bool]) -> None:
    """Wait, but not until the silence of a host ends its download (20 s)."""
    over = time.monotonic() + 12
    while not is_so():
        assert time.monotonic() < over
        time.sleep(0.02)


def test_a_revoked_key_launches_nothing(api: Api, site: str, post: Post) -> None:
    """Its download ends at once, and nothing of it is kept."""
    api.admit("eve", "launch")
    answer = post("eve", f"{site}/hang")
    api.call(api.parts.keys.revoke("eve"))
    assert answer.result(60).status_code == 401
    until(lambda: api.parts.files.blobs.unfinished.sizes == {})
    assert api.call(api.parts.store.executions.find_by_key("eve", "once")) is None


def test_an_asker_who_has_lost_access_launches_nothing(api: Api) -> None:
    """Also if nothing is fetched: the caller is checked again before the execution is committed."""
    caller = Caller(name="eve", credential="key:eve", expires=time.time() - 1)

    async def never() -> None:
        await asyncio.Event().wait()

    asker = Asker(caller, api.parts.streams, never)
    entry = api.parts.catalog.find("svc/flow")
    mark = {"$file": {"name": "a.txt", "sha256": api.upload(b"data")}}
    work = api.parts.launches.launch(entry, {"report": mark}, user="ada", asker=asker)
    with pytest.raises(UnauthorizedError):
        api.call(work)


def test_waiting_launches_of_a_key_are_limited(api: Api, site: str, post: Post) -> None:
    """They count as its streams. Another key goes on meanwhile."""
    api.parts.settings.max_streams_per_key = 2
    answers = [post("ada", f"{site}/hang", str(n)) for n in range(2)]
    with api.http("ada") as ada, api.http("bob") as bob:
        path, inputs = "/v1/flows/svc/flow", {"report": f"{site}/b"}
        assert ada.post(path, json=inputs).status_code == 429
        assert bob.post(path, json=inputs).status_code == 201
    assert not any(each.done() for each in answers)
    api.call(api.parts.keys.revoke("ada"))


def test_downloads_end_with_their_client(api: Api, site: str) -> None:
    with api.http() as client, pytest.raises(httpx.ReadTimeout):
        client.post("/v1/flows/svc/flow", json={"report": f"{site}/hang"}, timeout=2)
    until(lambda: len(api.parts.streams) == 0)
    until(lambda: api.parts.files.blobs.unfinished.sizes == {})
