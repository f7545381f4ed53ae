"""docs/durable.md: its flows do what the page says."""

import http.server
import re
import threading
from collections.abc import Iterator

import pytest
import yaml

from koco import testing
from koco.manifest import load
from tests.support import pages
from tests.support.checkout import ROOT
from tests.support.http_server import QuietServer

PAGE = pages.module("durable")
TEXT = (ROOT / "docs/durable.md").read_text("utf-8")


class _Site(http.server.BaseHTTPRequestHandler):
    """Pages of two sentences, and a payment service that knows what it was asked before."""

    charges: dict[str, str] = {}  # noqa: RUF012 - one for each test, see `site`
    is_broken = False

    def do_GET(self) -> None:
        self._answer(f"About {self.path[1:]}. And more.")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        receipt = f"receipt {len(self.charges) + 1}"
        receipt = self.charges.setdefault(self.headers["Idempotency-Key"], receipt)
        if type(self).is_broken:
            type(self).is_broken = False
            self.connection.close()  # the money is taken, and nobody was told
            return
        self._answer(f'{{"receipt": "{receipt}"}}')

    def _answer(self, text: str) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing: the tests' output is theirs."""


@pytest.fixture
def site() -> Iterator[str]:
    _Site.charges = {}
    server = QuietServer(("127.0.0.1", 0), _Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_charge_is_made_once(site: str) -> None:
    """The step runs again after its effect, with the same key, and gets the same receipt."""
    _Site.is_broken = True
    outcome = testing.run(_pay, {"url": site})
    assert outcome.error is None
    assert outcome.result == "receipt 1"
    assert [(each.key, each.attempt) for each in outcome.steps] == [("charge:0", 2)]
    assert len(_Site.charges) == 1


async def _pay(tracer: testing.Tracer, url: str) -> str:
    receipt: str = await PAGE.charge(tracer, url, 4900)
    return receipt


def test_the_pages_own_tests_pass(site: str) -> None:
    """As a reader would write them."""
    urls = [f"{site}/tides", f"{site}/ebb", f"{site}/flow"]
    PAGE.test_it_resumes_anywhere(urls)
    PAGE.test_todays_code_replays_yesterdays_history(urls)


def test_what_differs_is_recorded() -> None:
    """The coin falls once."""
    outcomes = [testing.run(PAGE.decide, crash_after="*") for _ in range(5)]
    for outcome in outcomes:
        [step] = outcome.steps
        moment, heads = step.value
        assert outcome.result == f"{'heads' if heads else 'tails'} at {moment:%H:%M}"


def test_notes_are_collected_until_none_comes() -> None:
    """In order, and over crashes."""
    messages = {"note": [{"text": "a"}, {"text": "b"}]}
    assert testing.run(PAGE.journal, messages=messages).result == ["a", "b"]
    crashed = testing.run(PAGE.journal, messages=messages, crash_after="*")
    assert crashed.result == ["a", "b"]
    assert [str(each.status) for each in crashed.steps] == ["finished", "finished", "expired"]


def test_the_manifest_is_one() -> None:
    """It is durable, and may call what the flow calls."""
    [block] = re.findall(r"^```yaml\n(.*?)^```", TEXT, re.M | re.S)
    manifest = load.parse(block)
    assert manifest.flows[0].durable
    assert manifest.calls == ("publisher/publish",)
    assert yaml.safe_load(block)["calls"] == ["publisher/publish"]
