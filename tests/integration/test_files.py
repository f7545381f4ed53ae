"""Files on a real Ray: with a launch, from flows and Ray tasks, through kills, in little memory."""

import hashlib
import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from tests.support.driver import Koco, eventually, kill9
from tests.unit.test_file_paths import REFUSED, is_place, raw, spelt

MB = 1024 * 1024

CODE = """
    import asyncio, hashlib, os, pathlib, tempfile, time
    import ray

    async def review(tracer, report, docs=None):
        async with await tracer.fs() as fs:
            text = (await fs.open(report).read_all()).decode()
            names = [file["path"] for file in await fs.ls()]
            local = [open(path).read() async for path in fs.download("in")]
            folder = pathlib.Path(tempfile.mkdtemp()) / "made"
            (folder / "deep").mkdir(parents=True)
            (folder / "a.txt").write_text("a")
            (folder / "deep" / "b.txt").write_text("b")
            made = await fs.upload(str(folder))
            await fs.remove("out/made/a.txt")
            async with fs.open("out/made/deep/b.txt") as file:
                again = [piece async for piece in file.read()]
        return {"text": text, "names": names, "local": local, "made": made,
                "inputs": [report, docs], "again": b"".join(again).decode()}

    def plain(tracer):
        with tracer.fs_sync() as fs:
            problems = []
            for call in (lambda: fs.ls("in/none"), lambda: fs.open("in/none").read_all(),
                         lambda: list(fs.download("in/none")), lambda: fs.remove("in/none"),
                         lambda: fs.upload("/none"), lambda: fs.ls("/etc"),
                         lambda: fs.open("in/../../etc/passwd"), lambda: fs.ls("in/..")):
                try:
                    call()
                except FileNotFoundError:
                    problems.append("missing")
                except ValueError:
                    problems.append("refused")
            path = pathlib.Path(tempfile.mkdtemp()) / "empty.txt"
            path.touch()
            [name] = fs.upload(path)
            return problems, fs.open(name).read_all().decode(), fs.ls("out")[0]["size_bytes"]

    @ray.remote(num_cpus=0)
    def count(tracer, path):
        with tracer.fs_sync() as fs:
            words = len(fs.open(path).read_all().split())
            local = pathlib.Path(tempfile.mkdtemp()) / (path.replace("/", "-") + ".count")
            local.write_text(str(words))
            fs.upload(local)
        return words, os.getpid()

    @ray.remote(num_cpus=0)
    class Counter:
        async def count(self, tracer, path):
            async with await tracer.fs() as fs:
                return len((await fs.open(path).read_all()).split()), os.getpid()

    async def words(tracer, docs):
        counter = Counter.remote()
        counts = await asyncio.gather(*[count.remote(tracer, path) for path in docs])
        more = await asyncio.gather(*[counter.count.remote(tracer, path) for path in docs])
        return [n for n, _ in counts], [n for n, _ in more], os.getpid() in [p for _, p in counts]

    async def ask(tracer):
        answer = await tracer.lock("scan")
        async with await tracer.fs() as fs:
            return answer, (await fs.open(answer["scan"]).read_all()).decode()

    def hold(tracer, seconds: float = 60):
        with tracer.fs_sync():
            tracer.result_sync(os.getpid())
            time.sleep(seconds)

    async def copy(tracer, size_mb: int = 0):
        async with await tracer.fs() as fs:
            with tempfile.TemporaryDirectory() as folder:
                path = pathlib.Path(folder) / "big.bin"
                with path.open("wb") as file:
                    for _ in range(size_mb):
                        file.write(os.urandom(1 << 20))
                await tracer.result(os.getpid())
                deadline = time.time() + 60
                while not [f for f in await fs.ls("in")] and time.time() < deadline:
                    await asyncio.sleep(0.05)
                await fs.upload(path)
            sha256 = hashlib.sha256()
            async for piece in fs.open("out/big.bin").read():
                sha256.update(piece)
            async for path in fs.download("out"):
                size = os.stat(path).st_size
            return sha256.hexdigest(), size
"""

FILES = {"type": "file", "name": "docs", "directory": True}
FLOWS = [
    {
        "name": "review",
        "entrypoint": "files_app:review",
        "inputs": [{"type": "file", "name": "report", "required": True}, FILES],
    },
    {"name": "words", "entrypoint": "files_app:words", "inputs": [FILES]},
    *(
        {"name": name, "entrypoint": f"files_app:{name}"}
        for name in ("plain", "ask", "hold", "copy")
    ),
]


@pytest.fixture(scope="module")
def app(koco: Koco) -> Koco:
    locks = {"scan": [{"type": "file", "name": "scan", "required": True}]}
    return koco.deploy("files", CODE, flows=FLOWS, locks=locks, runner={"min": 1, "max": 3})


