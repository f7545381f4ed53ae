"""`koco top` and `koco dev` on terminals of two sizes, with a real cluster behind them."""

import pytest

from tests.support.driver import Koco, eventually
from tests.support.screen import Screen
from tests.support.typist import CTRL_C

CODE = """
    import asyncio
    from pathlib import Path

    async def work(tracer, marker: str):
        print("at work")
        while not Path(marker).exists():
            await asyncio.sleep(0.05)
        return "done"

    async def ask(tracer):
        answer = await tracer.lock("go", data={"text": "Shall it go?"}, timeout=600)
        return {"answer": answer}
"""

SIZES = pytest.mark.parametrize(("columns", "rows"), [(80, 24), (200, 50)])


@pytest.fixture(scope="module")
def board(koco: Koco) -> Koco:
    """A service whose flows work until they may stop, and ask."""
    return koco.deploy("board", CODE, runner={"max": 4})


def screen(koco: Koco, columns: int, rows: int, *args: str, **more: str) -> Screen:
    env = {**koco.env, "COLUMNS": "", **more}
    return Screen(["-m", "koco", *args], columns=columns, rows=rows, env=env)


def status(koco: Koco, fid: str) -> str:
    told: str = koco.get(f"/v1/executions/{fid}")["status"]
    return told


@SIZES
def test_top_filters_follows_cancels_retries_and_answers(
    board: Koco, columns: int, rows: int
) -> None:
    """All of it by keys, on what really runs."""
    marker = board.root / f"never-{columns}"
    working, asking = board.launch("work", marker=str(marker)), board.launch("ask")
    with screen(board, columns, rows, "top", "service=board") as top:
        lines = top.shows("board/work", "board/ask", "running", "awaiting", "Quit")
        assert sum("board/" in line for line in lines) >= 2
        top.presses("/")
        top.shows("service=board")
        top.presses(" flow=board/work\r")
        top.hides("board/ask")
        top.shows("at work")
        top.presses("f")
        top.shows("· running", "at work")
        top.presses(CTRL_C)
        top.shows("Enter goes back to koco top")
        top.presses("\r")
        top.shows("board/work", "f Follow")
        top.presses("c")
        top.shows(f"Cancel {working}? [y/N]")
        top.presses("y")
        top.shows("is being cancelled")
        eventually(lambda: status(board, working) == "cancelled")
        top.hides("board/work")
        top.presses("e")
        top.shows("cancelled", "board/work")
        marker.touch()
        top.presses("r")
        top.shows("does it again", "finished")
        top.presses("/")
        top.shows("flow=board/work")
        top.presses("\x15")  # Ctrl-U
        top.until(lambda lines: "service=" not in lines[-2])
        top.presses("service=board flow=board/ask")
        top.shows("service=board flow=board/ask")
        top.presses("\r")
        top.shows("board/ask", "awaiting")
        top.presses("g")
        top.shows(f"{asking} board/ask", "Shall it go?")
        top.presses("a")
        top.shows("Answer (JSON")
        top.presses('"yes"\r')
        top.shows("Enter goes back to koco top")
        top.presses("\r")
        top.shows("board/ask", "finished")
        assert board.get(f"/v1/executions/{asking}/result")["result"] == {"answer": "yes"}
        top.presses("q")
        assert top.leaves() == 0


@SIZES
def test_dev_shows_saves_mistakes_and_lists(koco: Koco, columns: int, rows: int) -> None:
    """Keys run the last launch again, list executions and leave; nothing is left behind."""
    folder = koco.project(f"desk{columns}", "def greet():\n    print('hello')\n    return 1\n")
    app = folder / f"desk{columns}_app.py"
    with screen(koco, columns, rows, "dev", str(folder), "--run", "greet") as dev:
        dev.shows("koco run desk", "q leaves", "hello", "finished: 1")
        app.write_text("def greet(:\n")
        dev.shows("SyntaxError", "waiting for the next change")
        app.write_text("def greet():\n    print('better')\n    return 2\n")
        dev.shows("better", "finished: 2", "before: finished: 1")
        dev.presses("r")
        dev.shows("as before")
        dev.presses("l")
        lines = dev.shows("FID", "TOOK")
        row = next(line for line in reversed(lines) if "/greet" in line)
        assert "finished" in row, lines
        dev.presses("q")
        dev.shows("removing desk")
        assert dev.leaves() == 0
    assert not [each for each in koco.get("/v1/services")["items"] if "desk" in each["service"]]
