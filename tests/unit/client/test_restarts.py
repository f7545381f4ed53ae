"""Commands that start while the control plane restarts: they wait if it has answered before."""

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from koco import __version__, errors, versions
from koco.bootstrap import local_head
from koco.client import context_file, known_servers
from koco.client.client import Client
from koco.client.context_file import Context
from tests.unit.client.test_client import (
    FID,
    Request,
    Server,
    end,
    event,
    free_port,
    seqs,
    serve,
    since_of,
    uploads,
    waiting,
)
from tests.unit.conftest import Cli

__all__ = ["serve"]

#: How long it is away in these tests (seconds): longer than a first contact is tried.
AWAY_S = 1.2


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep what has answered apart from whoever runs this."""
    monkeypatch.setenv("KOCO_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("KOCO_RESTART_WAIT", raising=False)
    return tmp_path / "home"


def as_koco(handle: Callable[[Request], None]) -> Callable[[Request], None]:
    """Have a handler's answers say that a control plane gave them."""

    def with_version(request: Request) -> None:
        begun = request.end_headers

        def end_headers() -> None:
            request.send_header(versions.HEADER, __version__)
            begun()

        request.end_headers = end_headers  # type: ignore[method-assign]
        handle(request)

    return with_version


def fine(request: Request) -> None:
    request.answer(200, {"items": [], "next": None})


def known(port: int, **options: Any) -> Client:
    """Return a new process's client of one that has answered another one before."""
    known_servers.remember(f"http://127.0.0.1:{port}")
    return fresh(port, **options)


def fresh(port: int, **options: Any) -> Client:
    return Client(Context("test", f"http://127.0.0.1:{port}", "k"), remembers=True, **options)


@contextmanager
def back_soon(
    serve: Any, port: int, handle: Callable[[Request], None], *, away_s: float = AWAY_S
) -> Iterator[list[Server]]:
    """Have a server come up at a port a moment later."""
    servers: list[Server] = []

    def come() -> None:
        time.sleep(away_s)
        servers.append(serve(as_koco(handle), port))

    thread = threading.Thread(target=come)
    thread.start()
    yield servers
    thread.join()


def test_one_that_has_answered_another_process_is_waited_for(serve: Any) -> None:
    """It is away when the command begins: the command waits, and says so once."""
    port, told = free_port(), []
    with back_soon(serve, port, fine), waiting(AWAY_S, 5):
        began = time.monotonic()
        client = known(port, on_wait=lambda *about: told.append((*about, time.monotonic())))
        assert client.flows() == []
    [(url, left_s, at)] = told
    assert url == f"http://127.0.0.1:{port}"
    assert left_s < 15 <= left_s + at - began < 25


def test_does_not_wait_if_its_ray_is_gone() -> None:
    """As after a reboot: nothing brings it back but `koco up`."""
    with (
        waiting(0.0, 5),
        pytest.raises(errors.UnreachableError, match="neither does its Ray") as caught,
    ):
        known(free_port(), is_gone=lambda: True).flows()
    assert "koco up" in (caught.value.hint or "")


def test_one_whose_ray_runs_is_waited_for(serve: Any) -> None:
    """Its control plane is started again by it."""
    port = free_port()
    with back_soon(serve, port, fine):
        assert known(port, is_gone=lambda: False).flows() == []


def test_waits_for_local_only_if_its_cluster_is_left(home: Path, cli: Cli) -> None:
    """A process with its mark, or a Ray that listens; other contexts' are not looked at here."""
    [url, other] = [f"http://127.0.0.1:{free_port()}" for _ in range(2)]
    gone = f"127.0.0.1:{free_port()}"
    context_file.save_context(Context("local", url, "k", cluster={"address": gone}))
    context_file.save_context(Context("other", other, "k", cluster={"address": gone}))
    for each in (url, other):
        known_servers.remember(each)
    with waiting(0.0, 8):
        ran = cli("--context", "local", "ps")
    assert (ran.code, "neither does its Ray" in ran.err) == (3, True)
    environ = {**os.environ, local_head.MARK: local_head.mark_of(home), "KOCO_RESTART_WAIT": "1"}
    rest = subprocess.Popen(["sleep", "60"], env=environ)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("KOCO_RESTART_WAIT", "1")
            for name in ("local", "other"):
                assert "neither does its Ray" not in cli("--context", name, "ps").err
    finally:
        rest.kill()
        rest.wait()


