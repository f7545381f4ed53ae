"""Files that users give by their URL: fetched into blobs, with the limits of uploads.

Each is fetched by a process of its own (`koco.control.storage.fetch_process`), because a host may
answer so that reading it takes a lot of work. Here only whole pieces of the file arrive.
"""

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from koco.control import fair_turns
from koco.control.storage import web_urls
from koco.control.storage.blobs import Blobs
from koco.control.storage.download_messages import Order, Result
from koco.control.storage.download_turns import DownloadTurns
from koco.control.storage.web_urls import DownloadError

log = logging.getLogger(__name__)

#: The time limit of a download (seconds).
_MOST_S = 120.0
#: The priority of the process that fetches.
_NICENESS = 10
#: The module that fetches.
_MODULE = "koco.control.storage.fetch_process"


class Download(msgspec.Struct, frozen=True):
    """A fetched file: a name for it, and its blob."""

    name: str
    sha256: str
    size_bytes: int


class Downloads:
    """Fetches URLs. `module` is for tests: a module that fetches from other addresses, too."""

    def __init__(self, blobs: Blobs, *, module: str = _MODULE) -> None:
        self._blobs = blobs
        self._module = module
        self._turns = DownloadTurns()

    async def fetch(
        self, url: str, *, user: str, most_bytes: float, by: str = "", holder: str = ""
    ) -> Download:
        """Fetch a URL into a blob that a user may name.

        `by` is the owner of the unfinished file (`Caller.owner`), and `holder` (`Caller.holder`)
        the one whose turn it takes; by default both are the user.

        Raises:
            DownloadError: the URL is invalid, leads to no public address, or does not answer with a
                file of that size in time.
            KocoError: see `Blobs.receive_content`.
        """
        web_urls.check(url)
        fair_turns.yield_turn()
        async with self._turns.turn(holder or user):
            try:
                async with asyncio.timeout(_MOST_S) as patience:
                    return await self._receive(url, user, most_bytes, by)
            except TimeoutError:
                if not patience.expired():
                    raise
                what = f"it takes too long: more than {_MOST_S:g} s in all"
                raise DownloadError(what) from None

    async def _receive(self, url: str, user: str, most_bytes: float, by: str) -> Download:
        async with _fetching(self._module, url, most_bytes) as fetched:
            sha256, size = await self._blobs.receive_content(user, fetched.pieces(), by=by)
            return Download(fetched.name, sha256, size)


class _Fetched:
    """The file that a process fetches; it has a name once its pieces have arrived.

    If `is_over`, the process has nothing more to do, and ends.
    """

    def __init__(self, reader: asyncio.StreamReader, process: asyncio.subprocess.Process) -> None:
        self._reader = reader
        self._process = process
        self.name = ""
        self.is_over = False

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the file.

        Raises:
            DownloadError: it could not be fetched.
        """
        try:
            while piece := await self._frame():
                yield piece
            result = msgspec.json.decode(await self._frame(), type=Result)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.is_over = True
            raise await self._broken() from None
        self.is_over = True
        if result.error:
            raise DownloadError(result.error)
        self.name = result.name

    async def _frame(self) -> bytes:
        size = int.from_bytes(await self._reader.readexactly(4), "big")
        return await self._reader.readexactly(size)

    async def _broken(self) -> DownloadError:
        code = await self._process.wait()
        if code == -signal.SIGXCPU:
            return DownloadError("its host sends it in a way that takes too much work to read")
        log.warning("the process that fetches a URL has ended with %d", code)
        return DownloadError("it cannot be read")


@asynccontextmanager
async def _fetching(module: str, url: str, most_bytes: float) -> AsyncIterator[_Fetched]:
    """Run the process that fetches a URL while the block runs."""
    ours, its = socket.socketpair()
    with its:
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", module),
                stdin=its.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=_environment(),
                start_new_session=True,
            )
        except BaseException:
            ours.close()
            raise
    os.setpriority(os.PRIO_PROCESS, process.pid, _NICENESS)
    fetched: _Fetched | None = None
    try:
        reader, writer = await asyncio.open_connection(sock=ours)
        try:
            # By the socket, because everybody on this machine can read the arguments of a process.
            writer.write(msgspec.json.encode(Order(url, most_bytes)) + b"\n")
            yield (fetched := _Fetched(reader, process))
        finally:
            writer.transport.abort()
    finally:
        if fetched is None or not fetched.is_over:
            process.kill()
        await process.wait()


def _environment() -> dict[str, str]:
    """Return the few variables that the process needs, so that it has no secrets."""
    names = ("PATH", "LANG", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR")
    kept = {name: os.environ[name] for name in names if name in os.environ}
    return {**kept, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
