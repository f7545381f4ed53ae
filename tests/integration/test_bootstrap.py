"""`koco up --ray`: a Ray cluster of somebody else's gets a control plane by its dashboard alone.

The cluster is a virtual environment with Ray and nothing else, neither koco nor what
koco needs; the command line runs where Ray cannot be imported.
"""

import contextlib
import importlib.metadata
import os
import signal
import ssl
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from koco.bootstrap import local_head
from tests.support.certificates import make_certificate
from tests.support.driver import APP, Koco, eventually, kill9

#: An environment is made, and another for koco: half a minute each on a machine that is busy.
pytestmark = pytest.mark.timeout(400)

#: When Ray forgets a package that nothing needs (seconds): ten minutes by default.
_FORGOTTEN_S = 20

TOKEN = "token-of-the-cluster-of-this-test"

HI = """
    import pathlib
    from koco.errors import KocoError

    def hi(tracer, who: str = "you"):
        print("hello", who)
        pathlib.Path("said.txt").write_text(who)
        tracer.fs_sync().upload("said.txt")
        return {"who": who, "koco": KocoError.__module__}
"""


class Elsewhere(Koco):
    """A home from which a cluster elsewhere is used."""

    name = "theirs"
    #: When its package was sent.
    since = 0.0

    def __init__(self, ports: dict[str, int], hidden: Path) -> None:
        super().__init__()
        self.ray = f"http://127.0.0.1:{ports['dashboard']}"
        self.port = ports["api"]
        self.env |= {"PYTHONPATH": str(hidden), "RAY_AUTH_TOKEN": TOKEN}

    @property
    def context(self) -> dict[str, Any]:
        document = tomllib.loads((self.home / "contexts.toml").read_text())
        found: dict[str, Any] = document["contexts"][self.name]
        return found

    def to(self, command: str, *args: str) -> list[str]:
        """Return a command's arguments, for this cluster."""
        named = ["--name", self.name, "--port", str(self.port)] if command == "up" else []
        return [command, "--ray", self.ray, *named, *args]


@contextlib.contextmanager
def ray_alone(root: Path, ports: dict[str, int]) -> Iterator[None]:
    """A Ray head with token authentication, of an environment that has Ray only.

    It is started by its absolute path; `python` in PATH is another one, which has no Ray.
    """
    bare = root / "bare"
    version = importlib.metadata.version("ray")
    subprocess.run([sys.executable, "-m", "venv", bare], check=True)
    pip = [bare / "bin" / "pip", "install", "-q", f"ray[default,serve]=={version}"]
    subprocess.run(pip, check=True, capture_output=True)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "KOCO_", "PYTHON"))}
    mark = f"test-{root.name}"
    env = {
        **kept,
        "HOME": str(root),
        "PATH": f"{_another_python(root)}{os.pathsep}{os.environ['PATH']}",
        "RAY_TMPDIR": str(root),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": TOKEN,
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_RUNTIME_ENV_TEMPORARY_REFERENCE_EXPIRATION_S": str(_FORGOTTEN_S),
        local_head.MARK: mark,
    }
    options = {
        "--node-ip-address": "127.0.0.1",
        "--port": str(ports["gcs"]),
        "--dashboard-port": str(ports["dashboard"]),
        "--ray-client-server-port": str(local_head.choose_ports({}, free=True)["api"]),
        "--dashboard-agent-listen-port": str(ports["agent"]),
        "--include-log-monitor": "false",
    }
    flat = [word for pair in options.items() for word in pair]
    try:
        done = subprocess.run(
            [bare / "bin" / "ray", "start", "--head", *flat],
            env=env,
            cwd=root,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        yield
    finally:
        local_head.stop(mark)


def _another_python(root: Path) -> Path:
    """Make a folder with a `python` that has nothing but the standard library; return it."""
    folder = root / "another"
    folder.mkdir()
    for name in ("python", "python3"):
        (folder / name).write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Elsewhere]:
    """A cluster without a control plane, and a home that has its token and no Ray."""
    ports = local_head.choose_ports({}, free=True)
    koco = Koco()
    hidden = koco.root / "hidden"
    (hidden / "ray").mkdir(parents=True)
    (hidden / "ray" / "__init__.py").write_text("raise ImportError('no Ray on this machine')\n")
    mine = Elsewhere(ports, hidden)
    try:
        with ray_alone(koco.root, ports):
            yield mine
    finally:
        mine.close()
        koco.close()


