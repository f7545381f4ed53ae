"""`koco dev` at a terminal and without one, against a control plane of memory."""

import getpass
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from koco.errors import UnreachableError
from koco.manifest.rules import owner_name
from tests.support.memory_plane import KEY, Plane
from tests.support.typist import CTRL_C, Typist
from tests.unit.docs.test_stream import checked

SIZES = [(80, 24), (200, 50)]
MANIFEST = "service: hello\nflows:\n- name: greet\n  entrypoint: app:greet\n"


@pytest.fixture
def folder(plane: Plane, tmp_path: Path) -> Path:
    """A project whose service goes live at once."""
    root = tmp_path / "project"
    root.mkdir()
    (root / "koco.yaml").write_text(MANIFEST)
    (root / "app.py").write_text("def greet(): ...\n")
    plane.releases = [{"status": "live"}]
    plane.script = [("stdout", "hi"), ("final", {"n": 1}), ("status", {"status": "finished"})]
    return root


def env(plane: Plane) -> dict[str, str]:
    return {"KOCO_HOME": os.environ["KOCO_HOME"], "KOCO_URL": plane.url, "KOCO_KEY": KEY}


def typist(plane: Plane, folder: Path, *args: str, size: tuple[int, int] = (80, 24)) -> Typist:
    columns, rows = size
    return Typist(
        ["-m", "koco", "dev", *args], cwd=folder, env=env(plane), columns=columns, rows=rows
    )


def own(plane: Plane) -> str:
    """Return the name of the service that was deployed."""
    [names] = {
        tuple(each["manifest"]["service"] for each in data["services"])
        for method, path, data in plane.requests
        if (method, path) == ("POST", "/v1/plan")
    }
    return names[0]


def removed(plane: Plane) -> list[str]:
    return [path.partition("?")[0] for method, path, _ in plane.requests if method == "DELETE"]


def begun(plane: Plane) -> list[Any]:
    return [
        data
        for method, path, data in plane.requests
        if method == "POST" and path.endswith("/releases")
    ]


@pytest.mark.parametrize("size", SIZES)
def test_it_deploys_at_each_save_and_removes_its_service(
    plane: Plane, folder: Path, size: tuple[int, int]
) -> None:
    """Into a copy of one's own, without schedules; `q` leaves."""
    (folder / "koco.yaml").write_text(
        f"{MANIFEST}schedule:\n- {{flow: greet, cron: '0 7 * * *'}}\n"
    )
    with typist(plane, folder, size=size) as person:
        person.sees("release 3  live")
        person.sees("q leaves")
        (folder / "app.py").write_text("def greet(): return 1\n")
        person.sees("release 3  live")
        person.presses("q")
        assert person.leaves() == 0
        assert all(len(each) <= size[0] for each in person.seen.splitlines())
    service = own(plane)
    assert service.startswith("hello~")
    assert removed(plane)[0] == f"/v1/services/{service}"
    assert len(begun(plane)) >= 2
    assert "schedule" not in begun(plane)[0]["manifest"]


def test_a_broken_manifest_shows_once_and_recovers(plane: Plane, folder: Path) -> None:
    """Each save is tried; the same error is not repeated."""
    with typist(plane, folder) as person:
        person.sees("q leaves")
        (folder / "koco.yaml").write_text("service: [\n")
        person.sees("koco.yaml:")
        person.sees("waiting for the next change")
        (folder / "app.py").write_text("def greet(): return 1\n")
        person.sees("still the same error")
        (folder / "koco.yaml").write_text(MANIFEST)
        person.sees("release 3  live")
        person.presses("q")
        assert person.leaves() == 0


def test_a_release_that_fails_shows_its_traceback(plane: Plane, folder: Path) -> None:
    """And the command goes on."""
    error = {"message": "it broke", "detail": "Traceback\nValueError: no", "hint": None}
    with typist(plane, folder) as person:
        person.sees("q leaves")
        plane.releases = [{"status": "failed", "error": error}]
        (folder / "app.py").write_text("raise ValueError('no')\n")
        person.sees("ValueError: no")
        person.sees("it broke")
        plane.releases = [{"status": "live"}]
        (folder / "app.py").write_text("def greet(): ...\n")
        person.sees("release 3  live")
        person.presses("q")
        assert person.leaves() == 0


