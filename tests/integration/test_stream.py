"""What commands write with --json, and what the doctor finds, with a real control plane."""

import os
import signal

import jsonschema
import psutil

from koco.events import schema
from tests.support.driver import Done, Koco

CODE = """
    def work(tracer, fail: bool = False):
        tracer.debug_sync("a word")
        print("a line")
        if fail:
            raise RuntimeError("as asked")
        return {"any": 1}
"""

SCHEMA = jsonschema.Draft202012Validator(schema.json_schema())


def kinds(done: Done) -> list[str]:
    """Return the kinds of a stream's lines; each is as the schema says, and stdout is no more."""
    lines = done.lines()
    for line in lines:
        SCHEMA.validate(line)
        assert line["kind"] in (schema.EVENTS if "seq" in line else schema.STEPS)
    assert lines[-1]["kind"] == "status"
    return [line["kind"] for line in lines]


def test_all_streams_are_of_one_contract(koco: Koco) -> None:
    """Deploys that work, change nothing, fail, go back; executions; the doctor."""
    root = koco.project("streams", CODE)
    steps = kinds(koco.run("deploy", "--yes", "--json", cwd=root).ok())
    steps = [each for each in steps if each != "waiting"]  # how long it takes is the machine's
    assert steps == ["plan", "bundled", "uploaded", "release", "live", "status"]
    assert "unchanged" in kinds(koco.run("deploy", "--json", cwd=root).ok())
    ran = koco.run("run", "streams/work", "-f", "--json").ok()
    assert kinds(ran)[-3:] == ["stdout", "final", "status"]
    assert koco.run("logs", "-", "--json").ok().out == ran.out
    failed = koco.run("run", "streams/work", "-f", "--json", "-i", "fail=true")
    assert (failed.code, kinds(failed)[-2:]) == (1, ["error", "status"])

    koco.project("streams", "\n    import no_such_module" + CODE)
    broken = koco.run("deploy", "--json", cwd=root)
    assert (broken.code, kinds(broken)[-2:]) == (5, ["failed", "status"])
    koco.project("streams", CODE.replace("a word", "two words"))
    koco.run("deploy", cwd=root).ok()
    assert kinds(koco.run("rollback", "streams", "--json").ok())[-2:] == ["live", "status"]


def test_the_doctor_finds_nothing_and_then_a_runner_that_does_not_answer(koco: Koco) -> None:
    """An event travels; what is silent is named, and nothing is waited for that never comes."""
    koco.deploy("patient", CODE)
    well = koco.run("doctor", "--json")
    found = {line["payload"]["name"]: line["payload"] for line in well.lines()[:-1]}
    assert kinds(well)[:3] == ["check"] * 3
    assert found["events"]["status"] == found["store"]["status"] == "ok", found
    assert found["ray"]["message"].endswith("token mode token")
    executions = koco.get("/v1/executions")["items"]
    assert all(each["service"] for each in executions), "the proof is in no list"

    pid = runner_pid(koco)
    os.kill(pid, signal.SIGSTOP)
    try:
        silent = koco.run("doctor", "--json")
    finally:
        os.kill(pid, signal.SIGCONT)
    messages = [line["payload"].get("message", "") for line in silent.lines()]
    assert any("no answer within 2 s" in each and "patient" in each for each in messages), messages


def runner_pid(koco: Koco) -> int:
    """Return the process of the one runner of `patient`."""
    for process in psutil.process_iter():
        try:
            env = process.environ()
        except (psutil.Error, OSError):
            continue
        if env.get("KOCO_SERVICE") == "patient" and env.get("KOCO_HOME") == str(koco.home):
            return int(process.pid)
    raise AssertionError("no runner of patient")
