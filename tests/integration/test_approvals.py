"""Approvals on real runners: asking, answering, expiring, and everything dying meanwhile."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.driver import Koco, calm_s, eventually, kill9
from tests.support.typist import Typist

CODE = """
    import asyncio, os, threading
    import ray

    async def ask(tracer, data=None, seconds: float = 600.0, name: str = "any"):
        await tracer.result(os.getpid())
        answer = await tracer.lock(name, data, timeout=seconds)
        return {"answer": answer, "type": type(answer).__name__}

    def ask_sync(tracer, data=None, seconds: float = 600.0, name: str = "any"):
        tracer.result_sync(os.getpid())
        answer = tracer.lock_sync(name, data, seconds)
        return {"answer": answer, "type": type(answer).__name__}

    async def several(tracer):
        asked = [tracer.lock(name, name) for name in ("a", "b", "b")]
        return await asyncio.gather(*asked, asyncio.to_thread(tracer.lock_sync, "c"))

    @ray.remote(num_cpus=0)
    def _task(tracer, number):
        return tracer.lock_sync("task", {"number": number})

    @ray.remote(num_cpus=0)
    class _Actor:
        async def ask(self, tracer):
            return await tracer.lock("actor")

    def tasks(tracer):
        actor = _Actor.remote()
        return ray.get([*(_task.remote(tracer, n) for n in range(2)), actor.ask.remote(tracer)])

    def left_behind(tracer):
        error = []

        def wait():
            try:
                tracer.lock_sync("nobody")
            except Exception as exc:
                print(type(exc).__name__, exc, file=open(os.environ["KOCO_SAID"], "w"))

        threading.Thread(target=wait, daemon=True).start()
        while not tracer.fid or not os.path.exists(os.environ["KOCO_SAID"] + ".go"):
            import time; time.sleep(0.01)

    async def impatient(tracer):
        try:
            await asyncio.wait_for(tracer.lock("hurry"), 0.3)
        except TimeoutError:
            await tracer.result("gave up")
        return await tracer.lock("next")

    async def tidy(tracer):
        try:
            await tracer.lock("any")
        finally:
            await tracer.result("tidied up")

    def tidy_sync(tracer):
        try:
            tracer.lock_sync("any")
        finally:
            tracer.result_sync("tidied up")

    def bad(tracer, name: str = "x", seconds: float = 1.0):
        tracer.lock_sync(name, timeout=seconds)

    def odd(tracer):
        return tracer.lock_sync("any", {"odd": object()})
"""

LOCKS = {
    "review": [
        {"type": "boolean", "name": "ok"},
        {"type": "number", "name": "stars", "required": True, "max_value": 5},
        {"type": "date", "name": "day"},
        {"type": "submit", "text": "Send"},
    ]
}


@pytest.fixture(scope="module")
def app(koco: Koco) -> Koco:
    env = {"KOCO_SAID": str(koco.root / "said")}
    return koco.deploy(
        "approve", CODE, runner={"max": 6, "min": 2}, locks=LOCKS, runtime={"env": env}
    )


def locks(app: Koco, fid: str, count: int = 1) -> list[dict[str, Any]]:
    """Return an execution's open locks, once there are so many."""

    def there() -> list[dict[str, Any]] | None:
        items = app.get(f"/v1/executions/{fid}/locks")["items"]
        found = [lock for lock in items if lock["status"] == "open"]
        return found if len(found) == count else None

    found: list[dict[str, Any]] = eventually(there)
    return found


def answer(app: Koco, fid: str, lock: str, value: Any) -> Any:
    with app.http() as client:
        # Not `json=`: with None that sends no body.
        return client.post(f"/v1/executions/{fid}/locks/{lock}", content=json.dumps(value))


def statuses(events: list[dict[str, Any]]) -> list[str]:
    return [e["payload"]["status"] for e in events if e["kind"] == "status"]


