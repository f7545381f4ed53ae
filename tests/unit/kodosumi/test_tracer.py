"""Kodosumi's tracer: how texts are joined, values become events, and locks and files work."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel

from koco.kodosumi import response
from koco.kodosumi.core import TracerMock


class Verse(BaseModel):
    text: str
    feet: int = 5


@dataclass
class Pair:
    left: int
    right: Any


class Plain:
    def __init__(self) -> None:
        self.colour = "red"


class Slotted:
    __slots__ = ("x",)

    def __init__(self) -> None:
        self.x = 3


def events(tracer: TracerMock) -> list[tuple[str, Any]]:
    return [(event.kind, event.payload) for event in tracer.events]


def body(kind: str, text: str) -> dict[str, str]:
    return {"type": kind, "body": text}


def test_joins_texts_as_kodosumi_does() -> None:
    """Lines, and paragraphs in Markdown: joined by a space, a heading would swallow its text."""
    tracer = TracerMock()
    tracer.debug_sync("a", "b")
    tracer.markdown_sync("# A", "text")
    tracer.html_sync("<p>", "</p>")
    tracer.text_sync("a", "b")
    tracer.warning_sync("a", "b")
    assert events(tracer) == [
        ("debug", "a\nb"),
        ("result", body("markdown", "# A\n\ntext")),
        ("result", body("html", "<p>\n</p>")),
        ("result", body("text", "a\nb")),
        ("stderr", "a\nb"),
    ]


def test_each_value_is_an_event_of_its_own() -> None:
    """`result(a, b)` and `action(a, b)` write two events, awaited or not."""

    async def run() -> list[tuple[str, Any]]:
        tracer = TracerMock()
        await tracer.result("a", 2)
        tracer.action_sync({"x": 1}, None)
        await tracer.debug()
        return events(tracer)

    assert asyncio.run(run()) == [
        *(("result", "a"), ("result", 2)),
        *(("action", {"x": 1}), ("action", None)),
        ("debug", ""),
    ]


@pytest.mark.parametrize(
    ("value", "payload"),
    [
        (Verse(text="x"), {"$type": "Verse", "text": "x", "feet": 5}),
        (Pair(1, Pair(2, 3)), {"$type": "Pair", "left": 1, "right": {"left": 2, "right": 3}}),
        (Plain(), {"$type": "Plain", "colour": "red"}),
        (Slotted(), {"$type": "Slotted", "x": 3}),
        ([Verse(text="x"), "y"], [{"$type": "Verse", "text": "x", "feet": 5}, "y"]),
        (response.Markdown("# A", "b"), body("markdown", "# A\nb")),
        ({3}, [3]),
    ],
)
def test_a_value_keeps_the_name_of_its_class(value: Any, payload: Any) -> None:
    """Kodosumi's clients get it as the key of a wrapper, so it must not be lost."""
    tracer = TracerMock()
    tracer.result_sync(value)
    assert tracer.events[0].payload == payload


def test_a_value_without_fields_becomes_its_repr() -> None:
    """As everywhere in koco."""
    tracer = TracerMock()
    tracer.result_sync(test_joins_texts_as_kodosumi_does)
    assert tracer.events[0].payload["$type"] == "builtins.function"


def test_a_warning_has_the_traceback_if_asked() -> None:
    """On lines of its own, after the message."""
    tracer = TracerMock()
    try:
        raise KeyError("lost")
    except KeyError:
        tracer.warning_sync("oh", exc_info=True)
    said = tracer.events[0].payload
    assert said.startswith("oh\nTraceback") and "KeyError: 'lost'" in said


def test_a_lock_returns_the_answer() -> None:
    """And a timeout of 0 means the default, as in Kodosumi."""
    tracer = TracerMock(answers={"review": {"ok": True}})
    assert asyncio.run(tracer.lock("review", {"page": 1}, timeout=0)) == {"ok": True}
    opened = tracer.events[0].payload
    assert (opened["name"], opened["data"]) == ("review", {"page": 1})


def test_the_mock_prints_its_events(capsys: pytest.CaptureFixture[str]) -> None:
    """So that a service can be tried at a terminal."""
    tracer = TracerMock()
    tracer.markdown_sync("# A")
    tracer.result_sync({"a": 1})
    tracer.warning_sync("oh")
    printed = capsys.readouterr()
    assert printed.out == 'result: # A\nresult: {"a":1}\n'
    assert printed.err == "stderr: oh\n"
    tracer.progress_sync(1, 2)
    asyncio.run(tracer.progress(2, 2))
    told = 'progress: {"done":1,"total":2}\nprogress: {"done":2,"total":2}\n'
    assert capsys.readouterr().out == told


def test_init_and_shutdown_do_nothing() -> None:
    """koco captures output itself."""
    tracer = TracerMock()
    tracer.init()
    tracer.shutdown()
    assert tracer.events == []
