"""Many executions at once, and schedules, with a real control plane."""

import json
import signal
import time

import pytest

from tests.support.driver import Koco, eventually

CODE = """
    import asyncio

    async def check(city: str, size: int = 1) -> dict:
        if size < 0:
            raise ValueError(f"{city} has no size")
        await asyncio.sleep(0.05)
        return {"city": city, "size": size * 2}

    async def wait() -> None:
        await asyncio.sleep(600)
"""


@pytest.fixture(scope="module")
def many(koco: Koco) -> Koco:
    """A service whose flow `check` is due every second."""
    schedule = [{"flow": "check", "cron": "* * * * * *", "inputs": {"city": "Ulm"}}]
    return koco.deploy("many", CODE, schedule=schedule, runner={"concurrency": 100})


def test_a_paused_schedule_stays_paused(many: Koco) -> None:
    """Over a deploy that changes it, until it is resumed; it can be triggered meanwhile."""
    eventually(lambda: many.run("ps", "-a", "--user", "schedule", "--json").json()["items"])
    many.run("schedule", "pause", "many/check").ok()
    schedule = [{"flow": "check", "cron": "*/2 * * * * *", "inputs": {"city": "Bonn"}}]
    many.deploy("many", CODE, schedule=schedule, runner={"concurrency": 100})
    time.sleep(2.5)  # launches that were under way
    before = len(many.run("ps", "-a", "--flow", "many/check", "--json").json()["items"])
    time.sleep(4)
    after = len(many.run("ps", "-a", "--flow", "many/check", "--json").json()["items"])
    assert before == after
    done = many.run("schedule", "trigger", "many/check", "--wait", "--json").ok()
    assert done.lines()[-1]["result"] == {"city": "Bonn", "size": 2}
    [item] = many.run("schedule", "list", "--json").json()["items"]
    assert (item["next"], item["paused"]["flow"], item["missed"]) == (None, True, 0)
    assert many.run("schedule", "resume", item["id"]).code == 2
    many.run("schedule", "resume", "many/check").ok()
    last = item["fid"]
    eventually(lambda: many.run("schedule", "list", "--json").json()["items"][0]["fid"] != last)
    many.run("schedule", "pause", "many/check").ok()


def test_run_each_goes_on_after_ctrl_c(many: Koco) -> None:
    """Each line is launched once, whatever happens to the command."""
    file = many.root / "cities.csv"
    lines = [f"city{number},{number}" for number in range(300)]
    file.write_text("city,size\n" + "\n".join([*lines, "Atlantis,-1", "Rome,big"]) + "\n")
    args = ("run", "check", "--each", str(file), "--parallel", "10")
    results = many.root / "cities.csv.results.jsonl"
    process = many.popen(*args)
    eventually(lambda: results.exists() and len(results.read_text().splitlines()) > 30)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "the same command goes on from here" in err
    done = many.run(*args)
    assert done.code == 1, done.err
    assert f"{file}:303: size: " in done.err
    rows = [json.loads(line) for line in results.read_text().splitlines()]
    finished = {row["result"]["city"]: row["fid"] for row in rows if row["status"] == "finished"}
    assert len(finished) == 300
    assert finished.keys() == {line.partition(",")[0] for line in lines}
    [failed] = [row for row in rows if row["status"] == "error"]
    assert (failed["line"], failed["error"]["message"]) == (302, "Atlantis has no size")
    # Nothing was launched twice.
    fids = {row["fid"] for row in rows if row["fid"]}
    with many.http() as client:
        query = {"flow": "many/check", "user": "admin", "limit": 1000, "fields": "fid,inputs"}
        items = client.get("/v1/executions", params=query).json()["items"]
    launched = [item["fid"] for item in items if item["inputs"]["city"].startswith("city")]
    assert len(launched) == 300 and set(launched) <= fids


def test_yesterdays_failures_are_retried_once(many: Koco) -> None:
    """Found, counted and retried by one command; the next one has nothing left to do."""
    fids = [many.launch("check", city=f"bad{number}", size=-1) for number in range(5)]
    many.run("wait", *fids, "--timeout", "60")
    args = ("retry", "--status", "error", "--since", "yesterday", "--search", "bad*")
    refused = many.run(*args)
    assert (refused.code, "this would retry 5 executions" in refused.err) == (2, True)
    lines = many.run(*args, "--yes", "--json").ok().lines()
    assert {line["fid"] for line in lines} == set(fids)
    news = [line["new"] for line in lines]
    many.run("wait", *news, "--timeout", "60")
    again = many.run(*args, "--yes", "--json").ok().lines()
    assert {line["fid"] for line in again} == set(news)


def test_many_are_cancelled_and_deleted(many: Koco) -> None:
    """By filters; those that are named and refuse are told apart."""
    fids = [many.launch("wait") for _ in range(5)]
    done = many.run("cancel", "--flow", "many/wait", "--yes", "--wait", "--json").ok()
    assert {line["fid"] for line in done.lines()} == set(fids)
    assert {line["status"] for line in done.lines()} == {"cancelled"}
    assert many.run("cancel", *fids[:2]).code == 2
    done = many.run("delete", "--flow", "many/wait", "--since", "yesterday", "--yes").ok()
    assert len(done.out.splitlines()) == 5
    assert many.run("show", fids[0]).code == 4