def test_it_runs_a_flow_after_each_deploy_and_compares(plane: Plane, folder: Path) -> None:
    """`r` runs it again with the same inputs, `l` lists what ran."""
    with typist(plane, folder) as person:
        person.sees("q leaves")
        plane.flows["greet"] = {
            **plane.flows["greet"],
            **{"name": f"{own(plane)}/greet", "service": own(plane), "form": None},
        }
        person.presses("q")
        assert person.leaves() == 0
    with typist(plane, folder, "--run", "greet", "-i", "who=Ada") as person:
        person.sees("hi")
        person.sees('finished: {"n": 1}')
        plane.script[1] = ("final", {"n": 2})
        (folder / "app.py").write_text("def greet(): return 2\n")
        person.sees('finished: {"n": 2}')
        person.sees('before: finished: {"n": 1}')
        person.presses("r")
        person.sees("as before")
        person.presses("l")
        person.sees("STATUS")
        person.presses("q")
        assert person.leaves() == 0
    launched = [data for _, path, data in plane.requests if path.startswith("/v1/flows/hello~")]
    launched = [each for each in launched if each]
    assert len(launched) >= 3  # the system may tell of one save twice
    assert launched == [{"who": "Ada"}] * len(launched)


def test_a_first_launch_asks_for_its_inputs(plane: Plane, folder: Path) -> None:
    """With the keyboard as usual meanwhile: Enter, corrections, an echo; then keys count again."""
    service = f"hello~{owner_name(getpass.getuser())}"
    mine = {"name": f"{service}/greet", "service": service}
    plane.flows["greet"] = {**plane.flows["greet"], **mine}
    with typist(plane, folder) as person:
        person.sees("q leaves")
        person.presses("r")
        for each in plane.flows["greet"]["form"]:
            if each.get("name"):
                person.types("Adx\x7fa\n" if each["name"] == "who" else "\n")
        person.sees("finished")
        person.presses("l")
        person.sees("STATUS")
        person.presses("q")
        assert person.leaves() == 0
    [data] = [
        data for _, path, data in plane.requests if path == f"/v1/flows/{service}/greet" and data
    ]
    assert data["who"] == "Ada"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_without_a_terminal_signals_clean_up(
    plane: Plane, folder: Path, number: signal.Signals, code: int
) -> None:
    """It follows until then; no key is read."""
    process = subprocess.Popen(
        [sys.executable, "-m", "koco", "dev"],
        cwd=folder,
        env={**os.environ, **env(plane)},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "live" in line:
            break
    process.send_signal(number)
    rest = process.stderr.read()
    assert process.wait(30) == code, rest
    assert "removing hello~" in rest
    assert removed(plane)


def test_ctrl_c_at_a_terminal_cleans_up(plane: Plane, folder: Path) -> None:
    """As `q`, with the exit code of Ctrl-C."""
    with typist(plane, folder) as person:
        person.types(CTRL_C, after="q leaves")
        person.sees("removing hello~")
        assert person.leaves() == 130


def test_what_a_killed_one_leaves_is_removed(plane: Plane, folder: Path) -> None:
    """By a process that waits for its end."""
    with typist(plane, folder) as person:
        person.sees("q leaves")
        assert removed(plane) == []
        person.process.kill()
        deadline = time.monotonic() + 30
        while not removed(plane):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert removed(plane) == [f"/v1/services/{own(plane)}"]


def test_inputs_need_a_flow_to_run(plane: Plane, folder: Path) -> None:
    """Or they would be ignored."""
    done = subprocess.run(
        [sys.executable, "-m", "koco", "dev", "-i", "who=Ada"],
        cwd=folder,
        env={**os.environ, **env(plane)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "need --run" in done.stderr


@contextmanager
def piped(plane: Plane, folder: Path, *args: str) -> Iterator["subprocess.Popen[str]"]:
    """Run `koco dev --json` without a terminal."""
    with subprocess.Popen(
        [sys.executable, "-m", "koco", "dev", "--json", *args],
        cwd=folder,
        env={**os.environ, **env(plane)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def until(process: "subprocess.Popen[str]", kind: str) -> list[dict[str, Any]]:
    """Return the lines up to the next one of a kind, each as the contract of streams says."""
    assert process.stdout is not None
    found: list[dict[str, Any]] = []
    for line in process.stdout:
        found += checked(line)
        if found[-1]["kind"] == kind:
            return found
    raise AssertionError(f"no {kind} in {found}")


def test_json_tells_of_deploys_and_events(plane: Plane, folder: Path) -> None:
    """Each deploy ends with `deployed`; the last line is the command's own status."""
    service = f"hello~{owner_name(getpass.getuser())}"
    mine = {"name": f"{service}/greet", "service": service, "form": None}
    plane.flows["greet"] = {**plane.flows["greet"], **mine}
    with piped(plane, folder, "--run", "greet") as process:
        first = until(process, "deployed")
        kinds = [each["kind"] for each in first]
        assert kinds == ["plan", "bundled", "uploaded", "release", "live", "deployed"]
        assert first[-2]["payload"]["service"] == service
        assert first[-1]["payload"]["status"] == "finished"
        events = until(process, "status")
        assert {each["fid"] for each in events} and events[-1]["payload"]["status"] == "finished"
        (folder / "koco.yaml").write_text("service: [\n")
        [*_, broken] = until(process, "deployed")
        assert broken["payload"]["exit_code"] == 2
        assert broken["payload"]["error"]["code"] == "invalid_manifest"
        (folder / "koco.yaml").write_text(MANIFEST)
        [*_, mended] = until(process, "deployed")
        assert mended["payload"]["status"] == "finished"
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None and process.stderr is not None
        [*_, last] = checked(process.stdout.read())
        assert (last["kind"], last["payload"]["exit_code"]) == ("status", 143)
        assert process.wait(30) == 143
        assert "removing hello~" in process.stderr.read()


def test_json_tells_of_a_failed_release(plane: Plane, folder: Path) -> None:
    """`failed` has the release and its traceback, and the command goes on."""
    error = {"message": "it broke", "detail": "Traceback\nValueError: no", "hint": None}
    plane.releases = [{"status": "failed", "error": error}]
    with piped(plane, folder) as process:
        [*_, failed, end] = until(process, "deployed")
        assert failed["kind"] == "failed" and failed["payload"]["error"]["detail"].endswith("no")
        assert end["payload"]["exit_code"] == 5
        process.send_signal(signal.SIGINT)
        [*_, last] = until(process, "status")
        assert last["payload"]["exit_code"] == process.wait(30) == 130


def test_json_ends_with_an_error_if_it_cannot_begin(plane: Plane, folder: Path) -> None:
    """As other streams do."""
    with piped(plane, folder, "-i", "who=Ada") as process:
        [status] = until(process, "status")
        assert status["payload"]["exit_code"] == process.wait(30) == 2


def planned(plane: Plane) -> int:
    return sum(path == "/v1/plan" for _, path, _ in plane.requests)


def waits_for(condition: Any) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_only_sources_trigger_a_deploy(plane: Plane, folder: Path) -> None:
    """Neither its own output in the folder, nor what a rule leaves out; an ignore file does."""
    (folder / ".gitignore").write_text("logs/\n")
    (folder / "logs").mkdir()
    log = folder / "dev.log"
    with (
        log.open("w") as output,
        subprocess.Popen(
            [sys.executable, "-m", "koco", "dev", "--json"],
            cwd=folder,
            env={**os.environ, **env(plane)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            waits_for(lambda: '"deployed"' in log.read_text())
            time.sleep(1)  # the system may tell late of what was written before
            count = planned(plane)
            for at in range(5):
                (folder / "logs" / "app.log").write_text(str(at))
                (folder / ".env").write_text(f"A={at}")
                time.sleep(0.2)
            assert planned(plane) == count
            (folder / ".kocoignore").write_text("app.txt\n")
            waits_for(lambda: planned(plane) > count)
        finally:
            process.terminate()


def test_a_save_without_a_change_says_nothing(plane: Plane, folder: Path) -> None:
    """A touched file is looked at, and that is all."""
    with piped(plane, folder) as process:
        until(process, "deployed")
        plane.steps[own(plane)] = {"action": "unchanged", "release": 3}
        count, launches = planned(plane), len(begun(plane))
        os.utime(folder / "app.py", (1, 1))
        waits_for(lambda: planned(plane) > count)
        plane.steps.clear()
        (folder / "app.py").write_text("def greet(): return 1\n")
        [first, *_, last] = until(process, "deployed")
        assert first["payload"]["items"][0]["action"] == "create"
        assert last["payload"]["status"] == "finished"
        assert len(begun(plane)) > launches


def test_a_save_replaces_the_first_deploy(plane: Plane, folder: Path) -> None:
    """Which may take minutes, if the code cannot start."""
    plane.releases = [{"status": "starting"}]
    with typist(plane, folder) as person:
        waits_for(lambda: len(begun(plane)) == 1)
        time.sleep(0.5)
        (folder / "app.py").write_text("def greet(): return 1\n")
        waits_for(lambda: len(begun(plane)) == 2)
        plane.releases = [{"status": "live"}]
        person.sees("release 3  live")
        person.presses("q")
        assert person.leaves() == 0


def test_a_control_plane_that_does_not_answer_is_waited_for(
    plane: Plane, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after a deploy; it is asked again, without another save."""
    monkeypatch.setenv("KOCO_RESTART_WAIT", "0.1")
    slow = UnreachableError("it does not answer in time")
    gone: list[bool] = []

    def twist(answer: Any) -> Any:
        method, path, _ = plane.requests[-1]
        if not gone and method == "GET" and "/releases/" in path:  # then the flows are asked for
            gone.append(True)
            plane.refuses = slow
        return answer

    plane.twist = twist
    with piped(plane, folder) as process:
        [*_, failed] = until(process, "deployed")
        assert failed["payload"]["exit_code"] == 3
        time.sleep(1)
        assert process.poll() is None and removed(plane) == []
        plane.refuses = None
        [*_, last] = until(process, "deployed")
        while last["payload"]["status"] != "finished":
            [*_, last] = until(process, "deployed")
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        assert "waiting for it" in process.stderr.read()
