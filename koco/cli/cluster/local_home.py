"""What koco's directory knows about the cluster of this machine.

Its context, which may be begun only, whether `koco down` has stopped it, and a lock.
"""

import contextlib
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from koco.cli.cluster import driver_process
from koco.cli.terminal import output
from koco.client import context_file, known_servers
from koco.client.context_file import LOCAL, Context


@contextmanager
def alone(lock: str = "up.lock") -> Iterator[None]:
    """Wait until no other `koco up` or `koco down` of this user is running."""
    path = driver_process.data_dir() / lock
    file: TextIO
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            output.note("another `koco up` or `koco down` is running: waiting for it…")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def load_context() -> Context | None:
    """Return this machine's context; the begun one if an earlier `koco up` did not finish."""
    return context_file.load_begun().get(LOCAL) or context_file.load_contexts().get(LOCAL)


def save_answering(context: Context) -> None:
    """Write the context of a control plane that answers, as the current one."""
    context_file.save_context(context)
    context_file.forget_begun(LOCAL)
    forget_stop()
    known_servers.remember(context.url)


def note_stop(known: Context | None) -> None:
    """Note that nothing of koco runs in the Ray of a context any more; commands stop waiting."""
    if known:
        known_servers.forget(known.url)
        # A full disk must not make `koco down` fail: without the note, the next one looks again.
        with contextlib.suppress(OSError):
            _stopped_path().write_text(_address(known))


def forget_stop() -> None:
    """Forget that `koco down` has stopped something: it is about to start again, or runs."""
    _stopped_path().unlink(missing_ok=True)


def is_stopped(known: Context) -> bool:
    """Return whether `koco down` was the last to deal with the Ray of a context."""
    try:
        return _stopped_path().read_text() == _address(known)
    except (OSError, UnicodeDecodeError):
        return False


def _stopped_path() -> Path:
    return driver_process.data_dir() / "stopped"


def _address(known: Context) -> str:
    return str(known.cluster.get("address", ""))
