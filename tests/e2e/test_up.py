"""`koco up` and `koco down`: idempotent, safe together, tidy, and modest about what is theirs."""

import contextlib
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx
import psutil
import pytest

from tests.support.collector import Collector
from tests.support.driver import APP, Koco, eventually, kill9, koco_of_its_own


def marked(koco: Koco) -> list[psutil.Process]:
    """Return the processes that `koco up` started for a home."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("RAY_TMPDIR") == str(koco.root) and process.pid != os.getpid():
                found.append(process)
        except psutil.Error:
            continue
    return found


def titles_of(koco: Koco) -> list[str]:
    titles = []
    for process in marked(koco):
        with contextlib.suppress(psutil.NoSuchProcess):
            titles.append(" ".join(process.cmdline()))
    return titles


def test_up_twice_at_once_down_and_up_again(fresh: Koco) -> None:
    """Two at once start one; the key stays; down stops all; the store survives; up settles."""
    temporary = fresh.root / "t"
    temporary.mkdir()
    fresh.env["TMPDIR"] = str(temporary)
    both = [fresh.popen("up", "--free-ports", "--json") for _ in range(2)]
    for process in both:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
    contexts = fresh.home / "contexts.toml"
    assert stat.S_IMODE(contexts.stat().st_mode) == 0o600
    for folder in (fresh.home, fresh.home / "local"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    key = fresh.context["key"]
    titles = titles_of(fresh)
    assert sum("gcs_server" in title for title in titles) == 1
    assert sum("ray::ControlPlane" in title for title in titles) == 1
    assert not any("ray.util.client" in title for title in titles), "a server nobody asks"

    # Everything listens on loopback only.
    for process in marked(fresh):
        for connection in process.net_connections("inet"):
            if connection.status == psutil.CONN_LISTEN:
                address = connection.laddr.ip.removeprefix("::ffff:")
                assert address in ("127.0.0.1", "::1"), (process.cmdline(), connection)

    code = "import time\ndef nap(seconds: float = 60):\n    time.sleep(seconds)\n    return 1\n"
    fresh.deploy("naps", code)
    done, running = fresh.launch("nap", seconds=0), fresh.launch("nap")
    eventually(lambda: fresh.get(f"/v1/executions/{done}")["finished"])
    eventually(lambda: fresh.get(f"/v1/executions/{running}")["status"] == "running")

    # Flows without an endpoint of their own cost no Ray Serve.
    assert not any("ray::Serve" in title for title in titles_of(fresh))

    assert list(temporary.glob("pymp-*")), "Ray makes some"
    down = fresh.run("down").ok()
    assert "1 execution ends with an error at the next `koco up`" in down.err
    assert down.err.rstrip().endswith("1 running")
    assert not list(temporary.glob("pymp-*")), "and does not tidy up"
    assert eventually(lambda: not marked(fresh), within_s=10)
    assert not list((fresh.home / "answered").iterdir()), "no command waits for its return"
    assert fresh.run("down").ok().code == 0, "down twice is fine"
    assert fresh.run("ps").code == 3

    port = fresh.context["cluster"]["api"]
    with socket.create_server(("127.0.0.1", port)):
        moved = fresh.run("up").ok()
    assert f"port {port} is taken: the API is at port" in moved.err
    assert fresh.context["cluster"]["api"] != port
    assert fresh.context["key"] == key
    assert fresh.get(f"/v1/executions/{done}")["status"] == "finished"
    assert fresh.get(f"/v1/executions/{running}")["status"] == "error", "it died with its cluster"
    assert fresh.execute("nap", seconds=0).result == 1, "its services are back"

    # A context that lost its key is mended on request, and only then.
    contexts.unlink()
    lost = fresh.run("up")
    assert lost.code == 6, lost
    assert "--recover-admin" in lost.err
    fresh.run("up", "--recover-admin").ok()
    assert fresh.run("ps").code == 0


@contextlib.contextmanager
def ray_by_hand(koco: Koco, **env: str) -> Iterator[dict[str, int]]:
    """A head that `ray start` has started in a home's environment; gives its ports."""
    from koco.bootstrap import local_head

    ports = local_head.choose_ports({}, free=True)
    head = subprocess.run(
        [
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head"),
            *("--node-ip-address", "127.0.0.1", "--port", str(ports["gcs"])),
            *("--dashboard-port", str(ports["dashboard"]), "--include-log-monitor", "false"),
            *("--ray-client-server-port", str(local_head.choose_ports({}, free=True)["api"])),
            *("--dashboard-agent-listen-port", str(ports["agent"])),
        ],
        env={**koco.env, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", **env},
        cwd=koco.root,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    try:
        assert head.returncode == 0, head.stdout + head.stderr
        yield ports
    finally:
        for process in marked(koco):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def test_a_ray_that_runs_already_is_used_and_left_alone(fresh: Koco) -> None:
    """`koco up` joins it; `koco down` takes only its own actors away."""
    fresh.env |= {"RAY_AUTH_MODE": "disabled", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    with ray_by_hand(fresh) as ports:
        before = {process.pid for process in marked(fresh)}
        joined = fresh.run("up", "--port", str(ports["api"])).ok()
        assert f"joining Ray at 127.0.0.1:{ports['gcs']}" in joined.err
        fresh.deploy("guest", "def hi():\n    return 'hi'\n")
        assert fresh.execute("hi").result == "hi"
        fresh.deploy("visitor", APP, app="visitor_app:app", flows=[])
        assert fresh.execute("visitor").result == "hi"
        applications = f"http://127.0.0.1:{ports['dashboard']}/api/serve/applications/"
        assert list(httpx.get(applications).json()["applications"]) == ["koco-visitor-1"]
        fresh.run("down").ok()
        assert fresh.run("ps").code == 3
        eventually(lambda: httpx.get(applications).json()["applications"] == {})
        alive = {process.pid for process in marked(fresh)}
        gone = before - alive
        titles = titles_of(fresh)
        assert any("gcs_server" in title for title in titles), f"Ray was stopped: {gone}"
        ours = ("ray::ControlPlane", "ray::Runner")
        eventually(lambda: not any(t.startswith(ours) for t in titles_of(fresh)), within_s=10)


@pytest.mark.timeout(400)  # Ray, and four control planes: a minute each on a machine that is busy
def test_a_ray_that_runs_already_gets_opentelemetrys_variables(fresh: Koco) -> None:
    """Those of `koco up`, because that Ray was started without; a later `koco up` changes them."""
    fresh.env |= {"RAY_AUTH_MODE": "disabled", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    collector = Collector()
    try:
        with ray_by_hand(fresh) as ports:
            fresh.env["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.url
            fresh.run("up", "--port", str(ports["api"])).ok()
            fresh.deploy("guest", "def hi():\n    return 'hi'\n")
            assert fresh.execute("hi").result == "hi"
            eventually(lambda: any(each.name == "launch guest/hi" for each in collector.spans))
            for wanted, replaced in (("otlp", True), ("otlp", False), ("none", True)):
                fresh.env["OTEL_TRACES_EXPORTER"] = wanted
                again = fresh.run("up", "--json").ok().json()
                assert (again["replaced"] is not None) is replaced, wanted
            del fresh.env["OTEL_TRACES_EXPORTER"], fresh.env["OTEL_EXPORTER_OTLP_ENDPOINT"]
            assert fresh.run("up", "--json").ok().json()["replaced"] is None
            sent = len(collector.spans)
            assert fresh.execute("hi").result == "hi"
            time.sleep(2)
            assert len(collector.spans) == sent
            assert "koco" in collector.services
            fresh.run("down").ok()
    finally:
        collector.close()


@pytest.mark.timeout(400)  # five starts of Ray: half a minute each on a machine that is busy
def test_two_homes_side_by_side(fresh: Koco) -> None:
    """The second does not join the first one's Ray; each comes, goes and runs by itself."""
    with koco_of_its_own() as other:
        # As on a machine of one user: the same folder for Ray, the same token.
        same = ("RAY_TMPDIR", "RAY_AUTH_TOKEN_PATH")
        other.env |= {name: fresh.env[name] for name in same}
        fresh.run("up").ok()
        up = other.run("up").ok()
        [line] = [line for line in up.err.splitlines() if "starting a separate one" in line]
        address = fresh.context["cluster"]["address"]
        assert line.startswith(f"a Ray is running at {address}, but it is another koco home's")
        assert other.context["cluster"]["address"] != address
        for koco in (fresh, other):
            koco.deploy("mine", f"def who():\n    return {koco.root.name!r}\n")
            assert koco.execute("mine/who").result == koco.root.name
        other.run("down").ok()
        assert fresh.execute("mine/who").result == fresh.root.name
        fresh.run("down").ok()

        # At once: neither takes a port that the other one has chosen.
        both = [each.popen("up", "--json") for each in (fresh, other)]
        for process in both:
            _, err = process.communicate(timeout=120)
            assert process.returncode == 0, err
        for koco in (fresh, other):
            assert koco.execute("mine/who").result == koco.root.name


def test_a_ray_of_ones_own_that_does_not_know_the_token(fresh: Koco) -> None:
    """It is not joined: one line says why, and a Ray apart from it starts."""
    with ray_by_hand(fresh, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="of-another-cluster") as ports:
        up = fresh.run("up").ok()
        [line] = [line for line in up.err.splitlines() if "starting a separate one" in line]
        assert line.startswith(
            f"a Ray is running at 127.0.0.1:{ports['gcs']}, but it does not know"
        )
        assert fresh.run("ps").code == 0
        fresh.run("down").ok()
        assert any("gcs_server" in title for title in titles_of(fresh)), "that one runs on"


def test_up_interrupted_leaves_nothing_that_down_does_not_find(fresh: Koco) -> None:
    """kill -9 of `koco up` in the middle: `koco down` cleans up, the next `koco up` works."""
    process = fresh.popen("up", "--free-ports")
    eventually(lambda: any("gcs_server" in p.name() for p in marked(fresh)), within_s=60)
    kill9(process.pid)
    process.communicate()
    time.sleep(0.5)
    fresh.run("down").ok()
    eventually(lambda: not [p for p in marked(fresh) if p.status() != "zombie"], within_s=15)
    fresh.run("up", "--free-ports").ok()
    assert fresh.run("ps").code == 0


def test_a_store_that_cannot_be_opened_is_told_and_tried_again(fresh: Koco) -> None:
    """`koco up` says which and why; once mended, the same command goes on."""
    in_the_way = fresh.home / "local" / "store.db"
    in_the_way.mkdir(parents=True)
    for folder in (fresh.home, fresh.home / "local"):
        folder.chmod(0o700)
    failed = fresh.run("up", "--free-ports")
    assert failed.code == 1
    assert f"{in_the_way} could not be opened" in failed.err
    assert "hint: check that the data directory" in failed.err
    in_the_way.rmdir()
    fresh.run("up", "--free-ports").ok()
    assert fresh.run("status", "--json").ok().json()["executions"] == {}
