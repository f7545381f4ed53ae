"""A control plane behind nginx, which is configured as docs/clusters.md says."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.certificates import make_certificate
from tests.support.checkout import ROOT
from tests.support.driver import Koco, eventually

PAGE = ROOT / "docs" / "clusters.md"

CODE = """
    import pathlib, time

    def talk(tracer, gate: str):
        for step in ("first", "second"):
            tracer.debug_sync(step)
            while not pathlib.Path(gate + "." + step).exists():
                time.sleep(0.02)
        return "done"
"""

#: What the page leaves to the machine: processes, places for what nginx writes.
_AROUND = """
daemon off; worker_processes 1; pid {root}/pid; error_log {root}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {root}/body; proxy_temp_path {root}/proxy;
    fastcgi_temp_path {root}/f; uwsgi_temp_path {root}/u; scgi_temp_path {root}/s;
    {servers}
}}
"""


@dataclass
class Proxy:
    """nginx before a koco; everybody's address is 127.0.0.2."""

    url: str
    certificate: Path
    koco: Koco

    def http(self, key: str | None = None, **headers: str) -> httpx.Client:
        key = key or self.koco.context["key"]
        return httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {key}", **headers},
            transport=httpx.HTTPTransport(
                verify=_context(self.certificate), local_address="127.0.0.2"
            ),
            timeout=60,
        )

    def cli(self, *args: str, **more: Any) -> "subprocess.Popen[str]":
        env = {"KOCO_URL": self.url, "KOCO_KEY": self.koco.context["key"]}
        env["SSL_CERT_FILE"] = str(self.certificate)
        return self.koco.popen(*args, env=env, **more)


