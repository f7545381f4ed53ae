"""The main job as a user does it: scaffold, deploy, run, follow, result."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.driver import Koco


@pytest.fixture(scope="module")
def hello(koco: Koco) -> Koco:
    """The `hello` template, scaffolded and deployed."""
    koco.run("init", "hello").ok()
    koco.run("deploy", cwd=koco.root / "hello").ok()
    return koco


def test_a_template_is_deployed_run_and_followed(hello: Koco) -> None:
    """`koco run -f` shows what the flow wrote and ends with its outcome."""
    done = hello.run("run", "greet", "-i", "who=Ada", "-f").ok()
    assert "Ada" in done.out
    assert "\x1b" not in done.out, "colours in a pipe"


def test_run_prints_the_fid_and_nothing_else(hello: Koco) -> None:
    """So that scripts may write fid=$(koco run …)."""
    done = hello.run("run", "greet").ok()
    assert len(done.out.split()) == 1
    fid = done.out.strip()
    hello.run("wait", fid).ok()
    shown = hello.run("show", fid[:9], "--json").ok().json()
    assert (shown["fid"], shown["status"]) == (fid, "finished")
    result = hello.run("result", fid, "--json").ok().json()
    assert result["status"] == "finished"


def test_a_script_with_set_e_works(hello: Koco) -> None:
    """Launch, wait, read the result, in a shell that stops at the first failure."""
    script = """
        set -euo pipefail
        fid=$(python -m koco run greet -i who=Bob)
        python -m koco wait "$fid" --timeout 60
        python -m koco logs "$fid" --json | head -n 1
        python -m koco logs "$fid" -f --json | python -c '
import json, sys
events = [json.loads(line) for line in sys.stdin]
assert events[-1]["payload"] == {"status": "finished"}, events[-1]'
        python -m koco result "$fid"
    """
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script],
        env={**hello.env, "PATH": path},
        cwd=hello.root,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    waited, first, *result = done.stdout.splitlines()
    assert waited.split()[1] == "finished"
    assert json.loads(first)["seq"] == 1
    assert "Bob" in "".join(result)


def test_a_second_deploy_says_unchanged(hello: Koco) -> None:
    """Nothing changed, nothing is done, exit 0."""
    done = hello.run("deploy", cwd=hello.root / "hello").ok()
    assert "unchanged" in done.out


def test_lists_and_status_are_json_that_scripts_rely_on(hello: Koco) -> None:
    """`{items, next}` everywhere, and the keys of the status."""
    for command in (["ps", "-a"], ["flows"]):
        answer = hello.run(*command, "--json").ok().json()
        assert set(answer) == {"items", "next"}
        assert answer["items"]
    status = hello.run("status", "--json").ok().json()
    assert {"control_plane", "ray", "store", "executions"} <= set(status)


def test_ctrl_c_leaves_the_execution_running_and_says_how_to_come_back(koco: Koco) -> None:
    """Exit 130; the hint's command follows on."""
    code = """
        import asyncio
        async def ticks(tracer, count: int = 20):
            for number in range(count):
                await tracer.result(number)
                await asyncio.sleep(0.1)
    """
    koco.deploy("ticking", code)
    process = koco.popen("run", "ticks", "-f")
    assert process.stdout
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    fid = koco.get("/v1/executions/latest")["fid"]
    assert f"koco logs -f {fid}" in err
    assert koco.get(f"/v1/executions/{fid}")["status"] == "running"
    assert koco.run("logs", "-f", fid).ok().out


def test_a_closed_pipe_ends_quietly(koco: Koco, hello: Koco) -> None:
    """`koco logs … | head -1` leaves no traceback."""
    fid = hello.run("run", "greet", "--wait").ok().out.strip()
    script = f"{sys.executable} -m koco logs {fid} --json | head -n 1"
    done = subprocess.run(
        ["bash", "-c", script], env=koco.env, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert json.loads(done.stdout)["seq"] == 1


@pytest.mark.parametrize("no_color", [False, True])
def test_in_a_terminal_markdown_is_rendered(hello: Koco, no_color: bool) -> None:
    """A terminal gets rich output at its width; NO_COLOR takes the colours away."""
    fid = hello.run("run", "greet", "--wait").ok().out.strip()
    leader, follower = pty.openpty()
    env = {"TERM": "xterm-256color", **({"NO_COLOR": "1"} if no_color else {})}
    process = hello.popen("logs", fid, stdout=follower, stderr=follower, text=None, env=env)
    os.close(follower)
    shown = b""
    while True:
        try:
            data = os.read(leader, 65536)
        except OSError:
            break
        if not data:
            break
        shown += data
    assert process.wait(30) == 0
    os.close(leader)
    text = shown.decode()
    assert "Hello, World!" in text
    assert "# Hello" not in text, "Markdown as it was written"
    assert "\x1b[" in text
    colours = re.findall(r"\x1b\[[0-9;]*\b(?:3[0-7]|9[0-7]|38)[0-9;]*m", text)
    assert not (no_color and colours), colours


def test_logs_choose_what_they_show(hello: Koco) -> None:
    """--tail, --since, --kind, --timestamps; nothing or `-` is the latest."""
    hello.run("run", "greet", "--wait").ok()
    everything = hello.run("logs", "--json").ok().lines()
    assert hello.run("logs", "-", "--json").ok().lines() == everything
    assert hello.run("logs", "--json", "--tail", "2").ok().lines() == everything[-2:]
    assert hello.run("logs", "--json", "--since", "3").ok().lines() == everything[3:]
    final = hello.run("logs", "--json", "--kind", "final").ok().lines()
    assert [event["kind"] for event in final] == ["final"]
    stamped = hello.run("logs", "--timestamps", "--kind", "stdout").ok().out
    assert str(time.gmtime().tm_year) in stamped or ":" in stamped


def test_inputs_from_a_file_and_stdin(hello: Koco) -> None:
    """`--inputs` takes JSON or YAML, `-` is stdin, -i is put over it."""
    file = hello.root / "inputs.yaml"
    file.write_text("who: Grace\n")
    assert "Grace" in hello.run("run", "greet", "--inputs", str(file), "-f").ok().out
    piped = hello.run("run", "greet", "--inputs", "-", "-f", stdin='{"who": "Edsger"}').ok()
    assert "Edsger" in piped.out
    over = hello.run("run", "greet", "--inputs", str(file), "-i", "who=Alan", "-f").ok()
    assert "Alan" in over.out
