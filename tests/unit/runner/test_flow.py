"""One call of an entrypoint, as a runner makes it."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from koco import testing
from koco.events.model import Status
from koco.runner.event_loop import FlowLoop
from koco.runner.flow import Orders, Outcome, Run, load_flow
from koco.runner.output.lines import Output

called: list[str] = []


def plain() -> None:
    called.append("plain")


async def awaited() -> None:
    called.append("awaited")


async def ended(entrypoint: Callable[..., Any], *, cancelled: bool) -> Outcome:
    run = Run(
        load_flow("test", entrypoint, None),
        {},
        tracer=testing.Tracer(),
        output=Output(lambda kind, text: None),
        loop=asyncio.get_running_loop(),
    )
    if cancelled:
        run.cancel()
    return await run.outcome()


@pytest.mark.parametrize("entrypoint", [plain, awaited])
def test_a_run_cancelled_early_never_begins(entrypoint: Callable[..., Any]) -> None:
    """A cancellation counts while `running` is being committed, for `def` flows as well."""
    called.clear()
    assert asyncio.run(ended(entrypoint, cancelled=True)) == Outcome(Status.CANCELLED)
    assert called == []
    assert asyncio.run(ended(entrypoint, cancelled=False)).status is Status.FINISHED
    assert called == [entrypoint.__name__]


left: list[str] = []


async def leaves_tasks() -> str:
    async def beat(name: str) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            left.append(name)

    tasks = [asyncio.create_task(beat(name)) for name in ("one", "two")]
    await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)
    return "returned"


async def waits_beside() -> str:
    await asyncio.sleep(0.5)
    return "went on"


def test_leftover_tasks_end_with_their_execution() -> None:
    """They are cancelled once the flow has returned; those of its neighbours go on."""
    left.clear()
    loop = FlowLoop()
    loop.start()

    async def both() -> list[Outcome]:
        outputs = [Output(lambda kind, text: None) for _ in range(2)]
        runs = [
            Run(
                load_flow("test", each, None), {}, tracer=testing.Tracer(), output=output, loop=loop
            )
            for each, output in zip((waits_beside, leaves_tasks), outputs, strict=True)
        ]
        return await asyncio.gather(*(run.outcome() for run in runs))

    beside, leaving = asyncio.run(both())
    assert (beside.payload, leaving.payload) == ("went on", "returned")
    assert sorted(left) == ["one", "two"]


def test_a_failed_import_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its execution fails with the import's error, which a warm runner does not keep."""
    monkeypatch.syspath_prepend(str(tmp_path))
    there = tmp_path / "there"
    code = f"import pathlib; pathlib.Path({str(there)!r}).read_text()\ndef run(): return 1\n"
    (tmp_path / "late_flow.py").write_text(code)
    orders = Orders()
    with pytest.raises(FileNotFoundError):
        orders.flow("late", "late_flow:run").entrypoint(inputs={})
    there.touch()
    flow = orders.flow("late", "late_flow:run")
    assert flow.entrypoint() == 1
    assert orders.flow("late", "late_flow:run") is flow
