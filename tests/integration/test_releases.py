"""Releases over time on a real cluster: history, going back, undeploying, and dying in between."""

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx

from tests.support.driver import Done, Koco, eventually, kill9

GOOD = "def answer():\n    return {value}\n"
BAD = "raise RuntimeError('at import')\ndef answer():\n    pass\n"
FLOWS = {"flows": [{"name": "answer", "entrypoint": "app:answer"}]}

#: Has an endpoint of its own, which takes its time: Serve imports it once more.
SLOWLY_UP = """
    import time
    import fastapi
    from koco import Launch, ServeAPI, forms as F

    app = ServeAPI()
    time.sleep(2)

    @app.enter("/", model=F.Model(F.Submit("Go")))
    async def enter(request: fastapi.Request, inputs: dict):
        return Launch(request, "rising_app:run", inputs=inputs)

    def run():
        return 1
    """

#: Waits for a file of the test's, on this machine.
WAITS = """
    import os, time

    def answer(gate: str):
        while not os.path.exists(gate):
            time.sleep(0.05)
        return "ended"
    """


def put(koco: Koco, service: str, code: str) -> Path:
    """Write a project whose flow `answer` is in `app.py`; return its directory."""
    root = koco.project(service, "", **FLOWS)
    (root / "app.py").write_text(code)
    return root


def deploy(koco: Koco, service: str, code: str, *args: str) -> Done:
    return koco.run("deploy", *args, cwd=put(koco, service, code))


def releases(koco: Koco, service: str) -> list[Any]:
    items: list[Any] = koco.run("releases", service, "--json").ok().json()["items"]
    return items


def killed(process: "subprocess.Popen[str]") -> None:
    """See a command die on the spot, as by `kill -9`."""
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_a_rollback_brings_the_former_code_back(koco: Koco) -> None:
    """It is a release of its own, with the old one's bundle; who, when, and what it took."""
    root = put(koco, "back", GOOD.format(value=1))
    git = ["git", "-c", "user.name=ada", "-c", "user.email=a@b.c"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "one"]):
        subprocess.run([*git, *words], cwd=root, check=True)
    koco.run("deploy", cwd=root).ok()
    (root / "app.py").write_text(GOOD.format(value=2))
    koco.run("deploy", cwd=root).ok()
    done = koco.run("rollback", "back").ok()
    assert done.out.startswith("back  release 3  live")
    assert koco.execute("back/answer").result == 1
    third, second, first = releases(koco, "back")
    assert [each["status"] for each in (third, second, first)] == ["live", "retired", "retired"]
    assert third["bundle"] == first["bundle"]
    assert third["origin"] == {**first["origin"], "rollback_of": 1}
    assert (first["origin"]["project"], first["origin"]["dirty"]) == ("back", False)
    assert (second["origin"]["commit"], second["origin"]["dirty"]) == (
        first["origin"]["commit"],
        True,
    )
    assert first["timings"].keys() == {"upload", "environment", "import"}
    assert first["timings"]["environment"] > first["timings"]["import"] > 0
    assert koco.run("rollback", "back", "3").code == 2, "it is the live one"


def test_a_rollback_under_way_survives_the_control_plane(koco: Koco) -> None:
    """Killed in the middle of it, the control plane takes it up again; the command waits on."""
    slow = "import time\ntime.sleep(2)\n" + GOOD
    deploy(koco, "turning", slow.format(value=1)).ok()
    deploy(koco, "turning", GOOD.format(value=2)).ok()
    process = koco.popen("rollback", "turning")

    def starting() -> bool:
        if process.poll() is not None:
            raise RuntimeError(f"it ended before: {process.communicate()}")
        return bool(koco.get("/v1/services/turning/releases/3")["status"] == "starting")

    eventually(starting)
    kill9(koco.control_pid())
    out, err = process.communicate(timeout=90)
    assert process.returncode == 0, (out, err)
    assert koco.execute("turning/answer").result == 1
    assert len(releases(koco, "turning")) == 3


def test_a_deploy_whose_endpoint_comes_up_survives_the_control_plane(koco: Koco) -> None:
    """Killed while Serve starts it; afterwards there is one release, and one application."""
    root = koco.project("rising", SLOWLY_UP, app="rising_app:app", flows=[])
    process = koco.popen("deploy", cwd=root)
    eventually(lambda: "rising" in applications(koco))
    kill9(koco.control_pid())
    out, err = process.communicate(timeout=90)
    assert process.returncode == 0, (out, err)
    assert koco.execute("rising").result == 1
    [release] = releases(koco, "rising")
    assert release["timings"].keys() >= {"environment", "import", "replicas"}
    koco.run("undeploy", "rising", "--yes").ok()
    eventually(lambda: "rising" not in applications(koco))


def applications(koco: Koco) -> str:
    """Return what Serve runs, or is to run, as text."""
    token = (koco.root / "token").read_text()
    url = f"http://127.0.0.1:{koco.context['cluster']['dashboard']}/api/serve/applications/"
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.get(url, headers=headers, trust_env=False).text