@pytest.fixture
def folder(app: Koco, tmp_path: Path) -> Path:
    docs = tmp_path / "docs"
    (docs / "sub").mkdir(parents=True)
    (docs / "one.txt").write_text("one two three")
    (docs / "sub" / "two.txt").write_text("four")
    (tmp_path / "report.txt").write_text("The report.")
    return tmp_path


def big(path: Path, size_mb: int) -> str:
    """Write so much of nothing in particular; return its SHA-256."""
    source, sha256 = random.Random(7), hashlib.sha256()
    with path.open("wb") as file:
        for _ in range(size_mb):
            piece = source.randbytes(MB)
            sha256.update(piece)
            file.write(piece)
    return sha256.hexdigest()


@contextmanager
def holding(app: Koco) -> Iterator[str]:
    """An execution that runs while its files are looked at."""
    fid = app.launch("hold")
    try:
        eventually(lambda: app.get_events(fid, kind="result"))
        yield fid
    finally:
        app.run("cancel", fid, "--wait", "--grace", "0.2").ok()


def test_a_launch_brings_files_and_the_flow_makes_others(app: Koco, folder: Path) -> None:
    """A file and a folder; the flow gets their paths, reads, downloads, uploads and removes."""
    done = app.run(
        *(
            "run",
            "files/review",
            "-i",
            "report=@report.txt",
            "-i",
            "docs=@docs",
            "--wait",
            "--json",
        ),
        cwd=folder,
    )
    fid = done.ok().lines()[0]["fid"]
    result = done.lines()[1]["result"]
    docs = ["in/docs/one.txt", "in/docs/sub/two.txt"]
    assert result == {
        "inputs": ["in/report.txt", docs],
        "text": "The report.",
        "names": [*docs, "in/report.txt"],
        "local": ["one two three", "four", "The report."],
        "made": ["out/made/a.txt", "out/made/deep/b.txt"],
        "again": "b",
    }
    events = app.events(fid)
    assert [event["kind"] for event in events[:6]] == ["meta", "inputs", *["upload"] * 3, "status"]
    told = [event["payload"] for event in events if event["kind"] == "upload"]
    assert {each["by"] for each in told[:3]} == {"admin"}
    assert [(each["path"], each["by"], each.get("removed")) for each in told[3:]] == [
        ("out/made/a.txt", "flow", None),
        ("out/made/deep/b.txt", "flow", None),
        ("out/made/a.txt", "flow", True),
    ]
    got = app.run("files", "get", fid, "out", "--to", "results", cwd=folder).ok()
    assert got.out.split() == ["results/out/made/deep/b.txt"]
    assert (folder / "results/out/made/deep/b.txt").read_text() == "b"


def test_a_file_field_is_checked_on_the_server(app: Koco) -> None:
    """One that is required and left out, and one that names what was not uploaded."""
    with app.http() as client:
        missing = client.post("/v1/flows/files/review", json={})
        assert (missing.status_code, list(missing.json()["errors"])) == (422, ["report"])
        for path in ("in/none", "../../etc/passwd", "/etc/passwd"):
            strange = client.post("/v1/flows/files/review", json={"report": path})
            assert (strange.status_code, list(strange.json()["errors"])) == (422, ["report"])


def test_an_answer_brings_files(app: Koco, folder: Path) -> None:
    """Into `in/` of the execution that waits; the flow gets the path."""
    fid = app.launch("ask")
    eventually(lambda: app.get(f"/v1/executions/{fid}")["status"] == "awaiting")
    app.run("answer", fid, "-i", "scan=@report.txt", cwd=folder).ok()
    [final] = [each["payload"] for each in app.events(fid) if each["kind"] == "final"]
    assert final == [{"scan": "in/report.txt"}, "The report."]


APP = """
    import fastapi

    from koco import Launch, ServeAPI, forms as F

    app = ServeAPI()
    fields = F.InputFiles(name="report", required=True), F.InputFiles(name="docs", multiple=True)
    model = F.Model(*fields)

    @app.enter("/read", model=model)
    async def enter(request: fastapi.Request, inputs: dict):
        return Launch(request, read, inputs={"path": inputs["report"], "more": inputs["docs"]})

    async def read(inputs: dict, tracer):
        async with await tracer.fs() as fs:
            return inputs, (await fs.open(inputs["path"]).read_all()).decode()
"""


