"""Durable flows on real runners: resumed, parked, woken, continued by hand."""

import base64
import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from koco.bootstrap.local_head import mark_of
from tests.support.driver import Ended, Koco, eventually, kill9, koco_of_its_own

CODE = """
    import asyncio, os, time
    from koco import Tracer, step
    from koco.errors import FlowError

    VERSION = 1

    def _tell(log, word):
        with open(log, "a") as file:
            file.write(f"{word} {os.getpid()}\\n")

    @step
    async def note(log: str, word: str) -> str:
        _tell(log, word)
        return word

    @step(retries=3, backoff_s=0.05)
    def shaky(tracer: Tracer, log: str, kills: bool) -> int:
        _tell(log, "shaky")
        tries = open(log).read().count("shaky")
        if tries == 2 and kills:
            time.sleep(0.2)  # until it is recorded that it runs
            os.kill(os.getpid(), 9)
        if tries < 4:
            raise ConnectionError(f"no {tries}")
        return tries

    @step
    def large(log: str, size: int) -> bytes:
        _tell(log, "large")
        return b"x" * size

    @step
    def backwards(text: str) -> str:
        return text[::-1]

    async def three(tracer, log: str, dies: str = "", fails: str = ""):
        print("begin")
        for word in "abc":
            await note(log, word)
            print("after", word)
            if word == dies and not os.path.exists(log + ".died"):
                open(log + ".died", "w").close()
                os.kill(os.getpid(), 9)
            if word == fails and not os.path.exists(log + ".mended"):
                raise ValueError("not mended")
        return VERSION

    async def hopeless(tracer, log: str):
        await note(log, "once")
        _tell(log, "died")
        os.kill(os.getpid(), 9)

    def retried(tracer, log: str):
        return shaky(tracer, log, True)

    async def big(tracer, log: str, size: int = 3_000_000):
        data = large(log, size)
        if not os.path.exists(log + ".died"):
            open(log + ".died", "w").close()
            os.kill(os.getpid(), 9)
        return [type(data).__name__, len(data), set(data) == {120}]

    async def approve(tracer, log: str):
        await note(log, "before")
        answer = await tracer.lock("ok")
        await note(log, "after")
        return [VERSION, answer]

    def approve_sync(tracer, log: str):
        answer = tracer.lock_sync("ok")
        _tell(log, "after")
        return [VERSION, answer]

    async def nap(tracer, log: str, seconds: float = 4.0):
        await tracer.sleep(seconds)
        await note(log, "awake")
        return "awake"

    async def collect(tracer, log: str, count: int = 3):
        notes = []
        for _ in range(count):
            notes.append((await tracer.receive("note", timeout=600))["text"])
            await note(log, notes[-1])
        return notes

    async def impatient(tracer):
        try:
            await tracer.receive("never", timeout=1.5)
        except TimeoutError:
            return "gave up"

    async def parent(tracer, log: str, child: str = "nap", given=None):
        return await tracer.call(f"durable/{child}", {"log": log, **(given or {})})

    async def undoing(tracer, log: str):
        try:
            await tracer.call("durable/nap", {"log": log, "seconds": 600})
        except FlowError as exc:
            return [exc.type, await note(log, "undone")]

    async def surrender(tracer, log: str):
        call = asyncio.ensure_future(tracer.call("durable/nap", {"log": log, "seconds": 600}))
        await tracer.receive("enough")
        call.cancel()
        await asyncio.wait({call})
        await note(log, "gave up")
        if not os.path.exists(log + ".died"):
            await asyncio.sleep(0.5)
            open(log + ".died", "w").close()
            os.kill(os.getpid(), 9)
        return call.cancelled()

    @step
    async def fragile(log: str):
        await asyncio.sleep(0.5)
        if not os.path.exists(log + ".died"):
            open(log + ".died", "w").close()
            raise ValueError("once")

    async def torn(tracer, log: str):
        nap = tracer.call("durable/nap", {"log": log})
        return await asyncio.gather(nap, fragile(log))

    async def launcher(tracer, log: str):
        fid = await tracer.launch("durable/nap", {"log": log})
        return fid

    async def loud(tracer, log: str):
        os.system("echo before")
        print("waits")
        await tracer.lock("ok")
        print("goes on")
        os.system("echo after")
        return os.getpid()

    async def secret(tracer, text: str):
        await note("/dev/null", backwards(text))
        return "done"
"""