@pytest.fixture(scope="module")
def plane(elsewhere: Elsewhere) -> Iterator[Elsewhere]:
    """The same with a control plane, which two users brought up at once."""
    other = Elsewhere({"dashboard": 0, "api": elsewhere.port}, Path(elsewhere.env["PYTHONPATH"]))
    other.ray = elsewhere.ray
    both = [each.popen(*each.to("up", "--json")) for each in (elsewhere, other)]
    done = [(*process.communicate(timeout=150), process.returncode) for process in both]
    codes = sorted(code for *_, code in done)
    assert codes == [0, 6], f"one control plane has one first admin: {done}"
    assert "--recover-admin" in done[[code for *_, code in done].index(6)][1]
    assert any("the cluster lacks" in err for _, err, _ in done)
    winner = elsewhere if done[0][2] == 0 else other
    winner.since = time.monotonic()
    yield winner
    other.close()


def test_what_cannot_be_reached_or_does_not_know_the_token_is_told(elsewhere: Elsewhere) -> None:
    """A missing token, a wrong one, no Ray, and another server: each by its exit code."""
    up = elsewhere.to("up")
    elsewhere.env["HOME"] = str(elsewhere.root)
    missing = elsewhere.run(*up, env={"RAY_AUTH_TOKEN": "", "RAY_AUTH_TOKEN_PATH": ""})
    assert missing.code == 6, missing
    assert "requires its token" in missing.err
    wrong = elsewhere.run(*up, "--ray-token", "-", stdin="wrong\n")
    assert wrong.code == 6, wrong
    assert "does not accept that token" in wrong.err
    nobody = elsewhere.run("up", "--ray", "http://127.0.0.1:9")
    assert nobody.code == 3, nobody
    assert not (elsewhere.home / "contexts.toml").exists(), "nothing is saved"


def test_code_and_packages_travel_to_a_cluster_that_has_neither(plane: Elsewhere) -> None:
    """Deploy, run, files and followers work; a second `koco up` says what is there."""
    plane.deploy("greet", HI)
    followed = plane.run("run", "-f", "greet/hi", "-i", "who=me").ok()
    assert "hello me" in followed.out
    assert '"koco.errors"' in followed.out
    assert "said.txt" in plane.run("files", "ls", "latest").ok().out
    again = plane.run(*plane.to("up", "--json")).ok().json()
    assert (again["started"], again["url"]) == (False, plane.context["url"])
    status = plane.get("/v1/status")
    assert status["store"]["path"].endswith("/.koco/cluster/store.db"), "where Ray's user lives"

    # Who has Ray's token and another key changes nothing, whatever is asked.
    stranger = Elsewhere({"dashboard": 0, "api": 0}, Path(plane.env["PYTHONPATH"]))
    refused = stranger.run("up", "--ray", plane.ray, "--port", "1", "--set", "max_running=1")
    stranger.close()
    assert refused.code == 6, refused
    assert plane.get("/v1/status")["control_plane"] == status["control_plane"]

    # Replicas of an endpoint need koco's code as well.
    plane.deploy("visitor", APP, app="visitor_app:app", flows=[])
    assert plane.execute("visitor").result == "hi"


def test_a_killed_control_plane_finds_its_code_again(plane: Elsewhere) -> None:
    """Ray keeps the package for as long as the control plane lives, not just for a while."""
    fid = plane.execute("greet/hi").fid
    time.sleep(max(0.0, plane.since + _FORGOTTEN_S + 1 - time.monotonic()))
    kill9(plane.control_pid())
    assert eventually(lambda: plane.get(f"/v1/executions/{fid}")["status"] == "finished")
    assert plane.execute("greet/hi", who="again").status == "finished"
    [kept, *_] = {uri for uri in _packages(plane) if _is_there(plane, uri)}
    assert kept


