"""`koco schedule`, against the real API: list, pause, resume, trigger."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from koco.events.model import Status
from koco.store.model import AuditQuery
from tests.support import whole_api
from tests.support.api_server import Api, serving
from tests.unit.conftest import Cli, Use

MANIFEST = {
    "service": "svc",
    "flows": [{"name": "flow", "entrypoint": "m:f"}],
    "schedule": [
        {"flow": "flow", "cron": "0 6 * * *", "timezone": "Europe/Berlin", "inputs": {"n": 1}},
        {"flow": "flow", "cron": "0 18 * * *", "overlap": True},
    ],
}


@pytest.fixture
def api(tmp_path: Path, use: Use) -> Iterator[Api]:
    with serving(tmp_path / "data") as api:
        api.call(whole_api.complete(api, given=MANIFEST))
        api.call(api.parts.schedules.refresh(time.time()))
        api.admit("dora", "deploy", "launch")
        use(api.url, "dora")
        yield api


def ids(cli: Cli) -> list[str]:
    """Return the ids of the schedule of six o'clock and of that of eighteen."""
    items = json.loads(cli("schedule", "list", "--json").out)["items"]
    return [each["id"] for each in sorted(items, key=lambda each: len(str(each["cron"])))]


def test_lists_schedules(api: Api, cli: Cli) -> None:
    """All, or those of a flow."""
    ran = cli("schedule", "list")
    assert ran.out.splitlines()[0] == "id\tflow\tcron\ttimezone\tnext\tlast\tfid\tpaused"
    assert "svc/flow\t0 6 * * *\tEurope/Berlin" in ran.out
    assert len(cli("schedule", "list", "flow").out.splitlines()) == 3
    assert cli("schedule", "list", "other").code == 4


def test_pauses_and_resumes_one(api: Api, cli: Cli) -> None:
    """By its id or the start of it. It is in the audit log."""
    six, _ = ids(cli)
    ran = cli("schedule", "pause", six[:6])
    assert (ran.code, ran.out) == (0, f"{six}\tsvc/flow\t0 6 * * *\tpaused\n")
    ran = cli("schedule", "list")
    assert [line.split("\t")[-1] for line in ran.out.splitlines()[1:]].count("yes") == 1
    assert f"{six} svc/flow: paused by dora" in ran.err
    assert "paused by dora" in cli("flows", "flow").out
    assert cli("schedule", "resume", six).code == 0
    assert "yes" not in cli("schedule", "list").out
    entries = api.call(api.parts.store.audit.page(AuditQuery())).items
    done = [(each.action, each.target) for each in entries]
    assert ("pause_schedule", six[:6]) in done and ("resume_schedule", six) in done


def test_pauses_all_of_a_flow(api: Api, cli: Cli) -> None:
    """One of them alone cannot be resumed then."""
    six, _ = ids(cli)
    assert len(cli("schedule", "pause", "svc/flow").out.splitlines()) == 2
    ran = cli("schedule", "resume", six)
    assert (ran.code, "all schedules of svc/flow are paused" in ran.err) == (2, True)
    items = json.loads(cli("schedule", "resume", "flow", "--json").out)["items"]
    assert [each["paused"] for each in items] == [None, None]


def test_triggers_one(api: Api, cli: Cli) -> None:
    """With its inputs, as the caller; its last run must have ended unless it may overlap."""
    six, eighteen = ids(cli)
    ran = cli("schedule", "trigger", "flow")
    assert (ran.code, "flow has 2 schedules" in ran.err) == (2, True)
    cli("schedule", "pause", six)
    fid = cli("schedule", "trigger", six, "--key", "k").out.strip()
    made = api.call(api.parts.store.executions.get(fid))
    assert (made.user, made.inputs) == ("dora", {"n": 1})
    assert cli("schedule", "trigger", six, "--key", "k").out.strip() == fid
    ran = cli("schedule", "trigger", six)
    assert (ran.code, f"has not ended: {fid}" in ran.err) == (2, True)
    assert cli("schedule", "trigger", eighteen).code == 0
    assert cli("schedule", "trigger", eighteen).code == 0
    api.call(api.parts.store.executions.settle(fid, Status.CANCELLED))
    assert cli("schedule", "trigger", six).code == 0


def test_scopes(api: Api, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """To pause needs `deploy`, to trigger `launch`; other flows are as if they did not exist."""
    monkeypatch.setenv("KOCO_KEY", "ada")
    assert cli("schedule", "pause", "flow").code == 6
    assert cli("schedule", "resume", "flow").code == 6
    api.admit("carl", "deploy", "launch", flows=("other/*",))
    monkeypatch.setenv("KOCO_KEY", "carl")
    assert json.loads(cli("schedule", "list", "--json").out)["items"] == []
    assert cli("schedule", "pause", "svc/flow").code == 4