def test_where_it_is_asked_for_nothing_serves_after_a_failure(koco: Koco) -> None:
    """Launches are refused with the reason, though the control plane dies; a rollback mends it."""
    deploy(koco, "strict", GOOD.format(value=1)).ok()
    done = deploy(koco, "strict", BAD, "--no-rollback-on-failure")
    assert done.code == 5
    assert "nothing serves now" in done.err
    kill9(koco.control_pid())
    eventually(koco.control_pid)
    refused = koco.run("run", "strict/answer")
    assert refused.code == 2, refused
    assert "release 2 failed" in refused.err
    assert "koco rollback strict" in refused.err
    assert "strict" in koco.run("status").ok().out
    koco.run("rollback", "strict").ok()
    assert koco.execute("strict/answer").result == 1


def test_undeploying_drains_through_the_control_planes_death(koco: Koco, tmp_path: Path) -> None:
    """It refuses first, then launches nothing more, lets what runs end, and is done then."""
    gate = str(tmp_path / "gate")
    koco.deploy("leaving", WAITS)
    fid = koco.launch("leaving/answer", gate=gate)
    eventually(lambda: koco.get(f"/v1/executions/{fid}")["status"] == "running")
    refused = koco.run("undeploy", "leaving", "--yes")
    assert refused.code == 2
    assert "1 execution has not ended (1 running)" in refused.err
    assert koco.run("undeploy", "leaving", "--drain").code == 2, "nobody said --yes"
    process = koco.popen("undeploy", "leaving", "--drain", "--yes")
    eventually(lambda: not koco.get("/v1/services/leaving")["deployed"])
    assert koco.run("run", "leaving/answer").code == 4
    assert "release 1 draining" in koco.run("status").ok().out
    kill9(koco.control_pid())
    eventually(lambda: koco.get("/v1/services/leaving")["executions"] == {"running": 1})
    assert process.poll() is None
    Path(gate).touch()
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "leaving  undeployed (release 1)\n"), err
    assert koco.events(fid)[-1]["payload"]["status"] == "finished"
    eventually(lambda: koco.get("/v1/services/leaving")["runners"] == 0)
    assert koco.run("undeploy", "leaving", "--yes").ok().out == "leaving  not deployed\n"
    koco.deploy("leaving", WAITS)
    assert [each["number"] for each in releases(koco, "leaving")] == [2, 1]


def test_undeploying_can_cancel(koco: Koco, tmp_path: Path) -> None:
    """What runs and what is queued; the command is done when they are."""
    koco.deploy("cut", WAITS, runner={"max": 1})
    fids = [koco.launch("cut/answer", gate=str(tmp_path / "never")) for _ in range(3)]
    eventually(lambda: koco.get(f"/v1/executions/{fids[0]}")["status"] == "running")
    done = koco.run("undeploy", "cut", "--cancel", "--grace", "0.5", "--yes").ok()
    assert done.out == "cut  undeployed (release 1)\n"
    ended = [koco.get(f"/v1/executions/{fid}")["status"] for fid in fids]
    assert ended == ["cancelled"] * 3


def test_an_upload_that_was_killed_goes_on(koco: Koco) -> None:
    """`kill -9` amid it; the next deploy sends what is missing, and is the first release."""
    root = put(koco, "large", GOOD.format(value=4))
    (root / "blob.bin").write_bytes(os.urandom(48 * 2**20))
    parts = koco.home / "local" / "parts"
    process = koco.popen("deploy", cwd=root)
    eventually(lambda: any(part.stat().st_size > 2**20 for part in parts.glob("*")))
    killed(process)
    [part] = parts.glob("*")
    sha256 = part.name.partition("-")[2]
    with koco.http() as client:
        held = int(client.head(f"/v1/bundles/{sha256}").headers["Upload-Offset"])
    assert 2**20 < held < 48 * 2**20
    began = part.stat().st_ino
    koco.run("deploy", "--timeout", "120", cwd=root).ok()
    blob = koco.home / "local" / "blobs" / sha256[:2] / sha256
    assert blob.stat().st_ino == began, "the same file, not another one"
    assert koco.execute("large/answer").result == 4
    assert len(releases(koco, "large")) == 1


def test_a_deploy_that_was_killed_is_found_under_way(koco: Koco) -> None:
    """Before its upload there is nothing; once its release is starting, the next one waits."""
    root = put(koco, "cutoff", "import time\ntime.sleep(3)\n" + GOOD.format(value=5))
    process = koco.popen("deploy", cwd=root)
    assert process.stderr is not None
    for line in process.stderr:
        if "bundled" in line:
            break
    killed(process)
    process = koco.popen("deploy", cwd=root)
    assert process.stderr is not None
    for line in process.stderr:
        if "is starting" in line:
            break
    killed(process)
    koco.run("deploy", cwd=root).ok()
    assert koco.execute("cutoff/answer").result == 5
    assert len(releases(koco, "cutoff")) == 1


def test_who_deploys_again_hears_of_the_failure_whenever_that_comes(koco: Koco) -> None:
    """Before its plan, between that and its release, or after: nobody else has changed anything."""
    deploy(koco, "doomed", GOOD.format(value=6)).ok()
    root = put(koco, "doomed", "import time\ntime.sleep(2)\n" + BAD)
    process = koco.popen("deploy", cwd=root)
    assert process.stderr is not None
    for line in process.stderr:
        if "is starting" in line:
            break
    killed(process)
    again = []
    for _ in range(6):
        again.append(koco.popen("deploy", cwd=root))
        time.sleep(0.4)
    for each in again:
        _, err = each.communicate(timeout=60)
        assert each.returncode == 5, err
        assert "RuntimeError: at import" in err
    assert koco.execute("doomed/answer").result == 6