def test_down_and_an_interrupted_up_lose_nothing(plane: Elsewhere) -> None:
    """The store and the key stay; after Ctrl-C the job goes on, and the next `koco up` works."""
    key = plane.context["key"]
    assert "stopped the control plane" in plane.run(*plane.to("down")).ok().err
    assert plane.run("ps").code == 3
    assert "there is nothing to stop" in plane.run(*plane.to("down")).ok().err

    process = plane.popen(*plane.to("up"))
    assert process.stderr is not None
    assert "is running on" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "goes on" in err

    plane.run(*plane.to("up")).ok()
    assert plane.context["key"] == key
    assert plane.execute("greet/hi").status == "finished", "its services are back"


def test_everything_works_over_tls(plane: Elsewhere, tmp_path: Path) -> None:
    """With a certificate that only this user trusts: nodes fetch in clear, and without keys."""
    cert, key = make_certificate(tmp_path)
    plane.run(*plane.to("down")).ok()
    tls = ("--tls-cert", str(cert), "--tls-key", str(key))
    unknown = plane.run(*plane.to("up", *tls))
    assert unknown.code == 3, unknown
    assert "--ca FILE" in unknown.err
    up = plane.run(*plane.to("up", "--ca", str(cert))).ok()
    assert up.out.startswith("https://127.0.0.1:")
    plane.deploy("safe", HI.replace("hello", "safely"))
    followed = plane.run("run", "-f", "safe/hi", "-i", "who=me").ok()
    assert "safely me" in followed.out
    assert "said.txt" in plane.run("files", "ls", "latest").ok().out


def test_users_log_in_over_tls(plane: Elsewhere) -> None:
    """Their cookie is for TLS alone; logging out ends at once what they follow."""
    password = "correct horse battery staple"
    plane.deploy("slow", "import time\ndef slow():\n    time.sleep(600)\n")
    plane.run("user", "create", "eve", "-", stdin=password).ok()
    url, ca = plane.context["url"], plane.context["ca"]
    trusted = ssl.create_default_context(cafile=ca)
    body = {"name": "eve", "password": password, "cookie": True}
    with httpx.Client(base_url=url, verify=trusted, trust_env=False) as browser:
        told = browser.post("/v1/session", json=body).headers["set-cookie"]
        assert told.startswith("__Host-koco_session=kocos_")
        assert {"Secure", "HttpOnly", "Path=/", "SameSite=strict"} <= set(told.split("; "))
        assert browser.get("/v1/me").json()["by"] == "session"
        assert browser.delete("/v1/session").status_code == 403
        assert browser.delete("/v1/session", headers={"Origin": url}).status_code == 200
        assert browser.get("/v1/me").status_code == 401

    login = ("login", url, "--user", "eve", "--name", "eve", "--ca", ca, "--password", "-")
    plane.run(*login, stdin=password).ok()
    try:
        fid = plane.run("run", "slow").ok().out.strip()
        following = plane.popen("logs", "-f", fid)
        time.sleep(1)
        assert following.poll() is None
        plane.run("logout").ok()
        _, err = following.communicate(timeout=10)
        assert following.returncode == 6, err
        assert "koco login" in err
    finally:
        plane.run("context", "use", plane.name).ok()
    plane.run("cancel", "--wait", fid).ok()


def _packages(plane: Elsewhere) -> list[str]:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    jobs = httpx.get(f"{plane.ray}/api/jobs/", headers=headers).json()
    return [uri for job in jobs for uri in job["runtime_env"].get("py_modules", ())]


def _is_there(plane: Elsewhere, uri: str) -> bool:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    path = f"/api/packages/gcs/{uri.removeprefix('gcs://')}"
    return httpx.get(plane.ray + path, headers=headers).status_code == 200