#: The same, but the steps of `three` are others, and `approve` says that it is new.
CHANGED = CODE.replace('"abc"', '"axc"').replace("VERSION = 1", "VERSION = 2")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Koco]:
    with koco_of_its_own() as koco:
        yield koco.up("--set", "park_after=1", "--set", "max_step_mb=8")


RUNNER = {"min": 2, "max": 3, "concurrency": 4}


def deploy(koco: Koco, service: str = "durable", code: str = CODE, **more: Any) -> Koco:
    flows = [
        {"name": name.replace("_", "-"), "entrypoint": f"{service}_app:{name}", "durable": True}
        for name in (
            *("three", "hopeless", "retried", "big", "approve", "approve_sync", "nap", "collect"),
            *("impatient", "parent", "launcher", "secret", "loud", "surrender", "undoing"),
        )
    ]
    again = {"retries": 1, "retry_errors": True, "backoff": 0}
    entrypoint = f"{service}_app:torn"
    flows.append({"name": "torn", "entrypoint": entrypoint, "durable": True, "limits": again})
    return koco.deploy(service, code, flows=flows, **{"runner": RUNNER, **more})


@pytest.fixture(scope="module")
def app(cluster: Koco) -> Koco:
    return deploy(cluster)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log"
    path.touch()
    return path


def words(log: Path) -> list[str]:
    """Return what steps have written down, in order."""
    return [line.split()[0] for line in log.read_text().splitlines()]


def follow(app: Koco, fid: str) -> Ended:
    return Ended(fid, app.events(fid))


def status_events(ended: Ended) -> list[dict[str, Any]]:
    return ended.of("status")


def steps(app: Koco, fid: str) -> dict[str, dict[str, Any]]:
    """Return the steps of an execution, by their keys."""
    return {each["key"]: each for each in app.get(f"/v1/executions/{fid}/steps")["items"]}


def until_parked(app: Koco, fid: str, status: str) -> None:
    def is_parked() -> bool:
        execution = app.get(f"/v1/executions/{fid}")
        return bool(execution["parked"]) and execution["status"] == status

    eventually(is_parked, within_s=20)


def answer(app: Koco, fid: str, name: str, value: Any) -> None:
    with app.http() as client:
        answered = client.post(f"/v1/executions/{fid}/locks/{name}", content=json.dumps(value))
    assert answered.status_code == 200, answered.text


def runners(app: Koco) -> list[int]:
    """Return the processes of this cluster's runners."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, IndexError, OSError):
            is_runner = process.cmdline()[0].startswith("ray::Runner")
            if is_runner and process.environ().get("KOCO_CLUSTER") == mark_of(app.home):
                found.append(process.pid)
    return found


def test_a_flow_goes_on_after_its_process_has_died(app: Koco, log: Path) -> None:
    """No recorded step runs again, nothing is printed twice, and the stream says what happened."""
    ended = app.execute("three", log=str(log), dies="b")
    assert (ended.status, ended.result) == ("finished", 1)
    assert words(log) == ["a", "b", "c"]
    assert ended.of("stdout") == ["begin", "after a", "after b", "after c"]
    [resumed] = [e for e in status_events(ended) if "resumed" in e]
    assert (resumed["status"], resumed["resumed"], resumed["after"]) == ("queued", 1, "note:1")
    assert "signal 9" in resumed["because"] or "SIGKILL" in resumed["because"]
    assert resumed["because"].startswith("its process ")
    shown = app.get(f"/v1/executions/{ended.fid}")
    assert (shown["resumed"], shown["attempt"], shown["attempts"]) == (1, 1, 1)
    assert "resumed" in app.run("show", ended.fid).ok().out


WEDGED = """
    import asyncio, time
    from koco import step

    @step
    async def note(log: str, word: str) -> str:
        with open(log, "a") as file:
            file.write(word + "\\n")
        return word

    async def nap(log: str):
        await note(log, "before")
        await asyncio.sleep(2)
        await note(log, "after")
        return "woke"

    async def wedge(tracer):
        await tracer.result("began")
        while True:
            try:
                time.sleep(600)
            except BaseException:
                pass