@pytest.mark.parametrize("flow", ["ask", "ask-sync"])
def test_a_flow_waits_for_a_person(app: Koco, flow: str) -> None:
    """It awaits, is in the inbox, gets the answer, and its stream tells of all that."""
    fid = app.launch(flow, data={"page": 1})
    [lock] = locks(app, fid)
    assert app.get(f"/v1/executions/{fid}")["status"] == "awaiting"
    assert app.get("/v1/status")["executions"]["awaiting"] == 1
    assert [each["lid"] for each in app.get("/v1/locks", flow=f"approve/{flow}")["items"]] == [
        lock["lid"]
    ]
    shown = app.get(f"/v1/executions/{fid}/locks/any")
    assert (shown["data"], shown["form"]) == ({"page": 1}, None)
    answered = answer(app, fid, "any", {"ok": True})
    assert answered.status_code == 200, answered.text
    assert (answered.json()["answer"], answered.json()["by"]) == ({"ok": True}, "admin")
    events = app.events(fid)
    assert events[-2]["payload"] == {"answer": {"ok": True}, "type": "dict"}
    assert statuses(events) == [
        *("queued", "starting", "running", "awaiting", "running", "finished"),
    ]
    kinds = [event["kind"] for event in events]
    # What was written before the question comes before it.
    assert kinds.index("result") < kinds.index("lock") < kinds.index("lease")


@pytest.mark.parametrize("flow", ["ask", "ask-sync"])
@pytest.mark.parametrize("value", [None, False, 0, "", {}, []])
def test_falsy_answers_release_like_any_other(app: Koco, flow: str, value: Any) -> None:
    """The flow gets that very value."""
    fid = app.launch(flow)
    locks(app, fid)
    assert answer(app, fid, "any", value).status_code == 200
    assert app.events(fid)[-2]["payload"] == {"answer": value, "type": type(value).__name__}


def test_several_are_open_at_once(app: Koco) -> None:
    """Two of one name, one of a thread; each gets its own answer, and the last one wakes it."""
    fid = app.launch("several")
    found = locks(app, fid, 4)
    assert answer(app, fid, "b", 0).status_code == 409  # which one?
    for number, lock in enumerate(found):
        assert app.get(f"/v1/executions/{fid}")["status"] == "awaiting"
        value = {"name": lock["name"], "number": number}
        assert answer(app, fid, lock["lid"], value).status_code == 200
    events = app.events(fid)
    assert [each["name"] for each in events[-2]["payload"]] == ["a", "b", "b", "c"]
    assert len({each["number"] for each in events[-2]["payload"]}) == 4
    assert statuses(events).count("awaiting") == 1


def test_ray_tasks_and_actors_ask(app: Koco) -> None:
    """Each gets the answer to its own question."""
    fid = app.launch("tasks")
    for lock in locks(app, fid, 3):
        value = lock["data"]["number"] * 10 + 1 if lock["name"] == "task" else "actor"
        assert answer(app, fid, lock["lid"], value).status_code == 200
    assert app.events(fid)[-2]["payload"] == [1, 11, "actor"]


@pytest.mark.parametrize("flow", ["ask", "ask-sync"])
def test_it_expires(app: Koco, flow: str) -> None:
    """`TimeoutError` in the flow, an event that says so, and no answer any more."""
    fid = app.launch(flow, seconds=0.3)
    events = app.events(fid)
    [lease] = [e["payload"] for e in events if e["kind"] == "lease"]
    assert (lease["name"], lease["outcome"]) == ("any", "expired")
    assert events[-2]["payload"]["type"] == "TimeoutError"
    assert "nobody answered the lock 'any' within 0.3 s" in events[-2]["payload"]["message"]
    late = answer(app, fid, "any", 1)
    assert late.status_code == 409
    assert "expired at" in late.json()["detail"]


def test_the_manifests_form_checks_the_answer(app: Koco) -> None:
    """422 with all messages by field leaves it open; what passes is typed."""
    fid = app.launch("ask", name="review")
    locks(app, fid)
    assert [each["type"] for each in app.get(f"/v1/executions/{fid}/locks/review")["form"]] == [
        *("boolean", "number", "date", "submit"),
    ]
    refused = answer(app, fid, "review", {"stars": 9, "day": "soon", "more": 1})
    assert refused.status_code == 422
    assert set(refused.json()["errors"]) == {"stars", "day", "more"}
    assert app.get(f"/v1/executions/{fid}")["status"] == "awaiting"
    assert answer(app, fid, "review", {"ok": "on", "stars": "4", "day": "2026-01-31"}).is_success
    assert app.events(fid)[-2]["payload"]["answer"] == {"ok": True, "stars": 4, "day": "2026-01-31"}


