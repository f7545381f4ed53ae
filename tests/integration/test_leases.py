"""Locks and leases of a service's own endpoint, on a real Serve."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.integration.test_approvals import answer, locks
from tests.support.driver import Koco, eventually

CODE = """
import asyncio

import fastapi

from koco import InputsError, Launch, ServeAPI, Tracer, forms as F

RELEASE = "first"
app = ServeAPI()
ran = []


@app.enter("/ask", model=F.Model(F.InputText(name="lock"), F.InputText(name="text")))
async def enter(request: fastapi.Request, inputs: dict):
    return Launch(request, ask, inputs=inputs)


async def ask(tracer: Tracer, inputs: dict):
    answer = await tracer.lock(inputs["lock"], {"text": inputs["text"]})
    if isinstance(answer, dict) and "day" in answer:
        return {name: type(value).__name__ for name, value in answer.items()}
    return answer


@app.lock("approval")
async def approval(data: dict):
    return F.Model(F.Checkbox(name="ok", option=data["text"]), F.InputNumber(name="n"))


@app.lease("approval")
async def approved(inputs: dict, data: dict):
    ran.append(1)
    await asyncio.sleep(0.2)
    if data["text"] == "fail":
        raise RuntimeError("on its own")
    if not inputs["ok"]:
        raise InputsError("It must be approved.", n="not so few")
    return {"text": data["text"], "n": inputs["n"], "ran": len(ran), "release": RELEASE}


@app.lock("plain")
def plain(data: dict):
    return F.Model(F.Checkbox(name="ok"))


@app.lock("dated")
def dated(data: dict):
    return F.Model(F.InputDate(name="day"), F.InputTime(name="at"))


@app.lock("pass")
def ask_pass(data: dict):
    return F.Model(F.InputPassword(name="pin"))


@app.lock("moved")
def moved(data: dict):
    return F.Model(F.InputDate(name="day"))


@app.lease("moved")
def later(inputs: dict):
    return {"day": inputs["day"], "text": str(inputs["day"])}
"""


@pytest.fixture(scope="module")
def app(koco: Koco) -> Koco:
    return koco.deploy(
        "leases",
        CODE,
        flows=[],
        app="leases_app:app",
        locks={
            "declared": [{"type": "text", "name": "why", "required": True}],
            "declared-day": [{"type": "date", "name": "day"}],
            "pin": [{"type": "password", "name": "pin", "required": True}],
        },
        runner={"concurrency": 50, "max": 1},
    )


def asked(app: Koco, lock: str, text: str = "x") -> str:
    fid = app.launch("ask", lock=lock, text=text)
    locks(app, fid)
    return fid


def result(app: Koco, fid: str) -> Any:
    return app.events(fid)[-2]["payload"]


def test_the_form_is_made_from_the_data(app: Koco) -> None:
    """And the answer is checked by it, and made by the lease."""
    fid = asked(app, "approval", "Is it fine?")
    form = app.get(f"/v1/executions/{fid}/locks/approval")["form"]
    assert form[0]["option"] == "Is it fine?"
    refused = answer(app, fid, "approval", {"n": "many", "m": 1})
    assert refused.status_code == 422
    assert set(refused.json()["errors"]) == {"n", "m"}
    answered = answer(app, fid, "approval", {"ok": True, "n": "3"})
    assert answered.json()["answer"] == result(app, fid)
    assert (result(app, fid)["text"], result(app, fid)["n"]) == ("Is it fine?", 3)


@pytest.mark.parametrize(
    ("lock", "given", "types"),
    [
        ("dated", {"day": "2026-02-03", "at": "10:30"}, {"day": "date", "at": "time"}),
        ("moved", {"day": "2026-02-03"}, {"day": "date", "text": "str"}),
        ("declared-day", {"day": "2026-02-03"}, {"day": "date"}),
    ],
)
def test_dates_in_answers_are_dates_in_the_flow(
    app: Koco, lock: str, given: dict[str, str], types: dict[str, str]
) -> None:
    """Of a form that nothing leases, of a lease, and of the manifest's form."""
    fid = asked(app, lock)
    assert answer(app, fid, lock, given).status_code == 200
    assert result(app, fid) == types


@pytest.mark.parametrize("lock", ["pin", "pass"])
def test_passwords_reach_the_flow_and_nobody_else(app: Koco, lock: str) -> None:
    """Of the manifest's form and of the app's: neither the stream nor the API shows them."""
    fid = asked(app, lock)
    told = answer(app, fid, lock, {"pin": "s3cret"})
    assert told.json()["answer"] == {"pin": "********"}
    assert result(app, fid) == {"pin": "s3cret"}  # which is what this flow returns
    [lease] = [each["payload"] for each in app.events(fid) if each["kind"] == "lease"]
    assert lease["answer"] == {"pin": "********"}
    assert "s3cret" not in str(app.get(f"/v1/executions/{fid}/locks"))


def test_a_lease_that_refuses_leaves_the_lock_open(app: Koco) -> None:
    """Its messages by field; one that fails is an error of the endpoint, and the lock is open."""
    fid = asked(app, "approval")
    refused = answer(app, fid, "approval", {"ok": False})
    assert refused.status_code == 422
    assert refused.json()["errors"] == {"n": ["not so few"], "_global_": ["It must be approved."]}
    assert app.get(f"/v1/executions/{fid}")["status"] == "awaiting"
    assert answer(app, fid, "approval", {"ok": True}).status_code == 200
    fid = asked(app, "approval", "fail")
    failed = answer(app, fid, "approval", {"ok": True})
    assert failed.status_code == 502
    assert "on its own" in failed.json()["detail"]
    assert app.get(f"/v1/executions/{fid}")["status"] == "awaiting"
    app.run("cancel", fid, "--wait").ok()


def test_the_lease_runs_once_where_many_answer_at_once(app: Koco) -> None:
    """The others are told who was first, and nothing has been done twice."""
    before = answer(app, asked(app, "approval"), "approval", {"ok": True}).json()["answer"]["ran"]
    fid = asked(app, "approval")
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda n: answer(app, fid, "approval", {"ok": 1, "n": n}), range(8))
        )
    assert sorted(each.status_code for each in answers) == [200] + [409] * 7
    assert result(app, fid)["ran"] == before + 1


def test_without_a_lease_the_values_pass_through(app: Koco) -> None:
    """Of the app's form, of the manifest's, and of none."""
    for lock, given, got in (
        ("plain", {"ok": "on"}, {"ok": True}),
        ("declared", {"why": "so"}, {"why": "so"}),
        ("neither", [0], [0]),
    ):
        fid = asked(app, lock)
        assert answer(app, fid, lock, given).status_code == 200
        assert result(app, fid) == got


def test_a_release_answers_for_its_own_executions(app: Koco) -> None:
    """One that was launched before a redeploy is asked and answered by the release it has."""
    fid = asked(app, "approval")
    app.deploy(
        "leases",
        CODE.replace('RELEASE = "first"', 'RELEASE = "second"'),
        flows=[],
        app="leases_app:app",
        runner={"concurrency": 50, "max": 1},
    )
    other = asked(app, "approval")
    eventually(lambda: answer(app, other, "approval", {"ok": True}).status_code == 200)
    assert answer(app, fid, "approval", {"ok": True}).status_code == 200
    assert result(app, fid)["release"] == "first"
    assert result(app, other)["release"] == "second"