"""


def test_a_flow_that_blocks_its_process_keeps_no_durable_ones(cluster: Koco, log: Path) -> None:
    """It blocks the loop and ignores its cancellation; its neighbours go on in another process."""
    flows = [
        {"name": name, "entrypoint": f"wedged_app:{name}", "durable": True}
        for name in ("nap", "wedge")
    ]
    app = cluster.deploy(
        "wedged", WEDGED, flows=flows, runner={"min": 1, "max": 2, "concurrency": 4}
    )
    napping = [app.launch("wedged/nap", log=str(log)) for _ in range(2)]
    eventually(lambda: words(log) == ["before"] * 2)
    wedging = app.launch("wedged/wedge")
    eventually(lambda: any(e["payload"] == "began" for e in app.get_events(wedging)))
    with app.http() as client:
        client.post(f"/v1/executions/{wedging}/cancel", json={"grace_s": 0.5}).raise_for_status()
    assert app.events(wedging)[-1]["payload"] == {"status": "cancelled"}
    for fid in napping:
        ended = follow(app, fid)
        assert (ended.status, ended.result) == ("finished", "woke")
        said = json.dumps(status_events(ended))
        assert "blocked the event loop" in said, said
    assert sorted(words(log)) == ["after"] * 2 + ["before"] * 2


def test_dying_again_and_again_at_one_place_ends_it(app: Koco, log: Path) -> None:
    """After ten deaths without a new outcome it ends with the error that it would have had."""
    ended = app.execute("hopeless", log=str(log))
    assert ended.error["type"] == "RunnerDied"
    assert words(log) == ["once", *["died"] * words(log).count("died")]
    assert 9 <= words(log).count("died") <= 11


def test_retries_of_a_step_survive_its_process(app: Koco, log: Path) -> None:
    """The attempt that died with its process counts as an attempt, not as a failure."""
    ended = app.execute("retried", log=str(log))
    assert ended.result == 4
    step = steps(app, ended.fid)["shaky:0"]
    assert (step["attempt"], step["failures"], step["status"]) == (4, 2, "finished")


def test_large_results_are_kept_apart(app: Koco, log: Path) -> None:
    """A result above 1 MiB is the same after the process has died, and did not run again."""
    ended = app.execute("big", log=str(log))
    assert ended.result == ["bytes", 3_000_000, True]
    assert words(log) == ["large"]
    assert steps(app, ended.fid)["large:0"]["size_bytes"] >= 3_000_000
    store = Path(app.get("/v1/status")["store"]["path"])
    assert b"x" * 100_000 not in store.read_bytes()


def test_a_result_that_is_too_large_is_an_error_of_its_step(app: Koco, log: Path) -> None:
    """It says how large it is, and which setting limits it."""
    ended = app.execute("big", log=str(log), size=9_000_000)
    assert ended.error["type"].endswith("StepResultError")
    assert "max_step_mb" in ended.error["message"] + ended.error["traceback"]
    assert steps(app, ended.fid)["large:0"]["status"] == "error"


def test_an_error_is_resumed_from_the_step_that_failed(app: Koco, log: Path) -> None:
    """`koco resume` keeps the steps before; `--from` says which run again; `retry` keeps none."""
    failed = app.execute("three", log=str(log), fails="b")
    assert failed.error["message"] == "not mended"
    log.with_name("log.mended").touch()
    again = app.run("resume", failed.fid).ok().out.split()[0]
    assert follow(app, again).result == 1
    # The error was not a step's: all that is recorded is kept.
    assert words(log) == ["a", "b", "c"]
    shown = app.get(f"/v1/executions/{again}")
    assert shown["resume_of"] == failed.fid
    part = app.run("resume", failed.fid, "--from", "note:1").ok().out.split()[0]
    assert follow(app, part).result == 1
    assert words(log) == ["a", "b", "c", "b", "c"]
    fresh = app.run("retry", failed.fid).ok().out.split()[0]
    assert follow(app, fresh).result == 1
    assert words(log) == ["a", "b", "c", "b", "c", "a", "b", "c"]


def test_an_unknown_step_is_refused(app: Koco, log: Path) -> None:
    """The error names the steps that there are."""
    ended = app.execute("three", log=str(log))
    done = app.run("resume", ended.fid, "--from", "nowhere")
    assert done.code != 0
    assert "nowhere" in done.err
    assert "note" in done.err


def test_other_code_does_not_replay(cluster: Koco, log: Path) -> None:
    """On the live release with other steps it ends with both versions; its own release goes on."""
    app = deploy(cluster, "changing")
    failed = app.execute("three", log=str(log), fails="b")
    deploy(cluster, "changing", CHANGED)
    log.with_name("log.mended").touch()
    live = app.run("resume", failed.fid, "--release", "live").ok().out.split()[0]
    ended = follow(app, live)
    assert ended.error["type"].endswith("NonDeterministic")
    told = ended.error["message"] + ended.error["traceback"]
    assert '"b"' in told
    assert '"x"' in told
    own = app.run("resume", failed.fid).ok().out.split()[0]
    assert follow(app, own).result == 1


def test_messages_arrive_in_order_and_once(app: Koco, log: Path) -> None:
    """Those that came before the flow asked, and those that come while its runner is killed."""
    fid = app.launch("collect", log=str(log), count=4)
    for text in ("one", "two"):
        app.run("send", fid, "note", "-i", f"text={text}").ok()
    eventually(lambda: words(log) == ["one", "two"])
    for pid in runners(app):
        kill9(pid)
    for text in ("three", "four"):
        app.run("send", fid, "note", "-i", f"text={text}").ok()
    assert follow(app, fid).result == ["one", "two", "three", "four"]
    assert words(log) == ["one", "two", "three", "four"]
    late = app.run("send", fid, "note", "-i", "text=late")
    assert late.code != 0


@pytest.mark.parametrize("flow", ["approve", "approve-sync"])
def test_a_waiting_flow_gives_up_its_process(app: Koco, log: Path, flow: str) -> None:
    """It is `awaiting` without a runner; all of them may die; the answer brings it back."""
    fid = app.launch(flow, log=str(log))
    until_parked(app, fid, "awaiting")
    for pid in runners(app):
        kill9(pid)
    kill9(app.control_pid())
    time.sleep(1)
    assert app_is_parked(app, fid)
    answer(app, fid, "ok", {"yes": 1})
    ended = follow(app, fid)
    assert ended.result == [1, {"yes": 1}]
    assert words(log).count("after") == 1
    assert words(log).count("before") == (flow == "approve")
    assert app.get("/v1/locks")["items"] == []


def test_a_parked_execution_leaves_its_place_to_others(cluster: Koco, log: Path) -> None:
    """One runner that runs one execution at a time: others run there meanwhile, and after it."""
    app = deploy(cluster, "single", runner={"min": 1, "max": 1, "concurrency": 1})
    fids = [app.launch("loud", log=str(log)) for _ in range(2)]
    for fid in fids:
        until_parked(app, fid, "awaiting")
    other = app.execute("nap", log=str(log), seconds=0.1)
    assert other.of("stdout") == []
    for fid in reversed(fids):
        answer(app, fid, "ok", True)
    pids = {follow(app, fid).result for fid in fids}
    assert len(pids) == 1
    for fid in fids:
        said = follow(app, fid).of("stdout")
        assert sorted(said) == ["after", "before", "goes on", "waits"]


def app_is_parked(app: Koco, fid: str) -> bool:
    return bool(eventually(lambda: app.get(f"/v1/executions/{fid}"))["parked"])


def test_a_sleeping_flow_wakes_by_the_clock(app: Koco, log: Path) -> None:
    """It is `sleeping` meanwhile; a control plane that was away when the time came wakes it."""
    began = time.monotonic()
    fid = app.launch("nap", log=str(log), seconds=4)
    until_parked(app, fid, "sleeping")
    assert app.get("/v1/status")["executions"]["sleeping"] == 1
    pid = app.control_pid()
    os.kill(pid, signal.SIGSTOP)
    time.sleep(max(0.0, 4.5 - (time.monotonic() - began)))
    kill9(pid)
    ended = follow_again(app, fid)
    assert ended.result == "awake"
    assert words(log) == ["awake"]
    assert time.monotonic() - began >= 4


def follow_again(app: Koco, fid: str) -> Ended:
    """Follow an execution once the control plane is back."""
    return Ended(fid, eventually(lambda: app.events(fid)))


def test_a_message_that_does_not_come_in_time(app: Koco) -> None:
    """`receive` raises `TimeoutError`, also after the flow has been parked."""
    ended = app.execute("impatient")
    assert ended.result == "gave up"
    assert [s["status"] for s in steps(app, ended.fid).values()] == ["expired"]


def test_parked_executions_outlive_a_deploy(cluster: Koco, log: Path) -> None:
    """They go on with the code of their release; undeploying is refused while they are there."""
    app = deploy(cluster, "moving")
    fid = app.launch("approve", log=str(log))
    until_parked(app, fid, "awaiting")
    deploy(cluster, "moving", CHANGED)
    other = app.launch("approve", log=str(log))
    until_parked(app, other, "awaiting")
    refused = app.run("undeploy", "moving", "--yes")
    assert refused.code != 0
    assert fid[:4] in refused.err or "2 executions" in refused.err, refused.err
    answer(app, fid, "ok", 1)
    assert follow(app, fid).result == [1, 1]
    answer(app, other, "ok", 2)
    assert follow(app, other).result == [2, 2]
    app.run("undeploy", "moving", "--yes").ok()


def test_undeploying_cancels_what_is_parked(cluster: Koco, log: Path) -> None:
    """With --cancel it ends at once, and its lock is gone."""
    app = deploy(cluster, "leaving")
    fid = app.launch("approve", log=str(log))
    until_parked(app, fid, "awaiting")
    app.run("undeploy", "leaving", "--cancel", "--yes").ok()
    assert follow(app, fid).status == "cancelled"
    assert [each for each in app.get("/v1/locks")["items"] if each["fid"] == fid] == []


def test_a_parent_gets_its_childs_result(app: Koco, log: Path) -> None:
    """They know each other, and both are parked while the child sleeps."""
    fid = app.launch("parent", log=str(log))
    until_parked(app, fid, "sleeping")
    [child] = app.get("/v1/executions", parent=fid)["items"]
    assert child["parent"] == fid
    assert child["fid"] in app.run("ps", "-a", "--parent", fid, "--json").ok().out
    lines = app.run("logs", "-f", "--children", "--json", fid).ok().lines()
    assert {line["fid"] for line in lines} == {fid, child["fid"]}
    assert follow(app, fid).result == "awake"
    assert steps(app, fid)["call.durable.nap:0"]["child"] == child["fid"]


def test_a_childs_error_is_its_parents(app: Koco, log: Path) -> None:
    """It is raised in the parent, with the child's type, message and traceback."""
    ended = app.execute("parent", log=str(log), child="three", given={"fails": "a"})
    told = ended.error["message"] + ended.error["traceback"]
    assert ended.error["type"].endswith("FlowError")
    assert "ValueError" in told
    assert "not mended" in told
    assert "in three" in told


