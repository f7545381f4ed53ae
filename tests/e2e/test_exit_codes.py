"""Every exit code of the table in docs/exit-codes.md, each from the real command line."""

import json
import signal
import time

import pytest

from tests.support.driver import Koco, calm_s, eventually

CODE = """
    import time

    def fine():
        return "ok"

    def fails():
        raise ValueError("no good")

    def sleeps(seconds: float = 60):
        time.sleep(seconds)

    def counts(n: int):
        return n

    def asks(tracer):
        return tracer.lock_sync("approval")
"""


@pytest.fixture(scope="module")
def app(koco: Koco) -> Koco:
    return koco.deploy("codes", CODE, runner={"max": 4})


@pytest.mark.parametrize("how", [["--wait"], ["-f"]])
def test_0_fine(app: Koco, how: list[str]) -> None:
    """The execution finished."""
    assert app.run("run", "codes/fine", *how).code == 0


@pytest.mark.parametrize("how", [["--wait"], ["-f"]])
def test_1_the_execution_ended_in_error(app: Koco, how: list[str]) -> None:
    """Whoever waits or follows gets the outcome; later commands on it do as well."""
    assert app.run("run", "codes/fails", *how).code == 1
    assert app.run("wait", "-").code == 1
    assert app.run("logs", "-f").code == 1
    done = app.run("result", "latest")
    assert done.code == 1
    assert "no good" in done.err


def test_2_usage_and_validation(app: Koco) -> None:
    """Unknown commands and options, refused inputs, broken manifests."""
    assert app.run("logz").code == 2
    assert "logs" in app.run("logz").err
    assert app.run("ps", "--bogus").code == 2
    done = app.run("run", "codes/counts", "-i", "n=many", "-i", "m=1")
    assert done.code == 2
    assert "n: " in done.err
    assert "m: " in done.err
    broken = app.root / "broken.yaml"
    broken.write_text("service: UPPER\nflows: []\nbogus: 1\n")
    done = app.run("validate", str(broken))
    assert done.code == 2
    assert "broken.yaml:1:" in done.err
    assert "broken.yaml:3:" in done.err


def test_3_unreachable(app: Koco) -> None:
    """Nothing answers: said quickly, with what to do."""
    began = calm_s()
    done = app.run("ps", env={"KOCO_URL": "http://127.0.0.1:9", "KOCO_KEY": "koco_x"})
    assert done.code == 3
    assert "hint:" in done.err
    assert calm_s() - began < 10
    assert app.run("ps", env={"KOCO_HOME": str(app.root / "nowhere")}).code == 3


def test_4_not_found(app: Koco) -> None:
    """No such flow, execution or context."""
    assert app.run("run", "nosuchflow").code == 4
    assert app.run("show", "zzzzzzzz").code == 4
    assert app.run("--context", "nosuch", "ps").code == 4


def test_5_deploy_failed(app: Koco) -> None:
    """The release did not become ready; with --json the error is JSON on stderr."""
    root = app.project("codes-broken", "import nosuchmodule\ndef flow():\n    pass\n")
    done = app.run("deploy", cwd=root)
    assert done.code == 5
    assert "nosuchmodule" in done.err
    done = app.run("deploy", "--json", cwd=root)
    assert done.code == 5
    *steps, last = done.lines()
    assert {line["payload"]["service"] for line in steps if line["kind"] != "plan"} == {
        "codes-broken"
    }
    assert (last["kind"], last["payload"]["exit_code"]) == ("status", 5)


def test_6_not_allowed(app: Koco) -> None:
    """A key that is not known."""
    env = {"KOCO_URL": app.context["url"], "KOCO_KEY": "koco_wrong"}
    done = app.run("ps", env=env)
    assert done.code == 6
    assert "koco_wrong" not in done.err


def test_7_cancelled(app: Koco) -> None:
    """Whoever waits for an execution that is cancelled is told so."""
    fid = app.launch("sleeps")
    waiting = app.popen("wait", fid)
    eventually(lambda: app.get(f"/v1/executions/{fid}")["status"] == "running")
    app.run("cancel", fid, "--grace", "1").ok()
    waiting.communicate(timeout=30)
    assert waiting.returncode == 7
    assert app.run("logs", "-f", fid).code == 7


def test_8_a_person_is_awaited(app: Koco) -> None:
    """Who must not ask gives up at once, also on one that awaited before; it goes on."""
    done = app.run("run", "codes/asks", "--wait", "--no-input")
    assert done.code == 8
    fid = done.out.strip()
    assert f"koco answer {fid}" in done.err
    assert app.run("wait", fid, "--no-input").code == 8
    assert (
        json.loads(app.run("wait", fid, "--no-input", "--json").err)["error"]["code"] == "awaiting"
    )
    app.run("answer", fid, "-i", "ok=yes").ok()
    assert app.run("wait", fid, "--no-input").code == 0


def test_124_timed_out(app: Koco) -> None:
    """The wait ends, the execution goes on."""
    fid = app.launch("sleeps", seconds=8)
    assert app.run("wait", fid, "--timeout", "0.5").code == 124
    assert app.run("run", "codes/sleeps", "-i", "seconds=5", "-f", "--timeout", "0.5").code == 124
    assert app.get(f"/v1/executions/{fid}")["status"] == "running"


def test_130_interrupted(app: Koco) -> None:
    """Ctrl-C in a wait."""
    fid = app.launch("sleeps", seconds=8)
    process = app.popen("wait", fid)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in err