def test_a_services_own_endpoint_gets_the_paths(koco: Koco, folder: Path) -> None:
    """As koco's does; the execution that it launches has the files."""
    app = koco.deploy("reader", APP, app="reader_app:app", flows=[])
    flow = app.get("/v1/flows")["items"]
    [name] = [each["name"] for each in flow if each["service"] == "reader"]
    pairs = ("-i", "report=@report.txt", "-i", "docs=@docs/one.txt")
    done = app.run("run", name, *pairs, "--wait", "--json", cwd=folder).ok()
    inputs, text = done.lines()[1]["result"]
    assert inputs == {"path": "in/report.txt", "more": ["in/one.txt"]}
    assert text == "The report."
    refused = app.run("run", name, "-i", "report=../../etc/passwd")
    assert refused.code == 2
    assert "was not uploaded" in refused.err


def test_plain_functions_have_the_same(app: Koco) -> None:
    """What is missing is Python's FileNotFoundError, what is outside a ValueError; empty files."""
    problems, content, size = app.execute("plain").result
    assert problems == ["missing"] * 5 + ["refused"] * 3
    assert (content, size) == ("", 0)


def test_ray_tasks_and_actors_reach_the_files(app: Koco, folder: Path) -> None:
    """In their own processes, several at once, with the tracer that they were handed."""
    done = app.run("run", "files/words", "-i", "docs=@docs", "--wait", "--json", cwd=folder).ok()
    counts, more, same_process = done.lines()[1]["result"]
    assert counts == more == [3, 1]
    assert not same_process
    listed = app.run("files", "ls", done.lines()[0]["fid"], "out", "--json").ok().json()
    assert [item["path"] for item in listed["items"]] == [
        "out/in-docs-one.txt.count",
        "out/in-docs-sub-two.txt.count",
    ]


def test_an_upload_outlives_the_control_planes_death(app: Koco, tmp_path: Path) -> None:
    """kill -9 in its midst: the command goes on where it was, and the file is right."""
    sha256 = big(tmp_path / "big.bin", 300)
    with holding(app) as fid:
        put = app.popen("files", "put", fid, "big.bin", cwd=tmp_path)
        parts = app.home / "local" / "parts"
        eventually(lambda: [p for p in parts.glob(f"*-{sha256}") if p.stat().st_size > 40 * MB])
        kill9(app.control_pid())
        out, err = put.communicate(timeout=120)
        assert (put.returncode, out) == (0, "in/big.bin\n"), err
        assert list(parts.glob(f"*-{sha256}")) == []
        [item] = app.get(f"/v1/executions/{fid}/files")["items"]
        assert (item["sha256"], item["size_bytes"]) == (sha256, 300 * MB)
        get = app.popen("files", "get", fid, "in/big.bin", "--to", "back", cwd=tmp_path)
        eventually(lambda: [p for p in tmp_path.glob("back/.*.part") if p.stat().st_size > 40 * MB])
        kill9(app.control_pid())
        out, err = get.communicate(timeout=120)
        assert (get.returncode, out) == (0, "back/big.bin\n"), err
    with (tmp_path / "back/big.bin").open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == sha256
    assert app.execute("plain").status == "finished"


def test_a_flows_files_outlive_the_control_planes_death(app: Koco, tmp_path: Path) -> None:
    """Killed while the flow uploads, and again while it reads: it notices nothing but time."""
    (tmp_path / "go").write_text("go")
    fid = app.launch("copy", size_mb=200)
    eventually(lambda: app.get_events(fid, kind="result"))
    app.run("files", "put", fid, "go", cwd=tmp_path).ok()
    parts, blobs = app.home / "local" / "parts", app.home / "local" / "blobs"
    eventually(lambda: [p for p in parts.iterdir() if p.stat().st_size > 40 * MB])
    kill9(app.control_pid())
    eventually(lambda: [p for p in blobs.glob("*/*") if p.stat().st_size == 200 * MB])
    kill9(app.control_pid())
    eventually(app.control_pid)
    events = app.run("logs", fid, "-f", "--json").ok().lines()
    sha256, size = next(each["payload"] for each in events if each["kind"] == "final")
    [item] = app.run("files", "ls", fid, "out", "--json").ok().json()["items"]
    assert (item["sha256"], item["size_bytes"], size) == (sha256, 200 * MB, 200 * MB)


def test_no_spelling_of_a_path_reaches_out(app: Koco) -> None:
    """The corpus, over raw HTTP, at a control plane as users have it."""
    key = app.context["key"]
    with holding(app) as fid:
        base = f"/v1/executions/{fid}/files/".encode()
        for text in REFUSED:
            for target in spelt(text):
                meant = unquote(target.decode(), errors="surrogateescape")
                if meant.strip("/") and not is_place(meant):
                    for method, body in (("GET", b""), ("PUT", b"{}"), ("DELETE", b"")):
                        code, _ = raw(app.context["url"], method, base + target, body, key=key)
                        assert code in (400, 404, 405, 414), (method, target, code)