def test_cancelling_a_parent_cancels_its_children(app: Koco, log: Path) -> None:
    """Also if both are parked."""
    fid = app.launch("parent", log=str(log), given={"seconds": 600})
    until_parked(app, fid, "sleeping")
    [child] = app.get("/v1/executions", parent=fid)["items"]
    app.run("cancel", fid).ok()
    assert follow(app, fid).status == "cancelled"
    assert follow(app, child["fid"]).status == "cancelled"


def test_a_parent_undoes_what_a_cancelled_child_did(app: Koco, log: Path) -> None:
    """Although the child was parked, so that none of its own code ran when it was cancelled."""
    fid = app.launch("undoing", log=str(log))
    until_parked(app, fid, "sleeping")
    [child] = app.get("/v1/executions", parent=fid)["items"]
    until_parked(app, child["fid"], "sleeping")
    app.run("cancel", child["fid"]).ok()
    assert follow(app, fid).result == ["Cancelled", "undone"]


def test_giving_up_a_call_cancels_the_child(app: Koco, log: Path) -> None:
    """A replay of the flow gives it up again, launches no other and gets no error."""
    fid = app.launch("surrender", log=str(log))
    [child] = eventually(lambda: app.get("/v1/executions", parent=fid)["items"], within_s=20)
    app.run("send", fid, "enough").ok()
    assert follow(app, child["fid"]).status == "cancelled"
    assert follow(app, fid).result is True
    assert app.get(f"/v1/executions/{fid}")["resumed"] >= 1
    assert len(app.get("/v1/executions", parent=fid)["items"]) == 1


