"""Events as HTML and YAML: in limited time, whatever a flow writes."""

import time
from typing import Any

import pytest

from koco.api.kodosumi.shapes import events, safe_html, yaml_text
from koco.api.kodosumi.shapes.events import Translator
from koco.errors import LimitError

SLOW = {"type": "markdown", "body": "[[[[](" * 2600}


def translator(*, as_html: bool = True) -> Translator:
    about: Any = None
    return Translator(about, as_html=as_html)


def event(kind: str, payload: Any) -> dict[str, Any]:
    return {"seq": 1, "ts": "2026-01-01T00:00:00.000000Z", "kind": kind, "payload": payload}


@pytest.mark.parametrize("kind", ["result", "action", "final", "inputs"])
def test_what_is_rendered_is_known_by_its_kind(kind: str) -> None:
    """Not by its size: even a short text may take a second."""
    assert translator().converts(kind)
    assert not translator(as_html=False).converts(kind)
    assert not translator().converts("stdout")


def test_a_stream_shows_texts_as_they_are_once_it_has_had_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each event has little time, and all of a stream together have as well."""
    safe_html.from_markdown("", most_s=10)  # the first conversion imports the converter
    monkeypatch.setattr(events, "_STREAM_S", 0.05)
    stream = translator()
    assert stream.translate(event("result", {"type": "markdown", "body": "**b**"})) == (
        "<p><strong>b</strong></p>\n"
    )
    began = time.thread_time()
    for _ in range(20):
        assert str(stream.translate(event("result", SLOW))).startswith("<pre>")
    assert time.thread_time() - began < 1
    shown = stream.translate(event("result", {"type": "html", "body": "<b>x</b>"}))
    assert shown == '<pre>{"HTML":{"body":"&lt;b&gt;x&lt;/b&gt;"}}</pre>'.replace('"', "&quot;")
    assert stream.translate(event("inputs", {"a": 1})) == '{"dict":{"a":1}}'


def test_values_of_many_parts_do_not_take_long_as_yaml() -> None:
    """They are shown as JSON, which is YAML."""
    with pytest.raises(LimitError):
        yaml_text.to_yaml(list(range(30_000)), most_s=0.05)
    assert yaml_text.to_yaml({"a": ["ä"]}, most_s=9) == "a:\n- ä\n"


def test_a_sleeping_execution_runs_there() -> None:
    """Kodosumi has no such status, so nothing changes for its clients; steps are not shown."""
    stream = translator()
    statuses = ("running", "sleeping", "finished")
    shown = [stream.translate(event("status", {"status": status})) for status in statuses]
    assert shown == ["running", None, "finished"]
    assert "step" not in events.MAIN | events.STDIO
