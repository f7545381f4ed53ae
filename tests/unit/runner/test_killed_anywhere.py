"""Whenever a runner's process is killed, each printed line is in its remains once; without Ray."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

#: A runner's process without Ray. It takes steps, each of which writes to its stdout. At each line
#: of koco's code that this runs, it reads what a kill would leave at that moment: the files are
#: shared mappings, so a kill changes nothing in them.
PROGRAM = """
    import asyncio, collections, fcntl, json, os, re, struct, sys, termios, threading, time
    from concurrent.futures import ThreadPoolExecutor
    from pathlib import Path
    from koco.events import line, wire
    from koco.events.model import Kind
    from koco.runner import home, remains
    from koco.runner.output import lines, pipe_keeper
    from koco.runner.output.capture import Capture
    from koco.runner.output.lines import Output
    from koco.runner.output.spool import Spool
    from koco.sdk.process import crash

    folder, steps, by_opcode = Path(sys.argv[1]), json.load(sys.stdin), sys.argv[2:]
    crash.directory = lambda name: folder / name
    path, code = folder / "r1", str(Path(lines.__file__).parent)
    home = home.Home("r1")
    piped, taken, looks, wrong, seen = b"", 0, 0, [], None
    looking = threading.RLock()

    def expected(count, begun=""):
        streams = collections.defaultdict(str)
        begin = [(how, begun) for how, _ in steps[count : count + 1]]
        for how, text in steps[:count] + begin:
            streams[how == "thread"] += text
        return normal(text for each in streams.values() for text in cut(each))

    def cut(text):
        found = []
        output = Output(lambda kind, text: found.append(text))
        output.write_bytes(Kind.STDOUT, text.encode("utf-8", "surrogateescape"))
        output.finish()
        return found

    def normal(texts):
        # A long line's pieces are cut elsewhere after a kill, and the note on them may be missing.
        short, long = [], 0
        for text in texts:
            if text[:1] == "y":
                long += len(text)
            elif not text.startswith("koco: a line of"):
                short.append(text)
        return sorted(short), long

    def allowed():
        # A kill may lose any end of what is being printed, but nothing that was written.
        yield expected(taken)
        if taken < len(steps):
            how, text = steps[taken]
            for end in {len(text)} | {found.end() for found in re.finditer(r"[\\r\\n]", text)}:
                yield expected(taken, text[:end])

    def in_pipe():
        return struct.unpack("i", fcntl.ioctl(reader, termios.FIONREAD, bytes(4)))[0]

    def left():
        (path / f"{pipe_keeper.PIPE}1").write_bytes(piped[len(piped) - in_pipe():])
        found = remains.collect_from(path)
        batches = [each for blob in found.batches for each in wire.decode_batches(blob)]
        events = [text for each in batches for text in each.body.split(b"\\n")]
        texts = [json.loads(b"{" + text)["payload"] for text in events]
        return normal(texts + [text for tail in found.tails for _, text in tail.lines])

    def look(frame, event, arg):
        global looks, seen
        if not frame.f_code.co_filename.startswith(code):
            return None
        frame.f_trace_opcodes = bool(by_opcode)
        if reader is None or len(wrong) > 4:
            return look
        with looking:
            looks += 1
            files = [each.read_bytes() for each in path.iterdir()]
            if (state := (taken, in_pipe(), files)) != seen:
                seen = state
                where = f"step {taken}, {Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
                try:
                    if (found := left()) not in (good := list(allowed())):
                        wrong.append(f"{where}: {found} is none of {good}"[:1000])
                except Exception as exc:
                    wrong.append(f"{where}: {exc!r}")
        return look

    def flow():
        global taken, piped
        # The thread that reads pipes is traced from its start, this one from here on.
        sys.settrace(look)
        other = ThreadPoolExecutor(1)
        for how, text in steps:
            if how == "print":
                sys.stdout.write(text)
            elif how == "thread":
                sys.settrace(None)
                other.submit(sys.stdout.write, text).result()
                sys.settrace(look)
            else:
                data = text.encode("utf-8", "surrogateescape")
                with looking:
                    piped += data
                    os.write(1, data)
                    taken += 1
                while in_pipe():
                    time.sleep(0.001)
                with pipe.lock:
                    continue
            taken += 1

    async def main():
        global reader, pipe
        async def never(blob):
            await asyncio.Event().wait()
        spool = Spool("r1", never, backlog=home.backlog)
        sink = spool.open("f", 1)
        output = Output(lambda kind, text: sink.put("f", line.encode(kind, text), output.kept),
                        lines=home.lines_of("f", 1))
        home.set_pipe_owner("f", 1)
        capture.begin(output)
        pipe = capture._pipes._pipes[Kind.STDOUT]
        reader = pipe.reader
        await asyncio.to_thread(flow)
        (folder / "found").write_text(json.dumps([looks, wrong]))
        os._exit(0)

    reader = None
    threading.settrace(look)
    capture = Capture(dedicated=True, files=home.open_pipe_files())
    capture.install()
    asyncio.run(main())
"""

LONG = [("pipe", "y" * 250_000)] * 5


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param([("print", text) for text in ("a", "\n", "b\nc", "\nd\n")], id="print"),
        pytest.param([("pipe", "a\nb\nhalf"), ("pipe", " c\nd\n")], id="pipe"),
        pytest.param(
            [("print", "a"), ("pipe", "b"), ("print", "c"), ("pipe", "d\ne"), ("print", "f\n")],
            id="both",
        ),
        pytest.param(
            [("pipe", text) for text in ("1\r", "2\r3\r", "4\n", "5\r", "\n6\r\n")]
            + [("print", text) for text in ("\r7", "\r8", "\r9\r", "10\n")],
            id="progress bar",
        ),
        pytest.param([("pipe", "a\udcc3"), ("pipe", "\udca4b\n")], id="half a character"),
        pytest.param(
            [("pipe", "y" * 3000)] * 2 + [("print", "y\n"), ("pipe", "end\n")],
            id="larger than a slot",
        ),
        pytest.param([*LONG, ("pipe", "y\nend\n")], id="in pieces"),
        pytest.param([*LONG, ("print", "y\n"), ("print", "end\n")], id="in pieces, both"),
        pytest.param(
            [
                *[("print", "a"), ("thread", "b"), ("print", "c\r"), ("thread", "d\n")],
                *[("thread", "e\r"), ("pipe", "f\n"), ("thread", "g\n")],
            ],
            id="threads",
        ),
    ],
)
def test_each_line_is_there_once(tmp_path: Path, steps: list[tuple[str, str]]) -> None:
    """Neither in two places nor in none, while it goes from one file to another."""
    code = textwrap.dedent(PROGRAM)
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "koco")],
        input=json.dumps(steps).encode(),
        check=True,
        timeout=300,
    )
    looks, wrong = json.loads((tmp_path / "koco" / "found").read_text())
    assert looks > 100
    assert wrong == []
