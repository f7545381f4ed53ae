"""Output becomes events of its execution. Each test has its own process, because of descriptors."""

import subprocess
import sys
import textwrap

HEADER = """
import asyncio, logging, os, subprocess, sys, threading
from koco.runner.output.capture import Capture
from koco.runner.output.lines import LINE_CHARS, Output, current
said = []
def output(name):
    return Output(lambda kind, text: said.append((name, str(kind), text)))
report = os.fdopen(os.dup(2), "w")
"""


def events_from(code: str) -> list[tuple[str, str, str]]:
    """Run code after HEADER in a new process; return the list `said` that it leaves."""
    script = HEADER + textwrap.dedent(code) + "\nprint(repr(said), file=report, flush=True)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    result: list[tuple[str, str, str]] = eval(done.stderr.splitlines()[-1])
    return result


def test_a_dedicated_process_captures_everything() -> None:
    """print, stderr, logging, subprocesses, os.write and threads belong to the execution."""
    lines = events_from("""
        capture = Capture(dedicated=True); capture.install()
        capture.begin(out := output("a"))
        print("printed"); print("err", file=sys.stderr)
        logging.getLogger("x").warning("logged")
        subprocess.run(["sh", "-c", "echo sub; echo suberr >&2"])
        os.write(1, b"raw\\n")
        thread = threading.Thread(target=lambda: print("thread")); thread.start(); thread.join()
        sys.stdout.buffer.write(b"bytes\\n")
        print("no newline", end="")
        capture.end(out)
    """)
    assert sorted(lines) == sorted(
        [
            ("a", "stdout", text)
            for text in ("printed", "sub", "raw", "thread", "bytes", "no newline")
        ]
        + [("a", "stderr", text) for text in ("err", "logged", "suberr")]
    )


def test_output_of_subprocesses_keeps_its_order() -> None:
    """A line that a subprocess wrote before a `print` always comes before it."""
    lines = events_from("""
        capture = Capture(dedicated=True); capture.install()
        capture.begin(out := output("a"))
        for number in range(200):
            os.write(1, b"sub %d\\n" % number)
            print("print", number)
        print("half", end="")
        os.write(1, b" and half\\n")
        capture.end(out)
    """)
    expected = [f"{who} {number}" for number in range(200) for who in ("sub", "print")]
    assert [text for _, _, text in lines] == [*expected, "half and half"]


