"""Calls over the control plane's socket, as its runners make them."""

import asyncio
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from koco.control.server.local_calls import LocalCalls
from koco.sdk.process import local_socket
from koco.sdk.process.local_socket import LocalSocket, Messages, message


class Plane:
    """What a control plane has for a socket."""

    def __init__(self, path: Path, name: bytes = b"first") -> None:
        self.name = name
        self.gate = asyncio.Event()
        self.done: list[bytes] = []
        self.calls = LocalCalls(
            path, {name: getattr(self, name) for name in ("append", "ask", "take")}
        )

    async def append(self, blob: bytes) -> bytes:
        if blob == b"bad":
            raise ValueError("bad")
        await asyncio.sleep(0)
        return self.name + b" has " + blob

    async def take(self, blob: bytes) -> bytes:
        return blob

    async def ask(self, blob: bytes) -> bytes:
        await self.gate.wait()
        self.done.append(blob)
        return self.name + b" answers " + blob


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s"


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_socket, "_AGAIN_S", 0.0)


def run(body: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        await asyncio.wait_for(body(), 20)

    asyncio.run(limited())


def test_calls_are_answered_each_with_its_own_answer(path: Path) -> None:
    """One that waits holds up no other; sizes do not matter."""

    async def body() -> None:
        plane, end = Plane(path), LocalSocket(path)
        await plane.calls.open()
        asking = asyncio.create_task(end.call("ask", b"why"))
        blobs = [b"", b"a", b"x" * 3_000_000, *(b"%d" % number for number in range(500))]
        answers = await asyncio.gather(*(end.call("append", blob) for blob in blobs))
        assert answers == [b"first has " + blob for blob in blobs]
        assert not asking.done()
        plane.gate.set()
        assert await asking == b"first answers why"
        plane.calls.close()

    run(body)


def test_without_a_socket_the_actor_has_to_be_called(path: Path) -> None:
    """On another node there is none; a dead control plane leaves one that nobody listens on."""

    async def body() -> None:
        end = LocalSocket(path)
        assert await end.call("append", b"a") is None
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
        assert await end.call("append", b"a") is None
        plane = Plane(path)
        await plane.calls.open()
        assert await end.call("append", b"a") == b"first has a"
        plane.calls.close()

    run(body)


def test_a_control_plane_that_hands_over_answers_nothing_more(path: Path) -> None:
    """Calls on their way end without an answer, and the next ones reach the one that follows."""

    async def body() -> None:
        former, end = Plane(path), LocalSocket(path)
        await former.calls.open()
        assert await end.call("append", b"a") == b"first has a"
        asking = asyncio.create_task(end.call("ask", b"why"))
        await asyncio.sleep(0.05)
        former.calls.close()
        assert await asking is None
        assert not _is_there(path)
        assert await end.call("append", b"a") is None
        following = Plane(path, b"second")
        await following.calls.open()
        former.calls.close()  # once more: it removes nothing that is not its own
        assert await end.call("append", b"a") == b"second has a"
        former.gate.set()
        await asyncio.sleep(0.05)
        assert former.done == [b"why"]  # what has begun ends, because it may have been committed
        await following.calls.open()
        following.calls.close()

    run(body)


def test_what_fails_is_left_to_the_actor(path: Path) -> None:
    """Errors, methods that only a newer koco knows, and messages beyond the limit."""

    async def body() -> None:
        plane, end = Plane(path), LocalSocket(path)
        await plane.calls.open()
        assert await end.call("append", b"bad") is None
        assert await end.call("append", bytes(local_socket.MOST_BYTES + 1)) is None
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(message(7, 99, b"new"))
        ((number, code, _),) = Messages().feed(await reader.readexactly(13))
        assert (number, code) == (7, local_socket.FAILED)
        writer.write(b"\xff" * 13)  # four gigabytes
        assert await reader.read() == b""
        writer.close()
        assert await end.call("append", b"a") == b"first has a"
        plane.calls.close()

    run(body)


def test_messages_arrive_in_any_pieces() -> None:
    """A byte at a time, or several at once."""
    sent = [(1, 0, b"one"), (2, 1, b""), (2**63, 255, b"three")]
    data = b"".join(message(*each) for each in sent)
    messages, single = Messages(), Messages()
    assert list(messages.feed(data + data[:5])) == sent
    assert list(messages.feed(data[5:])) == sent
    assert [each for byte in data for each in single.feed(bytes([byte]))] == sent


def test_only_its_user_is_let_in(path: Path) -> None:
    """The file has the mode, and whoever opens it in another way is not answered."""

    async def body() -> None:
        plane = Plane(path)
        await plane.calls.open()
        assert _mode(path) == 0o600
        if os.geteuid() == 0:
            assert await asyncio.to_thread(_call_as_another, path) == b""
        plane.calls.close()

    run(body)


def _is_there(path: Path) -> bool:
    return path.is_socket()


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _call_as_another(path: Path) -> bytes:
    """Return what another user's process gets for an answer."""
    path.chmod(0o666)
    path.parent.chmod(0o755)
    code = (
        "import os, socket, sys; s = socket.socket(socket.AF_UNIX); os.chdir(sys.argv[1]); "
        "os.setuid(65534); s.connect('s'); s.sendall(bytes.fromhex(sys.argv[2])); "
        "print(s.recv(99).hex())"
    )
    command = [sys.executable, "-c", code, str(path.parent), message(1, 0, b"a").hex()]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    assert "PermissionError" not in done.stderr, done.stderr
    # A connection that is broken at once may also fail while it is written to.
    return bytes.fromhex(done.stdout.strip()) if done.returncode == 0 else b""