def _context(certificate: Path) -> Any:
    import ssl

    return ssl.create_default_context(cafile=str(certificate))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _configured(root: Path, port: int, api: str) -> str:
    found = re.search(r"```nginx\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found
    text = found[1]
    for documented, here in (
        ("server 127.0.0.1:8400;", f"server {api};"),
        ("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;"),
        ("/etc/nginx/koco/cert.pem", f"{root}/cert.pem"),
        ("/etc/nginx/koco/key.pem", f"{root}/key.pem"),
        # As long as an idle stream's silence may be, and a little more.
        ("proxy_read_timeout 90s;", "proxy_read_timeout 12s;"),
    ):
        assert documented in text, documented
        text = text.replace(documented, here)
    return _AROUND.format(root=root, servers=text)


@pytest.fixture(scope="module")
def proxy(koco: Koco, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if program is None:
        assert not os.environ.get("CI"), "CI runs this test: `.ci/run` installs nginx"
        pytest.skip("there is no nginx on this machine")
    root, port = tmp_path_factory.mktemp("nginx"), _free_port()
    root.chmod(0o755)
    certificate, _ = make_certificate(root)
    koco.run("up", "--set", "trusted_proxies=127.0.0.1").ok()
    (root / "nginx.conf").write_text(
        _configured(root, port, koco.context["url"].removeprefix("http://"))
    )
    with subprocess.Popen(
        [program, "-e", f"{root}/error.log", "-c", f"{root}/nginx.conf"]
    ) as nginx:
        try:
            eventually(lambda: _answers(port) or nginx.poll() is not None)
            assert nginx.poll() is None, (root / "error.log").read_text()
            yield Proxy(f"https://127.0.0.1:{port}", certificate, koco.deploy("proxied", CODE))
        finally:
            nginx.terminate()
            koco.run("up", "--set", "trusted_proxies=").ok()


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def test_events_pass_as_they_come(proxy: Proxy, tmp_path: Path) -> None:
    """The flow goes on only when its event was seen; an idle stream lives; the end is its own."""
    launch = {"gate": str(tmp_path / "gate")}
    with proxy.http() as client:
        answer = client.post("/v1/flows/proxied/talk", json=launch)
        assert answer.status_code == 201, answer.text
        fid = answer.json()["result"]
        with contextlib.ExitStack() as stack:
            logs = proxy.cli("logs", fid, "-f", "--json")
            stack.callback(logs.kill)
            assert logs.stdout
            for text in logs.stdout:
                if json.loads(text)["payload"] == "first":
                    break
            last_id = _sse_until(client, fid, "first")
            (tmp_path / "gate.first").touch()
            assert _sse_until(client, fid, "second", after=last_id) > last_id
            # Longer than nginx waits for a word of koco's: the heartbeat is one.
            time.sleep(13)
            assert logs.poll() is None
            (tmp_path / "gate.second").touch()
            rest = [json.loads(text) for text in logs.stdout]
            assert logs.wait(30) == 0 and logs.stderr and not logs.stderr.read()
            seqs = [event["seq"] for event in rest]
            assert rest[-1]["payload"] == {"status": "finished"}
            assert seqs == list(range(seqs[0], seqs[-1] + 1)), "in one piece, nothing twice"


def _sse_until(client: httpx.Client, fid: str, word: str, *, after: int = 0) -> int:
    """Follow as browsers do until an event says something; hang up; return its id."""
    headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
    path, params = f"/v1/executions/{fid}/events", {"follow": "true"}
    with client.stream("GET", path, params=params, headers=headers) as answer:
        assert answer.status_code == 200
        ids = []
        for text in answer.iter_lines():
            if text.startswith("id: "):
                ids.append(int(text[4:]))
            if text.startswith("data: ") and json.loads(text[6:])["payload"] == word:
                assert ids[0] == after + 1
                return ids[-1]
    raise AssertionError("the stream ended before")


def test_large_files_pass_in_ranges(proxy: Proxy, tmp_path: Path) -> None:
    """An upload goes on where it was cut; a part of the file comes back."""
    data = os.urandom(6_000_000)
    sha256 = hashlib.sha256(data).hexdigest()
    half = len(data) // 2
    with proxy.http() as client:
        for offset, part in ((0, data[:half]), (half, data[half:])):
            headers = {"Upload-Offset": str(offset), "Upload-Length": str(len(data))}
            answer = client.patch(f"/v1/blobs/{sha256}", content=part, headers=headers)
            assert answer.status_code == 204, answer.text
        launch = {"gate": str(tmp_path / "none")}
        fid = client.post("/v1/flows/proxied/talk", json=launch).json()["result"]
        path = f"/v1/executions/{fid}/files/in/big.bin"
        body = {"sha256": sha256, "size_bytes": len(data)}
        assert client.put(path, json=body).status_code == 200
        answer = client.get(path, headers={"Range": f"bytes={half}-"})
        assert (answer.status_code, answer.content) == (206, data[half:])
        assert client.post(f"/v1/executions/{fid}/cancel", json={"grace_s": 0}).status_code == 202


def test_clients_are_known_by_their_own_address(proxy: Proxy) -> None:
    """In the audit log, whatever they claim; and TLS is TLS: HSTS, `Secure`, no banner."""
    with proxy.http(**{"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "http"}) as client:
        user = {"name": "eve", "password": "correct horse battery"}
        made = client.post("/v1/users", json={**user, "scopes": ["read"]})
        assert made.status_code == 201, made.text
        login = client.post("/v1/session", json={**user, "cookie": True})
        assert login.status_code == 201, login.text
        cookie = login.headers["Set-Cookie"]
        assert "Secure" in cookie and "HttpOnly" in cookie
        assert login.headers["Strict-Transport-Security"].startswith("max-age=")
        entries = client.get("/v1/audit", params={"limit": 3}).json()["items"]
        assert {entry["address"] for entry in entries if entry["action"] != "status"} == {
            "127.0.0.2"
        }
        assert client.get("/health").headers["Server"] == "nginx"
    with proxy.koco.http(headers={"X-Forwarded-Proto": "https"}) as direct:
        assert "Server" not in direct.get("/health").headers
