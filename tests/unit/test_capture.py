"""Output becomes events of the execution that wrote it, in a process of its own (descriptors!)."""

import subprocess
import sys
import textwrap

HEADER = """
import asyncio, logging, os, subprocess, sys, threading
from koco.runner.capture import Capture, Output, current
said = []
def output(name):
    return Output(lambda kind, text: said.append((name, str(kind), text)))
report = os.fdopen(os.dup(2), "w")
"""


def said(code: str) -> list[tuple[str, str, str]]:
    """Run code after HEADER in a new process; return what it left in `said`."""
    script = HEADER + textwrap.dedent(code) + "\nprint(repr(said), file=report, flush=True)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    result: list[tuple[str, str, str]] = eval(done.stderr.splitlines()[-1])
    return result


def test_a_dedicated_process_captures_everything() -> None:
    """print, stderr, logging, subprocesses, os.write and threads are the sole execution's."""
    lines = said("""
        capture = Capture(dedicated=True); capture.install()
        capture.sole = out = output("a")
        print("printed"); print("err", file=sys.stderr)
        logging.getLogger("x").warning("logged")
        subprocess.run(["sh", "-c", "echo sub; echo suberr >&2"])
        os.write(1, b"raw\\n")
        thread = threading.Thread(target=lambda: print("thread")); thread.start(); thread.join()
        sys.stdout.buffer.write(b"bytes\\n")
        print("no newline", end="")
        capture.drain(); capture.sole = None; out.finish()
    """)
    assert sorted(lines) == sorted(
        [
            ("a", "stdout", text)
            for text in ("printed", "sub", "raw", "thread", "bytes", "no newline")
        ]
        + [("a", "stderr", text) for text in ("err", "logged", "suberr")]
    )


def test_output_of_subprocesses_stays_in_its_place() -> None:
    """A line that a subprocess wrote before a `print` comes before it, every time."""
    lines = said("""
        capture = Capture(dedicated=True); capture.install()
        capture.sole = out = output("a")
        for number in range(200):
            os.write(1, b"sub %d\\n" % number)
            print("print", number)
        print("half", end="")
        os.write(1, b" and half\\n")
        capture.drain(); out.finish()
    """)
    expected = [f"{who} {number}" for number in range(200) for who in ("sub", "print")]
    assert [text for _, _, text in lines] == [*expected, "half and half"]


def test_executions_that_share_a_process_are_told_apart() -> None:
    """Coroutines and `to_thread` on one loop each write to their own execution."""
    lines = said("""
        Capture(dedicated=False).install()
        async def flow(name):
            current.set(output(name))
            for _ in range(3):
                print(name); await asyncio.sleep(0.001)
            await asyncio.to_thread(print, name)
        async def main():
            await asyncio.gather(*(asyncio.create_task(flow(name)) for name in "abc"))
        asyncio.run(main())
    """)
    assert sorted(lines) == [(name, "stdout", name) for name in "abc" for _ in range(4)]


def test_invalid_utf8_and_endless_lines_arrive() -> None:
    """Bytes that are no text are shown escaped; a huge line comes in pieces, whole in sum."""
    lines = said("""
        capture = Capture(dedicated=True); capture.install()
        capture.sole = out = output("a")
        os.write(1, b"\\xff\\n")
        sys.stdout.write("x" * 200_000 + "\\n")
        capture.drain(); out.finish()
        said[:] = [(n, k, t if len(t) < 10 else str(len(t))) for n, k, t in said]
    """)
    assert ("a", "stdout", "\\xff") in lines
    assert sum(int(text) for _, _, text in lines if text.isdecimal()) == 200_000


def test_between_executions_output_goes_where_it_went() -> None:
    """Without an execution, output is the process's own."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            HEADER
            + "Capture(dedicated=True).install(); print('own', flush=True)\n"
            + "import time; time.sleep(0.2)",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "own\n"
