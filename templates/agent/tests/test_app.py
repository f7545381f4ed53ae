"""The agent in this process, without Ray: with the stand-in, and with an endpoint over HTTP."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from koco import testing
from __PACKAGE__ import stand_in
from __PACKAGE__.app import support


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


@pytest.fixture
def endpoint(monkeypatch):
    """A server that speaks as a model's endpoint does. Yields the requests that it got."""
    requests = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            requests.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            message = stand_in.reply(requests[-1]["messages"])
            body = json.dumps({"choices": [{"message": message}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{server.server_port}/v1")
        yield requests
        server.shutdown()
        thread.join()


def ask(question, **answer):
    return testing.run(support, {"question": question}, answers={"approve": answer})


def test_it_looks_up_an_order():
    outcome = ask("What is order 1043?")
    assert outcome.result["body"] == "Order 1043 is a Chair for 120."
    assert [step["tool"] for step in outcome.of_kind("action")] == ["find_order"]


def test_it_refunds_what_a_person_approves():
    outcome = ask("Please refund order 1042", ok=True)
    assert outcome.result["body"] == "I have paid back **50** for order 1042."


def test_it_refunds_nothing_that_a_person_refuses():
    outcome = ask("Please refund order 1042", ok=False, why="it was returned broken")
    assert outcome.result["body"] == "I cannot refund order 1042: it was returned broken."
    assert outcome.of_kind("action")[-1]["result"] == {"refused": "it was returned broken"}


def test_the_model_is_told_what_went_wrong():
    outcome = ask("What is order 7?")
    assert outcome.of_kind("action")[0]["result"] == {"error": "KeyError: '7'"}
    assert outcome.result["body"] == "I cannot find order 7."


def test_it_speaks_with_an_endpoint(endpoint):
    outcome = ask("Please refund order 1042", ok=True)
    assert outcome.status == "finished"
    assert [len(each["messages"]) for each in endpoint] == [2, 4, 6]
    names = [each["function"]["name"] for each in endpoint[0]["tools"]]
    assert names == ["find_order", "refund"]