def test_a_launch_that_was_not_sent_is_repeated(serve: Any) -> None:
    """It has no key and is sent once: no server was there to carry it out before."""
    port = free_port()
    launched = lambda request: request.answer(201, {"result": FID})  # noqa: E731
    with back_soon(serve, port, launched) as servers:
        assert known(port).launch("greet", {}) == FID
    assert len(servers[0].requests) == 1


def test_a_follower_that_begins_meanwhile_waits(serve: Any) -> None:
    """As it does when it has begun before."""

    def stream(request: Request) -> None:
        assert since_of(request.path) == 0
        request.begin()
        request.piece(event(1) + end(2))
        request.finish_pieces()

    port = free_port()
    with back_soon(serve, port, stream):
        assert seqs(known(port), follow=True) == [1, 2]


def test_an_upload_that_begins_meanwhile_waits(serve: Any, tmp_path: Path) -> None:
    """All of a bundle arrives, once."""
    path = tmp_path / "bundle.zip"
    path.write_bytes(b"z" * 1000)
    port = free_port()
    with back_soon(serve, port, uploads(0, 1000)):
        known(port).put_bundle("ab" * 32, path)


def test_a_download_that_begins_meanwhile_waits(serve: Any) -> None:
    """Its content is checked as ever."""
    import hashlib

    sha256 = hashlib.sha256(b"text").hexdigest()

    def content(request: Request) -> None:
        request.send_response(206)
        request.send_header("ETag", f'"{sha256}"')
        request.send_header("Content-Length", "4")
        request.end_headers()
        request.wfile.write(b"text")

    port = free_port()
    file = {"path": "out/a", "size_bytes": 4, "sha256": sha256}
    with back_soon(serve, port, content):
        assert b"".join(known(port).files.read(FID, file)) == b"text"


@pytest.mark.parametrize(
    "ask",
    [
        lambda client, _: client.flows(),
        lambda client, _: seqs(client, follow=True),
        lambda client, path: client.put_bundle("ab" * 32, path),
        lambda client, _: list(
            client.files.read(FID, {"path": "out/a", "size_bytes": 4, "sha256": "x"})
        ),
    ],
    ids=["request", "follower", "upload", "download"],
)
@pytest.mark.parametrize("how", ["never", "turned off", "given up"])
def test_a_server_that_never_answered_is_given_up_soon(ask: Any, how: str, tmp_path: Path) -> None:
    """A URL that never answered, and one that is not to be waited for, or no longer."""
    path = tmp_path / "bundle.zip"
    path.write_bytes(b"z" * 1000)
    away_s = {"never": 15.0, "turned off": 0.0, "given up": 1.5}[how]
    make = fresh if how == "never" else known
    with waiting(0.5 if how == "given up" else 0.0, 2.0), pytest.raises(errors.UnreachableError):
        ask(make(free_port(), away_s=away_s), path)


@pytest.mark.parametrize("follows", [False, True], ids=["request", "follower"])
@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_proxy_alone_is_not_a_control_plane(serve: Any, status: int, *, follows: bool) -> None:
    """Its error is reported soon if no control plane has ever answered, else after waiting."""

    def behind_a_proxy(request: Request) -> None:
        if len(server.requests) < tries:
            request.answer(status)
        elif follows:
            request.begin()
            request.piece(end(1))
            request.finish_pieces()
        else:
            request.answer(200, {"items": [], "next": None})

    def ask(client: Client) -> Any:
        return seqs(client, follow=True) if follows else client.flows()

    server, tries = serve(behind_a_proxy), 100
    with pytest.raises(errors.UnreachableError, match=f"answers {status}"):
        ask(fresh(server.port))
    told = len(server.requests)
    assert told < 10, "not for 15 s"
    tries = told + 6  # more than fit into a second, by the pauses between them
    assert ask(known(server.port)) == ([1] if follows else [])


def test_a_proxys_answer_does_not_hide_a_control_plane(serve: Any) -> None:
    """The first version is remembered, with a warning if it differs."""

    def handle(request: Request) -> None:
        if len(server.requests) < 2:
            request.answer(502)
        else:
            as_koco(fine)(request)

    server = serve(handle)
    fresh(server.port).flows()
    assert known_servers.before(f"http://127.0.0.1:{server.port}")