def test_two_people_at_once_one_wins(app: Koco) -> None:
    """Of sixteen answers at the same time exactly one counts; the others are told of it."""
    fid = app.launch("ask")
    locks(app, fid)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda number: answer(app, fid, "any", number), range(16)))
    [won] = [each.json()["answer"] for each in answers if each.status_code == 200]
    lost = [each for each in answers if each.status_code == 409]
    assert len(lost) == 15
    assert all("was answered by admin at" in each.json()["detail"] for each in lost)
    assert app.events(fid)[-2]["payload"]["answer"] == won


@pytest.mark.parametrize("flow", ["ask", "ask-sync", "tasks"])
def test_the_control_plane_dies_while_it_waits(app: Koco, flow: str) -> None:
    """The lock is there as before, and its answer reaches the flow, tasks of it included."""
    fid = app.launch(flow)
    before = locks(app, fid, 3 if flow == "tasks" else 1)
    pid = app.control_pid()
    kill9(pid)
    eventually(lambda: app.control_pid() != pid)
    assert locks(app, fid, len(before)) == before
    for lock in before:
        assert answer(app, fid, lock["lid"], "after").status_code == 200
    events = app.events(fid)
    assert events[-1]["payload"] == {"status": "finished"}, events[-2]
    assert json.dumps(events[-2]["payload"]).count("after") == len(before)
    assert statuses(events).count("awaiting") == 1


def test_it_expires_though_the_control_plane_was_away(app: Koco) -> None:
    """The time that has passed meanwhile counts."""
    fid = app.launch("ask", seconds=1.0)
    [lock] = locks(app, fid)
    kill9(app.control_pid())
    events = eventually(lambda: app.events(fid))
    assert events[-2]["payload"]["type"] == "TimeoutError"
    [lease] = [e for e in events if e["kind"] == "lease"]
    assert lease["ts"] >= lock["expires"]


def test_the_runner_dies_while_it_waits(app: Koco) -> None:
    """The execution ends with the cause, the lock is withdrawn, and nobody can answer."""
    fid = app.launch("ask")
    locks(app, fid)
    kill9(next(e["payload"] for e in app.get_events(fid) if e["kind"] == "result"))
    events = app.events(fid)
    assert events[-2]["payload"]["type"] == "RunnerDied"
    [lock] = app.get(f"/v1/executions/{fid}/locks")["items"]
    assert lock["status"] == "withdrawn"
    assert answer(app, fid, "any", 1).status_code == 409
    assert app.get("/v1/locks")["items"] == []


@pytest.mark.parametrize("flow", ["tidy", "tidy-sync"])
def test_cancelled_while_it_waits(app: Koco, flow: str) -> None:
    """It may tidy up, as always, and is gone at once, not after its grace period."""
    fid = app.launch(flow)
    locks(app, fid)
    began = calm_s()
    with app.http() as client:
        client.post(f"/v1/executions/{fid}/cancel", json={"grace_s": 30}).raise_for_status()
    events = app.events(fid)
    assert calm_s() - began < 10
    assert events[-1]["payload"] == {"status": "cancelled"}
    assert "tidied up" in [e["payload"] for e in events if e["kind"] == "result"]
    assert [each["status"] for each in app.get(f"/v1/executions/{fid}/locks")["items"]] == [
        "withdrawn"
    ]


def test_who_gives_up_withdraws_the_lock(app: Koco) -> None:
    """`asyncio.wait_for` leaves nothing in the inbox; the flow goes on to its next question."""
    fid = app.launch("impatient")
    eventually(lambda: [e for e in app.get_events(fid) if e["payload"] == "gave up"])
    [lock] = eventually(lambda: _named(locks(app, fid), "next"))
    answer(app, fid, lock["lid"], 1)
    events = app.events(fid)
    assert events[-2]["payload"] == 1
    outcomes = [e["payload"]["outcome"] for e in events if e["kind"] == "lease"]
    assert outcomes == ["withdrawn", "answered"]


def test_what_still_waits_when_it_ends_gets_an_error(app: Koco) -> None:
    """A thread that the entrypoint left behind hears that nobody can answer any more."""
    said = app.root / "said"
    fid = app.launch("left-behind")
    locks(app, fid)
    (app.root / "said.go").touch()
    assert app.events(fid)[-1]["payload"] == {"status": "finished"}
    eventually(lambda: said.exists() and said.read_text().endswith("\n"))
    assert said.read_text().startswith("ConflictError the execution has ended")


