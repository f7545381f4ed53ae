"""Ray's dashboard as `koco up --ray` meets it: a real server for everything that goes wrong."""

import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray._private.ray_constants import WORKER_PROCESS_SETUP_HOOK_ENV_VAR

from koco import errors
from koco.cluster import jobs
from tests.support.certificates import make_certificate
from tests.support.dashboard import TOKEN, Ray, Server


@pytest.fixture
def ray() -> Ray:
    return Ray()


@pytest.fixture
def url(ray: Ray) -> Iterator[str]:
    server = Server(ray, ray.answer)
    yield server.url
    server.close()


def opened(url: str, token: str = TOKEN, ca: str = "") -> jobs.JobClient:
    return jobs.JobClient(url, lambda: token, ca=ca)


def test_sends_the_token_only_to_a_ray_that_asks_for_it(ray: Ray, url: str) -> None:
    """Not before Ray has asked, and never if it does not."""
    assert opened(url).version() == "2.60.0"
    (_, _, first, _), (_, _, second, _) = ray.requests
    assert "Authorization" not in first
    assert second["Authorization"] == f"Bearer {TOKEN}"
    assert second["User-Agent"].startswith("koco/"), "Ray refuses what looks like a browser"
    ray.requests.clear()
    ray.mode = "disabled"
    opened(url).version()
    assert not [headers for _, _, headers, _ in ray.requests if "Authorization" in headers]


@pytest.mark.parametrize(("token", "says"), [("", "requires its token"), ("no", "does not accept")])
def test_distinguishes_a_missing_and_a_wrong_token(url: str, token: str, says: str) -> None:
    """Both are exit code 6, and say where a token comes from."""
    with pytest.raises(errors.NotAllowedError, match=says) as caught:
        opened(url, token).version()
    assert caught.value.exit_code == 6
    assert "--ray-token -" in str(caught.value.hint)


def test_refuses_a_token_with_white_space_without_showing_it(url: str) -> None:
    """It is not a valid header, and httpx's own error would show it."""
    with pytest.raises(errors.UsageError) as caught:
        opened(url, "se\ncret").version()
    assert "cret" not in f"{caught.value} {caught.value.hint}"


def test_an_absent_server_is_unreachable() -> None:
    """Exit code 3, with things to check."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and not listening
        with pytest.raises(errors.UnreachableError, match="no Ray answers") as caught:
            opened(f"http://127.0.0.1:{taken.getsockname()[1]}").version()
    assert caught.value.exit_code == 3
    assert "tunnel" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("code", "what", "kind", "says"),
    [
        (200, "<html>hello</html>", errors.KocoError, "is not Ray's dashboard"),
        (404, "<html>no</html>", errors.KocoError, "is not Ray's dashboard"),
        (200, {"status": "ok"}, errors.KocoError, "is not Ray's dashboard"),
        (302, "<html>log in</html>", errors.KocoError, "is not Ray's dashboard"),
        (502, "<html>bad gateway</html>", errors.UnreachableError, "it is not ready"),
        (500, "Traceback\nValueError: no", errors.KocoError, "is not Ray's dashboard"),
    ],
)
def test_recognises_other_servers(
    ray: Ray, code: int, what: Any, kind: type[errors.KocoError], says: str
) -> None:
    """Another web server, a login page, and a proxy without a Ray behind it."""
    server = Server(ray, lambda *_: (code, what))
    try:
        with pytest.raises(kind, match=says) as caught:
            opened(server.url).version()
    finally:
        server.close()
    assert type(caught.value) is kind
    assert caught.value.hint


def test_recognises_http_and_https_mixed_up(ray: Ray, url: str, tmp_path: Path) -> None:
    """Either way, the hint names the other; a certificate can be trusted."""
    with pytest.raises(errors.UnreachableError) as caught:
        opened(url.replace("http:", "https:")).version()
    assert "need http://" in str(caught.value.hint)

    cert, key = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    server = Server(ray, ray.answer, context)
    try:
        with pytest.raises(errors.UnreachableError) as caught:
            opened(server.url.replace("https:", "http:")).version()
        assert "need https://" in str(caught.value.hint)
        with pytest.raises(errors.UnreachableError) as caught:
            opened(server.url).version()
        assert "--ca" in str(caught.value.hint)
        assert opened(server.url, ca=str(cert)).version() == "2.60.0"
    finally:
        server.close()


def test_sends_a_package_once(ray: Ray, url: str) -> None:
    """If the cluster has it, it is not sent again."""
    dashboard = opened(url)
    dashboard.version()
    assert dashboard.require_package("koco-1.zip", b"zip")
    assert ray.packages == {"koco-1.zip": b"zip"}
    assert not dashboard.require_package("koco-1.zip", b"zip")


def test_waits_for_a_job(ray: Ray, url: str) -> None:
    """Its output is passed on as it comes, and returned whole at the end."""
    ray.log = "koco-answer: {}"
    ray.job = [{"status": "PENDING"}, {"status": "RUNNING"}, {"status": "SUCCEEDED"}]
    dashboard = opened(url)
    dashboard.version()
    dashboard.submit("koco-up-1", "python -m koco.bootstrap.job '{}'", modules=["gcs://koco-1.zip"])
    body = json.loads(ray.requests[-1][3])
    assert body["runtime_env"]["py_modules"] == ["gcs://koco-1.zip"]
    hook = body["runtime_env"]["env_vars"][WORKER_PROCESS_SETUP_HOOK_ENV_VAR]
    assert hook == "koco.cluster.job_python.tell", "Ray still calls its variable so"
    seen: list[str] = []
    assert dashboard.wait("koco-up-1", timeout_s=5, on_log=seen.append) == ray.log
    assert seen == ["", ray.log, ray.log], "a pending job has no log to ask for"


@pytest.mark.parametrize(
    ("about", "log", "says", "hint"),
    [
        (
            {"status": "FAILED", "message": "the environment failed"},
            "",
            "environment failed",
            "logs",
        ),
        ({"status": "STOPPED"}, "some line", "stopped: some line", "logs"),
    ],
)
def test_a_failed_job_says_why(
    ray: Ray, url: str, about: dict[str, Any], log: str, says: str, hint: str
) -> None:
    """The message has the last line; the hint says where the rest is, or what to do."""
    ray.job, ray.log = [about], log
    dashboard = opened(url)
    dashboard.version()
    with pytest.raises(errors.KocoError, match=says) as caught:
        dashboard.wait("koco-up-1", timeout_s=5, on_log=lambda _: None)
    assert hint in str(caught.value.hint)


def test_reports_a_job_that_takes_too_long(ray: Ray, url: str) -> None:
    """It continues there, and the same command finds it."""
    ray.job = [{"status": "RUNNING"}]
    dashboard = opened(url)
    dashboard.version()
    with pytest.raises(errors.KocoError, match="has not ended within 0 s: RUNNING"):
        dashboard.wait("koco-up-1", timeout_s=0, on_log=lambda _: None)


def test_finds_the_token_like_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """RAY_AUTH_TOKEN, then the file that RAY_AUTH_TOKEN_PATH names, then ~/.ray/auth_token."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    assert jobs.find_token() == ""
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("of-home\n")
    assert jobs.find_token() == "of-home"
    (tmp_path / "other").write_text("of-path")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "other"))
    assert jobs.find_token() == "of-path"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "of-environment")
    assert jobs.find_token() == "of-environment"
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "missing"))
    with pytest.raises(errors.UsageError, match="cannot read Ray's token"):
        jobs.find_token()