def test_executions_that_share_a_process_have_separate_output() -> None:
    """Coroutines and `to_thread` on one loop each write to their own execution."""
    lines = events_from("""
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


def test_subprocesses_write_to_the_execution_that_starts_them() -> None:
    """Even in a shared process: through `subprocess`, `asyncio`, `os.system`, `os.fork`."""
    lines = events_from("""
        capture = Capture(dedicated=False); capture.install()
        def flow(name):
            current.set(out := output(name))
            subprocess.run(["sh", "-c", f"echo {name} run; echo {name} err >&2"])
            subprocess.run(["sh", "-c", f"echo {name} as err"], stdout=sys.stderr)
            subprocess.run(["sh", "-c", f"echo {name} as out >&2"], stderr=subprocess.STDOUT)
            assert subprocess.run(["echo", "hi"], capture_output=True).stdout == b"hi\\n"
            assert os.popen("echo hi").read() == "hi\\n"
            assert os.system(f"echo {name} system") == 0
            assert (os.system("exit 3"), os.system("kill -9 $$")) == (3 << 8, 9)
            async def main():
                await (await asyncio.create_subprocess_exec("echo", name, "asyncio")).wait()
            asyncio.run(main())
            if not (pid := os.fork()):
                print(name, "fork"); os.system(f"echo {name} fork system"); os._exit(0)
            os.waitpid(pid, 0)
            late = subprocess.Popen(["sh", "-c", "sleep 0.3; echo late"])
            capture.end(out)
            late.wait()
        threads = [threading.Thread(target=flow, args=(name,)) for name in "ab"]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
    """)
    out = ("run", "as out", "system", "asyncio", "fork", "fork system")
    expected = [(name, "stdout", f"{name} {what}") for name in "ab" for what in out]
    expected += [(name, "stderr", f"{name} {what}") for name in "ab" for what in ("err", "as err")]
    assert sorted(lines) == sorted(expected)


def test_invalid_utf8_is_escaped() -> None:
    """A character that arrives in two parts is decoded as one."""
    lines = events_from("""
        capture = Capture(dedicated=True); capture.install()
        capture.begin(out := output("a"))
        os.write(1, b"\\xff\\n")
        sys.stdout.buffer.write(b"\\xc3"); sys.stdout.buffer.write(b"\\xa4\\n")
        os.write(1, b"\\xe2\\x82"); capture.drain(); os.write(1, b"\\xac\\n")
        os.write(1, b"cut \\xe2\\x82")
        print("nul \\0")
        capture.end(out)
    """)
    assert [text for _, _, text in lines] == ["\\xff", "ä", "€", "cut nul \0", "\\xe2\\x82"]


def test_a_very_long_line_comes_in_pieces() -> None:
    """The pieces make up the whole line; a line on stderr says that there are pieces."""
    lines = events_from("""
        capture = Capture(dedicated=True); capture.install()
        capture.begin(out := output("a"))
        print("x" * LINE_CHARS)
        for _ in range(25): print("y" * (LINE_CHARS // 10), end="")
        print()
        capture.end(out)
        said[:] = [(n, k, t if len(t) < 100 else f"{len(t)}{t[0]}") for n, k, t in said]
    """)
    size = 1024 * 1024
    pieces = [f"{size}y", f"{size}y", f"{25 * (size // 10) - 2 * size}y"]
    assert [text for _, kind, text in lines if kind == "stdout"] == [f"{size}x", *pieces]
    [notice] = [text for _, kind, text in lines if kind == "stderr"]
    assert notice == "koco: a line of 2,621,425 characters on stdout came in 3 pieces"


def test_progress_bars_are_lines() -> None:
    """A carriage return ends a line; CR LF, even in two writes, ends only one."""
    lines = events_from("""
        capture = Capture(dedicated=True); capture.install()
        capture.begin(out := output("a"))
        for step in range(3): print(f"\\r{step * 50} %", end="")
        print()
        for step in range(2): print(f"at {step}", end="\\r")
        print("dos\\r\\nin two\\r", end=""); print("\\n\\nend")
        capture.end(out)
    """)
    states = ["0 %", "50 %", "100 %", "at 0", "at 1"]
    assert [text for _, _, text in lines] == [*states, "dos", "in two", "", "end"]


def test_threads_and_executors_write_to_their_starters_output() -> None:
    """Even if executions share a process and an executor; lines of threads are never mixed."""
    lines = events_from("""
        from concurrent.futures import ThreadPoolExecutor
        Capture(dedicated=False).install()
        pool = ThreadPoolExecutor(4)
        def work(name):
            for _ in range(50):
                print(name, end=""); print("!")
        async def flow(name):
            current.set(output(name))
            loop = asyncio.get_running_loop()
            await asyncio.gather(*(loop.run_in_executor(pool, work, name) for _ in range(4)))
            thread = threading.Thread(target=work, args=(name,)); thread.start()
            await asyncio.to_thread(thread.join)
        async def main():
            await asyncio.gather(*(asyncio.create_task(flow(name)) for name in "abc"))
        asyncio.run(main())
    """)
    assert sorted(lines) == [(name, "stdout", f"{name}!") for name in "abc" for _ in range(250)]


def test_late_output_never_reaches_the_next_execution() -> None:
    """Later output of its threads, tasks and subprocesses goes to the log."""
    lines = events_from("""
        import ctypes, time
        capture = Capture(dedicated=True); capture.install()
        capture.begin(first := output("first"))
        current.set(first)
        wait = threading.Event()
        thread = threading.Thread(target=lambda: (wait.wait(), print("late thread")))
        thread.start()
        child = subprocess.Popen(["sh", "-c", "echo early; read x; echo late child"],
                                 stdin=subprocess.PIPE)
        while not said: capture.drain()
        ctypes.CDLL(None).printf(b"from C, without its newline")
        sys.stdout = open(os.devnull, "w")
        capture.end(first)
        capture.begin(second := output("second"))
        wait.set(); thread.join(); child.communicate(b"\\n")
        current.set(second)
        print("second")
        capture.end(second)
    """)
    assert lines == [
        ("first", "stdout", "early"),
        ("first", "stdout", "from C, without its newline"),
        ("second", "stdout", "second"),
    ]


def test_an_execution_that_leaves_no_output_ends_without_waiting() -> None:
    """What a subprocess of it writes later goes to the log. A rest anywhere is told."""
    lines = events_from("""
        import ctypes
        capture = Capture(dedicated=True); capture.install()
        capture.begin(first := output("first"))
        print("whole")
        assert capture.end_if_empty(first) and capture.output() is None
        capture.begin(second := output("second"))
        child = subprocess.Popen(["sh", "-c", "read x; echo late child"], stdin=subprocess.PIPE)
        assert capture.end_if_empty(second)
        capture.begin(third := output("third"))
        child.communicate(b"\\n")
        os.write(1, b"raw")
        assert not capture.end_if_empty(third)
        capture.end(third)
        capture.begin(fourth := output("fourth"))
        ctypes.CDLL(None).printf(b"from C")
        assert not capture.end_if_empty(fourth)
        capture.end(fourth)
    """)
    assert lines == [
        ("first", "stdout", "whole"),
        ("third", "stdout", "raw"),
        ("fourth", "stdout", "from C"),
    ]


def test_a_forked_process_is_captured() -> None:
    """Children of `multiprocessing` print into the pipe like other subprocesses."""
    lines = events_from("""
        import multiprocessing
        capture = Capture(dedicated=True); capture.install()
        capture.begin(out := output("a"))
        current.set(out)
        def work(n): print("child", n); sys.stdout.buffer.write(b"bytes\\n")
        fork = multiprocessing.get_context("fork")
        children = [fork.Process(target=work, args=(n,)) for n in range(3)]
        for child in children: child.start()
        for child in children: child.join()
        capture.end(out)
    """)
    children = [("a", "stdout", f"child {n}") for n in range(3)]
    assert sorted(lines) == [("a", "stdout", "bytes")] * 3 + children


def test_a_subprocess_that_writes_for_ever_does_not_block_the_end() -> None:
    """At the end of an execution its pending output is read, without waiting for more."""
    lines = events_from("""
        capture = Capture(dedicated=True); capture.install()
        capture.begin(out := output("a"))
        child = subprocess.Popen(["yes"])
        while not said: pass
        print("printed", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), capture.log("stdout"))
        capture.end(out)
        child.kill()
        said[:] = [said[-1], said[0]]
    """)
    assert ("a", "stdout", "y") in lines


def test_streams_behave_like_pythons_own() -> None:
    """Encodings, names, closing and errors are the same as with streams that Python makes."""
    lines = events_from("""
        import faulthandler, warnings
        capture = Capture(dedicated=True); capture.install()
        capture.begin(out := output("a"))
        sys.stdout.reconfigure(encoding="latin-1", line_buffering=False)
        sys.stdout.close(); assert not sys.stdout.closed
        print(sys.stdout.name, sys.stdout.mode, sys.stdout.isatty(), flush=True)
        sys.stdout.writelines(["one\\n", "two\\n"])
        warnings.warn("careful"); faulthandler.dump_traceback(all_threads=False)
        capture.end(out)
    """)
    out = [text for _, kind, text in lines if kind == "stdout"]
    assert out == ["<stdout> w False", "one", "two"]
    err = [text for _, kind, text in lines if kind == "stderr"]
    assert any("UserWarning: careful" in text for text in err)
    assert any("most recent call first" in text for text in err)


def test_output_between_executions_goes_to_the_process() -> None:
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
