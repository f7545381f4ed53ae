"""The examples: deployed together by one `koco deploy`, each run as its docstring says.

Every folder in examples/ has a test here that is named after it.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.driver import Koco, koco_of_its_own

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def examples() -> Iterator[Koco]:
    """A koco that has all examples, deployed from the repository as it is."""
    with koco_of_its_own() as koco:
        koco.up()
        koco.run("deploy", cwd=ROOT).ok()
        yield koco


def run(koco: Koco, flow: str, *args: str) -> list[dict]:
    """Run a flow with `koco run -f --json`; return its events, which end with `finished`."""
    events = koco.run("run", flow, *args, "-f", "--json").ok().lines()
    assert events[-1]["payload"] == {"status": "finished"}
    return events


def of_kind(events: list[dict], kind: str) -> list:
    """Return the payloads of a kind."""
    return [event["payload"] for event in events if event["kind"] == kind]


def test_hello_greets(examples: Koco) -> None:
    """The form comes from the signature, what is printed is in the stream."""
    events = run(examples, "hello/greet", "-i", "who=Ada", "-i", "times=2")
    assert of_kind(events, "stdout") == ["Hello, Ada!", "Hello, Ada!"]
    assert of_kind(events, "final") == [{"type": "markdown", "body": "# Hello, Ada!"}]
