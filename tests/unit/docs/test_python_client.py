"""docs/python-client.md: its examples run, and it has every method."""

import re
import threading
from collections.abc import Iterator

import pytest

from koco.python_client.client import Client
from koco.python_client.execution import Execution, Files
from tests.support import memory_plane
from tests.support.checkout import ROOT
from tests.support.memory_plane import KEY, Plane
from tests.unit.python_client.test_python_client import DONE, GREET

PAGE = (ROOT / "docs/python-client.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def plane(monkeypatch: pytest.MonkeyPatch) -> Iterator[Plane]:
    with memory_plane.serving() as plane:
        plane.flows["greet"] = GREET
        plane.script = [("stdout", "one"), *DONE]
        monkeypatch.setenv("KOCO_URL", plane.url)
        monkeypatch.setenv("KOCO_KEY", KEY)
        yield plane


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_every_example_runs(plane: Plane, number: int, capsys: pytest.CaptureFixture[str]) -> None:
    """In a program that has a client already, as on the page."""
    names = {"Client": Client, "client": Client()}
    # In a thread, because one of them runs an event loop.
    failed: list[BaseException] = []

    def run() -> None:
        try:
            exec(compile(BLOCKS[number], f"example {number}", "exec"), names)
        except BaseException as exc:  # noqa: BLE001 - raised by the test
            failed.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    assert not failed, failed
    assert plane.executions
    if "print" in BLOCKS[number]:
        assert capsys.readouterr().out


def test_every_method_is_on_the_page() -> None:
    """Of clients, executions and files."""
    names = [
        name
        for one in (Client, Execution, Files)
        for name in vars(one)
        if not name.startswith("_") and name not in ("close", "url", "outcome")
    ]
    assert len(names) > 20
    assert [name for name in names if not re.search(rf"[.`]{name}\b", PAGE)] == []
