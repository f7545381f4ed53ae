"""Random durable flows that crash after each of their recorded outcomes, in memory."""

import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from koco import testing
from tests.support import durable_flows
from tests.support.durable_programs import Expected, Part, Writer, answer_to, expect


@pytest.fixture(autouse=True)
def _service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOCO_SERVICE", "svc")


def run(flow: str, program: list[Part], log: Path, **more: Any) -> testing.Outcome:
    expected = expect(program)
    messages = defaultdict(list)
    for name, value in expected.messages:
        messages[name].append({"value": value})
    log.touch()
    return testing.run(
        getattr(durable_flows, flow),
        {"text": json.dumps(program), "log": str(log)},
        answers={name: {"value": answer_to(name)} for name in expected.locks},
        messages=messages,
        children={"svc/program": _child},
        **more,
    )


def _child(inputs: dict[str, Any]) -> Any:
    expected = expect(json.loads(inputs["text"]))
    if expected.error:
        raise RuntimeError(expected.error)
    return expected.result


def check(outcome: testing.Outcome, expected: Expected) -> None:
    """Compare what came of a program with what had to."""
    if expected.error:
        assert outcome.error is not None
        assert outcome.error["message"] == expected.error
    else:
        assert outcome.error is None
        assert outcome.result == expected.result
    texts = defaultdict(list)
    for event in outcome.events:
        if event.kind in ("stdout", "result"):
            texts[event.payload.split()[0]].append(event.payload)
    assert texts == expected.texts
    names = Counter(each.name if each.kind == "step" else each.kind for each in outcome.steps)
    assert names == expected.names


@pytest.mark.parametrize("flow", ["program", "program_sync"])
@pytest.mark.parametrize("seed", range(6))
def test_a_crash_after_any_outcome_changes_nothing(flow: str, seed: int, tmp_path: Path) -> None:
    """Results, steps and output are those of a run without crashes."""
    writer = Writer(seed)
    program = writer.write() if flow == "program" else writer.write_sync()
    check(run(flow, program, tmp_path / "calm"), expect(program))
    check(run(flow, program, tmp_path / "crashed", crash_after="*"), expect(program))
