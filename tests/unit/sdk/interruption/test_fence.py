"""When the thread of a flow may be interrupted, and when the interruption waits."""

import asyncio
import contextlib
import importlib
import io
import logging
import random
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from koco.sdk.interruption import fence
from koco.sdk.interruption.fence import Fence
from koco.sdk.interruption.library_locks import protect_shared_locks
from tests.support.driver import eventually


class Threaded:
    """Runs a function in a thread with a fence; `raised` is the exception that ended it, if any."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self.fence = Fence()
        self.raised: BaseException | None = None

        def main() -> None:
            try:
                self.fence.call(function)
            except BaseException as exc:  # noqa: BLE001 - looked at by the test
                self.raised = exc

        self.thread = threading.Thread(target=self.fence.run, args=(main,))
        self.thread.start()


def test_an_early_interruption_prevents_the_start() -> None:
    """Koco's own code comes first, and is not interrupted."""
    waits = Fence()
    waits.interrupt()
    called: list[int] = []

    def main() -> None:
        with pytest.raises(asyncio.CancelledError):
            waits.call(called.append, 1)

    thread = threading.Thread(target=waits.run, args=(main,))
    thread.start()
    thread.join()
    assert called == []


def test_an_interruption_waits_inside_the_fence() -> None:
    """However often it is requested, it is raised once, when the thread leaves the fence."""
    entered, told = threading.Event(), threading.Event()
    seen: list[str] = []

    def flow() -> None:
        try:
            with fence.here():  # type: ignore[union-attr]
                entered.set()
                told.wait(10)
                for _ in range(10_000):
                    pass
                seen.append("whole")
        except asyncio.CancelledError:
            seen.append("then cancelled")
        time.sleep(0.01)
        seen.append("and goes on")

    ran = Threaded(flow)
    entered.wait(10)
    for _ in range(3):
        ran.fence.interrupt()
    told.set()
    ran.thread.join()
    assert seen == ["whole", "then cancelled", "and goes on"]
    assert ran.raised is None


def test_interruptions_never_leave_half_a_change() -> None:
    """Hundreds of interruptions of a thread that enters and leaves all the time, and at its end."""
    for _ in range(30):
        begun, done = [0], [0]

        def change(begun: list[int] = begun, done: list[int] = done) -> None:
            mine = fence.here()
            assert mine is not None
            with mine:
                begun[0] += 1
                for _ in range(random.randrange(20)):
                    pass
                done[0] += 1

        def flow(change: Callable[[], None] = change) -> None:
            for left in range(20, -1, -1):
                try:
                    while True:
                        change()
                except asyncio.CancelledError:
                    if not left:
                        raise

        ran = Threaded(flow)
        while ran.thread.is_alive():
            ran.fence.interrupt()
            time.sleep(random.random() * 0.0003)
        assert begun == done
        assert isinstance(ran.raised, asyncio.CancelledError)


def test_an_ended_thread_is_not_interrupted() -> None:
    """Another thread may have got its number."""
    ended = Threaded(lambda: None)
    ended.thread.join()
    for _ in range(20):
        later = Threaded(lambda: time.sleep(0.01))
        ended.fence.interrupt()
        later.thread.join()
        assert later.raised is None
    assert fence.here() is None


def _log() -> None:
    logging.getLogger("koco.tests.fence").warning("hi")


def _import() -> None:
    with contextlib.suppress(ImportError):
        importlib.import_module("antigravity_of_none")


@pytest.mark.parametrize("work", [_log, _import])
def test_interruptions_never_leave_a_shared_lock_held(work: Callable[[], None]) -> None:
    """After hundreds of interruptions of logging and imports, others can log and import."""
    protect_shared_locks()
    logger = logging.getLogger("koco.tests.fence")
    handler = logging.StreamHandler(io.StringIO())
    logger.addHandler(handler)
    logger.propagate = False

    def flow() -> None:
        for left in range(20, -1, -1):
            try:
                while True:
                    work()
            except asyncio.CancelledError:
                if not left:
                    raise

    try:
        for _ in range(15):
            ran = Threaded(flow)
            while ran.thread.is_alive():
                ran.fence.interrupt()
                time.sleep(random.random() * 0.0003)
            assert isinstance(ran.raised, asyncio.CancelledError)
            other = threading.Thread(target=work, daemon=True)
            other.start()
            other.join(20)
            assert not other.is_alive(), "it waits for a lock that nobody will release"
    finally:
        logger.removeHandler(handler)


def test_a_failed_imports_traceback_has_no_frame_of_koco(tmp_path: Path, monkeypatch: Any) -> None:
    """Its author sees only the flow's own lines."""
    protect_shared_locks()
    (tmp_path / "broken_by_fence.py").write_text("import nowhere_to_be_found")
    monkeypatch.syspath_prepend(str(tmp_path))
    ran = Threaded(lambda: importlib.import_module("broken_by_fence"))
    ran.thread.join()
    assert ran.raised is not None
    shown = "".join(traceback.format_exception(ran.raised))
    assert "shelter" not in shown
    assert "broken_by_fence.py" in shown


@pytest.fixture
def _interrupted_start(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have each thread that starts another one be interrupted before the new one runs."""
    protect_shared_locks()
    begin = threading._start_new_thread  # type: ignore[attr-defined]

    def begin_and_interrupt(*args: Any) -> Any:
        mine = fence.current()
        number = begin(*args)
        if mine is not None:
            mine.interrupt()
        return number

    # So this thread keeps the interpreter until it waits for the new one.
    interval = sys.getswitchinterval()
    sys.setswitchinterval(5)
    monkeypatch.setattr(threading, "_start_new_thread", begin_and_interrupt)
    yield
    sys.setswitchinterval(interval)


def _call_in_thread(mine: Fence, function: Callable[[], Any]) -> None:
    mine.run(lambda: mine.call(function))


def _call_in_loop(mine: Fence, function: Callable[[], Any]) -> None:
    mine.step(function)


@pytest.mark.usefixtures("_interrupted_start")
@pytest.mark.parametrize("call", [_call_in_thread, _call_in_loop])
def test_who_starts_a_thread_is_interrupted_once_that_runs(call: Callable[..., None]) -> None:
    """Python 3.11 would end the new one instead, and the first one would wait for it for ever."""
    for _ in range(20):  # now and then the new one runs at once
        ran: list[str] = []
        raised: list[BaseException] = []

        def start(ran: list[str] = ran) -> None:
            threading.Thread(target=ran.append, args=("new",), daemon=True).start()
            ran.append("too far")

        def main(start: Any = start, raised: list[BaseException] = raised) -> None:
            try:
                call(Fence(), start)
            except BaseException as exc:  # noqa: BLE001 - looked at below
                raised.append(exc)

        first = threading.Thread(target=main, daemon=True)
        first.start()
        first.join(10)
        assert not first.is_alive()
        assert isinstance(raised[0], asyncio.CancelledError)
        eventually(lambda ran=ran: ran == ["new"])