def test_an_answer_is_remembered_once(serve: Any, home: Path) -> None:
    """The file is made at the first one, and not touched again."""
    server = serve(as_koco(fine))
    assert not home.exists()
    fresh(server.port).flows()
    [made] = (home / "answered").iterdir()
    assert made.stat().st_mode & 0o777 == 0o600
    os.utime(made, (1.0, 1.0))
    fresh(server.port).flows()
    assert made.stat().st_mtime == 1.0
    known_servers.forget(f"http://127.0.0.1:{server.port}")
    assert not known_servers.before(f"http://127.0.0.1:{server.port}")


def test_only_a_control_planes_answer_counts(serve: Any, home: Path) -> None:
    """Another server there may go for good, and only clients that remember take notes."""
    fresh(serve(fine).port).flows()
    Client(Context("test", f"http://127.0.0.1:{serve(as_koco(fine)).port}", "k")).flows()
    assert not home.exists()


def test_a_refusal_is_an_answer(serve: Any) -> None:
    """A control plane was found, even without a key."""
    refused = {"error": {"code": "unauthorized", "message": "no", "hint": None}}
    server = serve(as_koco(lambda request: request.answer(401, refused)))
    with pytest.raises(errors.UnauthorizedError):
        fresh(server.port).flows()
    assert known_servers.before(f"http://127.0.0.1:{server.port}")


def test_failing_to_note_a_server_is_not_an_error(serve: Any, home: Path) -> None:
    """Its folder cannot be made, or its name is too long."""
    home.write_text("a file")
    server = serve(as_koco(fine))
    assert fresh(server.port).flows() == []
    assert not known_servers.before(f"http://127.0.0.1:{server.port}")
    known_servers.remember(f"http://h/{'x' * 1000}")
    known_servers.forget(f"http://h/{'x' * 1000}")


def test_an_unknown_host_is_not_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Off the network, a command says so at once."""
    url = "http://koco.invalid:8400"
    known_servers.remember(url)
    with waiting(0.0, 2.0), pytest.raises(errors.UnreachableError):
        Client(Context("test", url, "k"), remembers=True).flows()


def test_how_long_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A number of seconds; nothing else."""
    assert context_file.restart_wait_s() is None
    for text, seconds in (("30", 30.0), (" 0 ", 0.0), ("", None)):
        monkeypatch.setenv("KOCO_RESTART_WAIT", text)
        assert context_file.restart_wait_s() == seconds
    for text in ("no", "-1", "nan", "inf"):
        monkeypatch.setenv("KOCO_RESTART_WAIT", text)
        with pytest.raises(errors.UsageError, match="KOCO_RESTART_WAIT"):
            context_file.restart_wait_s()


@pytest.fixture
def away(serve: Any, monkeypatch: pytest.MonkeyPatch) -> int:
    """A port where a control plane has answered commands before, and nothing is now."""
    port = free_port()
    monkeypatch.setenv("KOCO_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("KOCO_KEY", "koco_key")
    known_servers.remember(f"http://127.0.0.1:{port}")
    return port


def nothing_listed(request: Request) -> None:
    request.answer(200, {"items": [], "next": None, "complete": True})


def test_a_command_waits_and_a_pipe_hears_nothing_of_it(away: int, serve: Any, cli: Cli) -> None:
    """Exit code 0, and not a word more than ever."""
    with back_soon(serve, away, nothing_listed), waiting(AWAY_S, 8):
        ran = cli("ps", "--json")
    assert (ran.code, ran.err) == (0, "")


def test_a_terminal_shows_the_wait(away: int, serve: Any, terminal: Cli) -> None:
    """For whom it waits, and how long at most."""
    with back_soon(serve, away, nothing_listed, away_s=4):
        ran = terminal("ps")
    assert ran.code == 0
    said = f"http://127.0.0.1:{away} does not answer, but has before: waiting 14 s for it…\n"
    assert ran.out.startswith(said)


def test_scripts_can_do_without(away: int, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """`KOCO_RESTART_WAIT=0`: exit code 3, at once."""
    monkeypatch.setenv("KOCO_RESTART_WAIT", "0")
    with waiting(0.0, 0.1):
        assert cli("ps").code == 3
    monkeypatch.setenv("KOCO_RESTART_WAIT", "soon")
    assert cli("ps").code == 2