def test_two_uploads_of_one_file_at_once_both_succeed(app: Koco, tmp_path: Path) -> None:
    """One sends, the other waits for it or goes on from it; the content is right."""
    sha256 = big(tmp_path / "both.bin", 100)
    with holding(app) as fid:
        puts = [app.popen("files", "put", fid, "both.bin", cwd=tmp_path) for _ in range(2)]
        for put in puts:
            _, err = put.communicate(timeout=120)
            assert put.returncode == 0, err
        done = app.run("files", "get", fid, "in/both.bin", "--to", "back", cwd=tmp_path).ok()
        assert done.out == "back/both.bin\n"
    with (tmp_path / "back/both.bin").open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == sha256


def test_a_large_file_passes_in_little_memory(app: Koco, tmp_path: Path) -> None:
    """256 MiB up, into the flow, out of it and down: 64 MiB more at most in any process."""
    size_mb = 256
    sha256 = big(tmp_path / "large.bin", size_mb)
    fid = app.launch("copy", size_mb=size_mb)
    [event] = eventually(lambda: app.get_events(fid, kind="result"))
    watched = {"control plane": app.control_pid(), "runner": event["payload"]}
    before = {name: grown(pid) for name, pid in watched.items()}
    put = app.popen("files", "put", fid, "large.bin", cwd=tmp_path)
    peaks = {"put": peak_mb(put)}
    result = app.events(fid)[-2]["payload"]
    assert result[1] == size_mb * MB
    get = app.popen("files", "get", fid, "out/big.bin", "in/large.bin", "--to", "x", cwd=tmp_path)
    peaks["get"] = peak_mb(get)
    peaks |= {name: status_mb(pid, "VmHWM") - before[name] for name, pid in watched.items()}
    print("MiB more at most:", peaks)
    # A command's own size is some 40 MiB.
    assert {
        name: peak for name, peak in peaks.items() if peak >= 64 + 50 * (name in "putget")
    } == {}
    for name, expected in (("big.bin", result[0]), ("large.bin", sha256)):
        with (tmp_path / "x" / name).open("rb") as file:
            assert hashlib.file_digest(file, "sha256").hexdigest() == expected


def status_mb(pid: int, name: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(name)


def grown(pid: int) -> float:
    """Forget a process's peak; return what it holds now (MiB)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return status_mb(pid, "VmRSS")


def peak_mb(process: Any) -> float:
    """Wait for a command; return the most that it held (MiB)."""
    peak = 0.0

    def watch() -> None:
        nonlocal peak
        while process.poll() is None:
            try:
                peak = max(peak, status_mb(process.pid, "VmHWM"))
            except (OSError, AssertionError):
                return
            time.sleep(0.01)

    thread = threading.Thread(target=watch)
    thread.start()
    _, err = process.communicate(timeout=120)
    thread.join()
    assert process.returncode == 0, err
    return peak


def test_a_flows_token_is_in_no_log(app: Koco) -> None:
    """Neither in koco's nor in Ray's: who reads logs must not get files by that."""
    assert app.execute("plain").status == "finished"
    logs = [path for path in app.root.rglob("*") if path.suffix in (".log", ".out", ".err")]
    assert len(logs) > 5
    assert [path for path in logs if b"kocof_" in path.read_bytes()] == []


def test_limits_are_the_services_and_the_control_planes(fresh: Koco, tmp_path: Path) -> None:
    """Both are told by name, the one from the manifest, the other from `koco up`."""
    fresh.up()
    fresh.up("--set", "max_file_mb=2")
    code = "def keep(tracer, docs):\n    return docs\n"
    flows = [{"name": "keep", "entrypoint": "small_app:keep", "inputs": [FILES]}]
    small = fresh.deploy("small", code, flows=flows, files={"max_count": 2, "max_size_mb": 1})
    for name, size_mb in (("a", 3), ("b", 1.5), ("c", 0.1), ("d", 0.1), ("e", 0.1)):
        (tmp_path / name).write_bytes(os.urandom(int(size_mb * MB)))

    def run(*names: str) -> Any:
        pairs = [arg for name in names for arg in ("-i", f"docs=@{name}")]
        return small.run("run", "small/keep", *pairs, "--wait", "--json", cwd=tmp_path)

    for names, told in (
        ("a", "max_file_mb is 2"),
        ("b", "files.max_size_mb is 1"),
        ("cde", "files.max_count is 2"),
    ):
        refused = run(*names)
        assert refused.code == 2
        assert told in refused.err
    assert run(*"cd").ok().lines()[1]["result"] == ["in/c", "in/d"]
