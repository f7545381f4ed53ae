"""`koco doctor`: findings here, on the connection, and without a control plane."""

import json
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from koco.cli.commands import doctor
from koco.client import probe
from koco.client.context_file import Context
from koco.errors import KocoError, TimedOutError
from tests.support.driver import calm_s
from tests.support.http_server import QuietServer
from tests.support.memory_plane import KEY, Plane
from tests.unit.conftest import Cli, Ran

WELL = {"name": "store", "status": "ok", "message": "writable", "hint": None}
ILL = {"name": "disk", "status": "failed", "message": "1.0 MB free", "hint": "make room"}


def checks(ran: Ran) -> dict[str, dict[str, Any]]:
    """Return the findings of `koco doctor --json` by name."""
    lines = [json.loads(line) for line in ran.out.splitlines()]
    assert [line["kind"] for line in lines[:-1]] == ["check"] * (len(lines) - 1)
    assert lines[-1]["kind"] == "status"
    return {line["payload"]["name"]: line["payload"] for line in lines[:-1]}


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for what answers at last: the machine may be busy."""
    monkeypatch.setattr(probe, "STEP_S", 60.0)


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without any control plane."""
    monkeypatch.setenv("KOCO_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("KOCO_URL", raising=False)
    monkeypatch.delenv("KOCO_KEY", raising=False)
    monkeypatch.chdir(tmp_path)
    return monkeypatch


def test_the_exit_code_is_0_if_nothing_failed(plane: Plane, cli: Cli) -> None:
    """Aligned within 80 columns: first the local findings, then those of the control plane."""
    plane.findings = [WELL]
    ran = cli("doctor")
    assert (ran.code, ran.err) == (0, "")
    rows = ran.out.splitlines()
    assert [row.split()[1] for row in rows if row.startswith("ok")] == [
        *("client", "config", "context", "tcp", "http", "clock", "version", "store")
    ]
    assert max(map(len, rows)) <= 80
    assert KEY not in ran.out


def test_reports_failures_with_hints(plane: Plane, cli: Cli) -> None:
    """And is exit code 1, after all has been looked at."""
    plane.findings = [ILL, WELL]
    ran = cli("doctor")
    assert ran.code == 1
    assert "failed   disk            1.0 MB free\n" in ran.out
    assert "                         hint: make room\n" in ran.out
    assert ran.out.splitlines()[-1].startswith("ok       store")
    assert ran.err == "error: 1 of 9 checks failed\n"


def test_json_is_a_line_for_each_finding_and_the_status(plane: Plane, cli: Cli) -> None:
    """The status has the exit code of a failure."""
    plane.findings = [ILL]
    ran = cli("doctor", "--json")
    assert ran.code == 1
    assert checks(ran)["disk"] == ILL
    status = json.loads(ran.out.splitlines()[-1])["payload"]
    assert (status["status"], status["exit_code"]) == ("error", 1)
    plane.findings = []
    assert json.loads(cli("doctor", "--json").out.splitlines()[-1])["payload"] == {
        "status": "finished"
    }


def test_asks_a_degraded_control_plane_for_the_reason(plane: Plane, cli: Cli) -> None:
    """503 is an answer, and a finding."""
    plane.health, plane.findings = (503, {"status": "degraded"}), [WELL]
    found = checks(cli("doctor", "--json"))
    assert (found["http"]["status"], found["store"]["status"]) == ("failed", "ok")


def test_no_context_is_a_finding(alone: pytest.MonkeyPatch, cli: Cli) -> None:
    """With a hint how to add one; the exit code is not 3 as in other commands."""
    ran = cli("doctor", "--json")
    assert ran.code == 1
    found = checks(ran)
    assert list(found) == ["client", "config", "context"]
    assert "koco up" in found["context"]["hint"]


def test_a_broken_file_of_contexts_is_a_finding(alone: pytest.MonkeyPatch, cli: Cli) -> None:
    """It is named, and the control plane of KOCO_URL is still checked."""
    home = Path.cwd() / "home"
    home.mkdir()
    (home / "contexts.toml").write_text("nonsense")
    (home / "contexts.toml").chmod(0o600)
    alone.setenv("KOCO_URL", "http://127.0.0.1:9")
    found = checks(cli("doctor", "--json"))
    assert found["config"]["status"] == "failed"
    assert "contexts.toml" in found["config"]["message"]
    assert found["tcp"]["status"] == "failed"


def test_a_key_that_is_refused_is_a_finding(
    plane: Plane, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All findings before it are printed; the key is not shown."""
    monkeypatch.setenv("KOCO_KEY", "koco_wrong_wrong_wrong_wrong_wrong_wrong_wrong_wrong")
    ran = cli("doctor", "--json")
    assert checks(ran)["key"]["status"] == "failed"
    assert "wrong_wrong" not in ran.out


def test_an_older_or_newer_control_plane_is_a_warning(
    plane: Plane, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which is which, and how to bring them together."""
    monkeypatch.setattr(doctor, "__version__", "0.0.9")
    version = checks(cli("doctor", "--json"))["version"]
    assert version["status"] == "warning"
    assert "0.0.9" in version["message"]
    assert "install koco " in version["hint"]


# the way there, with servers that are not as they should be


def way(url: str, ca: str = "") -> dict[str, probe.Finding]:
    return {each.name: each for each in probe.way(Context("x", url, "k", ca=ca))}


class Strange(BaseHTTPRequestHandler):
    """Answers everything with its server's `body`, at its server's `date`."""

    def do_GET(self) -> None:
        server: Any = self.server
        body = server.body
        if body is None:
            server.over.wait(60)
            return
        self.send_response_only(200)
        self.send_header("Date", server.date)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def strange() -> Iterator[Any]:
    """A server of something else."""
    server: Any = QuietServer(("127.0.0.1", 0), Strange)
    server.body, server.date = b'{"status": "ok"}', "Mon, 01 Jan 2024 00:00:00 GMT"
    server.url = f"http://127.0.0.1:{server.server_port}"
    server.over = threading.Event()
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.over.set()
    server.shutdown()
    server.server_close()


def test_a_clock_that_is_wrong_is_a_warning(strange: Any) -> None:
    """By how much, and whose."""
    clock = way(strange.url)["clock"]
    assert clock.status == "warning"
    assert "ahead of the control plane's" in clock.message


def test_reports_a_server_that_is_not_a_control_plane(strange: Any) -> None:
    """Whatever it answers, no further request is sent."""
    for body in (b"<html>", b'{"up": true}', b"[1]"):
        strange.body = body
        found = way(strange.url)
        assert found["http"].status == "failed"
        assert "not a control plane" in found["http"].message
        assert "clock" not in found


def test_a_step_that_hangs_is_given_up(strange: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The step that hangs is named."""
    strange.body = None
    monkeypatch.setattr(probe, "STEP_S", 0.2)
    begun = calm_s()
    assert way(strange.url)["http"].status == "failed"
    assert calm_s() - begun < 4.5


def test_reports_an_unknown_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """`dns`, and nothing after it; a key in clear is warned of before."""
    monkeypatch.setattr(probe, "STEP_S", 2.0)
    found = way("http://nothing.invalid")
    assert list(found) == ["encryption", "dns"]
    assert found["dns"].status == "failed"


def test_reports_a_server_without_tls(strange: Any, tmp_path: Path) -> None:
    """The same for a certificate that is not trusted."""
    assert way(strange.url.replace("http:", "https:"))["tls"].status == "failed"
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    made = ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
    files = ("-nodes", "-keyout", str(key), "-out", str(cert), "-days", "2", "-subj", "/CN=x")
    names = ("-addext", "subjectAltName=IP:127.0.0.1")
    subprocess.run([*made, *files, *names], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    strange.socket = context.wrap_socket(strange.socket, server_side=True)
    url = strange.url.replace("http:", "https:")
    assert "not trusted" in way(url)["tls"].message
    found = way(url, str(cert))
    assert found["tls"].status == "warning", "it ends in two days"
    assert found["http"].status == "ok"
    assert "cannot read" in way(url, str(tmp_path / "none"))["tls"].message


def test_reports_a_proxy_and_skips_checks_behind_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is resolved or connected to from here; its password is not shown."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        monkeypatch.setenv("http_proxy", f"http://me:pw@127.0.0.1:{taken.getsockname()[1]}")
        monkeypatch.delenv("no_proxy", raising=False)
        found = way("http://nothing.invalid")
    assert list(found) == ["encryption", "proxy", "http"]
    assert "pw" not in found["proxy"].message


def test_within_returns_raises_and_gives_up() -> None:
    """Whatever the call does."""
    assert probe.within(1, lambda: 3) == 3
    with pytest.raises(TimedOutError):
        probe.within(0.05, lambda: time.sleep(5))

    def fails() -> None:
        raise KocoError("no")

    with pytest.raises(KocoError, match="no"):
        probe.within(1, fails)