def test_a_retry_finds_the_child_of_the_former_attempt(app: Koco, log: Path) -> None:
    """The flow had ended with an error, and did not give its call up."""
    fid = app.launch("torn", log=str(log))
    assert follow(app, fid).result == ["awake", None]
    assert len(app.get("/v1/executions", parent=fid)["items"]) == 1


def test_a_launched_child_goes_on_alone(app: Koco, log: Path) -> None:
    """Its parent has the fid at once, and finishes before it."""
    ended = app.execute("launcher", log=str(log))
    assert ended.status == "finished"
    assert app.get(f"/v1/executions/{ended.result}")["finished"] is None
    assert follow(app, ended.result).result == "awake"


def test_encrypted_steps_are_not_readable_in_the_store(cluster: Koco) -> None:
    """Neither arguments nor results, nor what is shown of them."""
    app = deploy(cluster, "sealed", encrypt=True)
    ended = app.execute("secret", text="kept-from-everybody"[::-1])
    store = Path(app.get("/v1/status")["store"]["path"])
    content = b"".join(each.read_bytes() for each in store.parent.glob(f"{store.name}*"))
    assert ended.fid.encode() in content
    assert not any(each in content for each in _forms(b"kept-from-everybody"))
    shown = app.run("steps", ended.fid).ok().out
    assert "encrypted" in shown
    assert "kept-from" not in shown
    again = app.run("resume", ended.fid).ok().out.split()[0]
    assert follow(app, again).result == "done"


def _forms(text: bytes) -> list[bytes]:
    """Return a text as it is, and what is certain of it in base64, wherever it begins."""
    coded = [base64.b64encode(b"." * at + text)[4:-4] for at in range(3)]
    return [text, *coded]


def test_the_steps_of_an_execution_are_listed(app: Koco, log: Path) -> None:
    """As a table, as JSON, and exported for tests."""
    ended = app.execute("three", log=str(log))
    shown = app.run("steps", ended.fid).ok().out
    assert all(key in shown for key in ("note:0", "note:1", "note:2"))
    listed = app.run("steps", ended.fid, "--json").ok().json()["items"]
    assert [each["key"] for each in listed] == ["note:0", "note:1", "note:2"]
    assert [each["preview"] for each in listed] == ['"a"', '"b"', '"c"']
    app.run("steps", ended.fid, "--export", str(log.with_name("history.json"))).ok()
    history = json.loads(log.with_name("history.json").read_text())
    assert [each["key"] for each in history["steps"]] == ["note:0", "note:1", "note:2"]
