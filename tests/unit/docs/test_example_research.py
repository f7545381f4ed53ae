"""examples/research and examples/publisher, in this process: they resume anywhere."""

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from koco import testing
from koco.manifest.load import load
from tests.support.checkout import ROOT
from tests.support.completions import KEY, endpoint

EXAMPLES = ROOT / "examples"
MANIFEST = load(EXAMPLES / "research" / "koco.yaml")
FORM: Any = MANIFEST.flows[0].inputs


@pytest.fixture(autouse=True)
def modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("research", "publisher"):
        monkeypatch.syspath_prepend(str(EXAMPLES / name))
    yield
    for name in ("research", "publisher"):
        sys.modules.pop(name, None)


def publish(inputs: dict[str, Any]) -> Any:
    """Run the flow that the report calls."""
    [path] = EXAMPLES.glob("publisher/koco.yaml")
    form: Any = load(path).flows[0].inputs
    return testing.run("publisher:publish", inputs, form=form).result


def report(url: str, *, ok: bool = True, **more: Any) -> testing.Outcome:
    return testing.run(
        "research:report",
        {"topic": "Tides", "base_url": url, "key": KEY},
        form=FORM,
        answers={"review": {"ok": ok, "why": None if ok else "dull"}},
        children={"publisher/publish": publish},
        **more,
    )


def test_it_gives_the_same_report_wherever_it_crashes() -> None:
    """The key is in nothing that is recorded."""
    prompts: list[str] = []
    with endpoint(prompts=prompts) as url:
        calm = report(url)
        asked = Counter(prompts)
        crashed = report(url, crash_after="*")
    assert calm.error is None
    assert crashed.result == calm.result
    assert crashed.of_kind("action") == calm.of_kind("action")
    assert calm.result["body"].count("## What is Tides") == 12
    assert crashed.resumed == len(crashed.steps) == 17
    assert set(prompts) == set(asked)
    assert KEY not in str([calm.steps, calm.events, [each.arguments for each in calm.steps]])


def test_a_rejected_report_is_not_published() -> None:
    """Nothing is called."""
    with endpoint() as url:
        outcome = report(url, ok=False)
    assert outcome.result["body"] == "*Tides* was rejected: dull"
    assert "call.publisher.publish:0" not in [each.key for each in outcome.steps]


def test_the_manifests_fit_each_other() -> None:
    """The flow is durable and may call the publisher's."""
    assert MANIFEST.flows[0].durable
    publisher = load(Path(EXAMPLES / "publisher" / "koco.yaml"))
    assert MANIFEST.calls == (f"{publisher.service}/{publisher.flows[0].name}",)