@pytest.mark.parametrize(("name", "seconds"), [("a b", 1), ("x", -1), ("x", 1e9)])
def test_what_makes_no_sense_is_an_error_in_the_flow(app: Koco, name: str, seconds: float) -> None:
    """Nobody is asked."""
    ended = app.execute("bad", name=name, seconds=seconds)
    assert ended.error["type"].endswith("UsageError")
    assert ended.of("lock") == []


def test_data_that_is_no_json_is_shown_as_its_repr(app: Koco) -> None:
    """It does not fail the flow."""
    fid = app.launch("odd")
    [lock] = locks(app, fid)
    assert lock["data"]["odd"]["$repr"].startswith("<object object")
    answer(app, fid, "any", 1)
    assert app.events(fid)[-2]["payload"] == 1


def test_the_routes_of_locks(app: Koco) -> None:
    """They need a key, refuse what makes no sense, and page."""
    fids = [app.launch("ask") for _ in range(3)]
    found = [locks(app, fid)[0] for fid in fids]
    paths = ("/v1/locks", f"/v1/executions/{fids[0]}/locks", f"/v1/executions/{fids[0]}/locks/any")
    with app.http(headers={}) as nobody, app.http() as client:
        assert [nobody.get(path).status_code for path in paths] == [401] * 3
        assert nobody.post(paths[2], content="1").status_code == 401
        for query in ({"status": "shut"}, {"limit": 0}, {"limit": 1001}, {"cursor": "x"}):
            assert client.get(paths[0], params=query).status_code == 400, query
        for body in ("", "{", "nan", "[" * 40_000):
            assert client.post(paths[2], content=body).status_code == 400, body[:9]
        assert client.get(f"{paths[1]}/nosuch").status_code == 404
        assert client.post("/v1/executions/zzzz/locks/any", content="1").status_code == 404
    first = app.get("/v1/locks", flow="approve/ask", limit=2)
    second = app.get("/v1/locks", flow="approve/ask", limit=2, cursor=first["next"])
    assert second["next"] is None
    lids = {lock["lid"] for lock in found}
    assert {lock["lid"] for lock in first["items"] + second["items"]} == lids
    for fid in fids:
        assert answer(app, fid, "any", 1).status_code == 200
    answered = app.get("/v1/locks", status="answered", limit=1000)["items"]
    assert lids <= {lock["lid"] for lock in answered}


def test_the_command_line_answers(app: Koco) -> None:
    """`koco inbox`, `answer`, `show`; `wait --no-input` exits with 8, `wait` with the outcome."""
    fid = app.launch("ask", name="review", data={"page": 7})
    locks(app, fid)
    assert fid in app.run("inbox").ok().out
    assert "awaits    review" in app.run("show", fid).ok().out
    assert "awaiting" in app.run("ps").ok().out
    gave_up = app.run("wait", fid, "--no-input")
    assert gave_up.code == 8
    assert f"koco answer {fid}" in gave_up.err
    refused = app.run("answer", fid, "-i", "stars=6")
    assert refused.code == 2
    app.run("answer", fid, "-i", "stars=5", "-i", "ok=no").ok()
    assert app.run("wait", fid, "--no-input").ok().out == f"{fid}\tfinished\n"
    assert app.run("result", fid).ok().json()["answer"]["stars"] == 5
    logs = app.run("logs", fid).ok().out
    assert "lock: review waits for an answer until" in logs
    assert 'lease: review answered by admin: {"ok": false, "stars": 5, "day": null}' in logs


def test_run_and_follow_at_a_terminal_answers_on_the_spot(app: Koco) -> None:
    """The form is asked for where the stream is read; the control plane may die meanwhile."""
    args = ("run", "approve/ask", "-i", "name=review", "-i", 'data={"page": 7}', "-f")
    with Typist(["-m", "koco", *args], env={"KOCO_HOME": str(app.home)}) as typist:
        typist.sees('"page": 7', within_s=30)
        typist.sees("Answer review now?")
        pid = app.control_pid()
        kill9(pid)
        eventually(lambda: app.control_pid() != pid)
        typist.types("\n")
        typist.types("y\n")
        typist.types("9\n")
        typist.sees("at most 5")
        typist.types("4\n")
        typist.types("2026-01-31\n")
        typist.sees("lease: review answered by admin", within_s=30)
        typist.sees('"type": "dict"')
        assert typist.leaves(within_s=30) == 0, typist.seen


def _named(found: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [lock for lock in found if lock["name"] == name]
