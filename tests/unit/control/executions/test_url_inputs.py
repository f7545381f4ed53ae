"""A launch whose file fields have URLs."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from koco.control.executions.launcher import Launches
from koco.control.executions.url_inputs import UrlInputs
from koco.control.services.catalog import Catalog
from koco.control.storage.downloads import Downloads
from koco.errors import InputsError
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

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.heard.append(self.path)
        self.send_response(404 if "missing" in self.path else 200)
        self.end_headers()
        self.wfile.write(self.path.encode())


@pytest.fixture
def site() -> Iterator[str]:
    handler = type("Handler", (_Site,), {"heard": []})
    server = QuietServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
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
        urls = UrlInputs(Downloads(parts.files.blobs, permits=lambda *_: True), parts.settings)
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
