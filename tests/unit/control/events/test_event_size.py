"""What services bring is as large as settings allow, and says so where it is cut."""

import asyncio
from types import SimpleNamespace
from typing import Any

from koco.control.deploy import checks
from koco.control.events import event_size
from koco.control.settings import Settings
from koco.events import line
from koco.events.model import Kind
from koco.events.wire import Batch
from tests.support.releases import manifest


def payloads(batch: Batch) -> list[Any]:
    return [line.decode(seq, text)["payload"] for seq, text in line.number_lines(1, batch.body)]


def batch(*lines: bytes) -> Batch:
    return Batch("fid", "p", 1, len(lines), b"\n".join(lines))


def test_large_events_are_cut_and_marked() -> None:
    """Events that fit are unchanged. Of an error, its type and message stay."""
    large = {"type": "E", "message": "m" * 9000, "traceback": "t" * 9000 + "end"}
    sent = batch(
        line.encode(Kind.STDOUT, "short"),
        line.encode(Kind.RESULT, ["x" * 9000]),
        line.encode(Kind.ERROR, large),
    )
    assert event_size.fitting(sent, Settings()) is sent
    short, cut, error = payloads(event_size.fitting(sent, Settings(max_event_kb=4)))
    assert short == "short"
    assert (cut["$cut"], cut["$type"]) == (9004, "builtins.list")
    assert cut["$start"].startswith('["xxx') and len(cut["$start"]) == 2048
    assert error["type"] == "E" and error["message"] == "m" * 512
    assert error["traceback"].endswith("tend")


def test_refuses_a_form_that_is_too_large() -> None:
    """The error has the setting's name and the place in the manifest."""
    inputs = [{"type": "text", "name": f"field_{i}"} for i in range(100)]
    declared = manifest(flows=[{"name": "a"}, {"name": "b", "inputs": inputs}])
    parts: Any = SimpleNamespace(settings=Settings())
    assert asyncio.run(checks.check_forms(parts, declared)) == []
    parts.settings.max_form_kb = 2
    [found] = asyncio.run(checks.check_forms(parts, declared))
    assert found.path == ("flows", 1, "inputs") and "max_form_kb is 2" in found.message
