"""Record why a process ended, in files on its node that the process itself writes as it ends.

In most cases Ray only says that a connection was lost. So each process of a release has its own
directory in Ray's session. There it records the code that it passes to `os._exit`, the signal that
ends it and, if the signal means a crash, the Python stack. Nothing can record SIGKILL or C's
`_exit`.
"""

import contextlib
import ctypes
import faulthandler
import os
import shutil
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from koco.sdk.process import stacks

#: The name below Ray's session directory; in it, each process has one directory.
FOLDER = "koco"
#: A dead process's directory must be this old before other processes remove it (seconds).
STALE_S = 600.0

_DUMP = "crash"
_EXIT = "exit"
_SIGNAL = "signal."
_PROCESS = "process"

#: Signals that end a process unless it has a handler. Ray's own handler of SIGTERM waits for
#: running calls, and in an actor these may run for ever.
_ENDING = ("HUP", "INT", "QUIT", "USR1", "USR2", "ALRM", "TERM", "VTALRM", "PROF", "XCPU", "SYS")

#: The names that `faulthandler` has for the signals of a crash.
_NAMES = {
    "Segmentation fault": signal.SIGSEGV,
    "Aborted": signal.SIGABRT,
    "Bus error": signal.SIGBUS,
    "Illegal instruction": signal.SIGILL,
    "Floating point exception": signal.SIGFPE,
    "Floating-point exception": signal.SIGFPE,
}
#: The signals of a crash: if one comes, Python writes its stacks.
CRASHES: frozenset[int | None] = frozenset(_NAMES.values())

#: Kept open as long as the process lives.
_files: list[IO[bytes]] = []
_directory: Path | None = None
_pid = 0


@dataclass(frozen=True, slots=True)
class End:
    """How a process ended: with an exit code, or through a signal."""

    code: int | None = None
    signal: int | None = None
    #: The Python frames of the thread that crashed, in the form of a traceback.
    traceback: str = ""
    #: Whether this is only concluded because the process has recorded nothing.
    is_guessed: bool = False
    #: The last lines of its log.
    wrote: str = ""

    def __str__(self) -> str:
        if self.signal is None:
            return f"ended with exit code {self.code}"
        if self.is_guessed:
            return f"was ended by {signal_name(self.signal)}, because it left no record of its own"
        return f"was ended by {signal_name(self.signal)}"


def signal_name(number: int) -> str:
    """Return a signal's name and meaning: `SIGSEGV (segmentation fault)`."""
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
    meaning = (signal.strsignal(number) or "").lower()
    return f"{name} ({meaning})" if meaning else name


def directory(name: str) -> Path:
    """Return the directory of a process on this node; its name is a runner's or worker's id.

    Works only in Ray's processes.
    """
    import ray

    node = ray._private.worker._global_node
    return Path(node.get_session_dir_path()) / FOLDER / name


def install_in_worker(release: str) -> None:
    """Make this process, a Ray worker of a release (`service/number`), record why it ends.

    Other processes remove its directory (see `sweep`), because Ray ends most workers abruptly.
    """
    import ray

    path = directory(ray.get_runtime_context().get_worker_id())
    with contextlib.suppress(OSError):  # on a full disk, for example: then there is no record
        install(path, release=release)
        sweep(path.parent)


def install(path: Path, *, release: str = "", signals: bool = False) -> None:
    """Make this process record in a directory why it ends, instead of in an earlier one.

    With `signals`, signals also end this process at once, even if Ray has set handlers for them.

    Raises:
        OSError: the files cannot be made.
    """
    global _directory, _pid
    # Only this user may read it.
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.mkdir(mode=0o700, exist_ok=True)
    (path / _PROCESS).write_text(f"{os.getpid()} {release}")
    former, _directory, _pid = _directory, path, os.getpid()
    faulthandler.enable(_open(path / _DUMP), all_threads=True)
    if former is None:
        _wrap_exit()
    else:
        remove(former)
    if signals:
        c = ctypes.CDLL(None)
        for name in _ENDING:
            number = getattr(signal, f"SIG{name}")
            # Not with Python's `signal`, which only the main thread may call.
            c.signal(number, 0)
            faulthandler.register(number, _open(path / f"{_SIGNAL}{name}"), chain=True)
        os.register_at_fork(after_in_child=_forget_signals)


def _open(path: Path) -> IO[bytes]:
    file = path.open("ab", buffering=0)
    _files.append(file)
    return file


def _forget_signals() -> None:
    # A copy made by `fork` records nothing here, because its end is not this process's.
    for name in _ENDING:
        faulthandler.unregister(getattr(signal, f"SIG{name}"))
    if sys.__stderr__ is not None:
        with contextlib.suppress(OSError, ValueError):
            faulthandler.enable(sys.__stderr__)


def _wrap_exit() -> None:
    import posix

    leave = posix._exit

    def _exit(status: int) -> None:
        """Exit to the system with specified status, without normal exit processing."""
        if os.getpid() == _pid and _directory is not None:
            with contextlib.suppress(Exception):
                (_directory / _EXIT).write_text(str(int(status) & 0xFF))
        leave(status)

    os._exit = posix._exit = _exit  # type: ignore[assignment]


def read(path: Path) -> End | None:
    """Return how the process of a directory ended; None if it has recorded nothing."""
    if (dump := _text(path / _DUMP)).startswith("Fatal Python error: "):
        recorded = dump.partition(": ")[2].partition("\n")[0]
        return End(signal=_NAMES.get(recorded, signal.SIGABRT), traceback=_traceback(dump))
    if (code := _text(path / _EXIT)).strip():
        return End(code=int(code))
    for name in _ENDING:
        if _text(path / f"{_SIGNAL}{name}"):
            return End(signal=getattr(signal, f"SIG{name}"))
    return None


def conclude(path: Path) -> End | None:
    """Return the same, but conclude SIGKILL if the process has recorded nothing."""
    if not (path / _DUMP).exists():
        return None
    return read(path) or End(signal=signal.SIGKILL, is_guessed=True)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _traceback(dump: str) -> str:
    """Return the frames of the thread that crashed, most recent last, without koco's own."""
    # Imported here: a process that does not crash needs none of it.
    from koco.sdk.process.tracebacks import format_frames

    current = dump.partition("\nCurrent thread ")[2].partition("\n\n")[0]
    return format_frames(
        [(file, int(line), name) for file, line, name in stacks.FRAME.findall(current)][::-1]
    )


def find(release: str, *, since: float, pid: int = 0) -> tuple[int, End] | None:
    """Return the pid and end of the release's Ray worker that ended last on this node.

    It must have recorded its end at `since` (seconds since 1970) or later. A worker without a
    record is returned only if its `pid` is given: then it was killed.
    """
    import ray

    folder = directory(ray.get_runtime_context().get_worker_id()).parent
    found: list[tuple[float, int, End]] = []
    for entry in folder.glob("*/"):
        number = pid_of(entry) or 0
        of = _text(entry / _PROCESS).partition(" ")[2]
        if of != release or (pid and number != pid) or Path(f"/proc/{number}").exists():
            continue
        if (end := conclude(entry) if pid else read(entry)) is None:
            continue
        said_s = max(file.stat().st_mtime for file in entry.iterdir())
        if pid or said_s >= since:
            found.append((said_s, number, end))
    return max(found, key=lambda each: each[0])[1:] if found else None


def pid_of(path: Path) -> int | None:
    """Return the pid of a directory's process; None if it is not recorded."""
    pid = _text(path / _PROCESS).partition(" ")[0]
    return int(pid) if pid else None


def sweep(folder: Path) -> None:
    """Remove the directories of processes that ended long ago."""
    now = time.time()
    for entry in folder.glob("*/"):
        with contextlib.suppress(OSError):
            is_running = Path(f"/proc/{pid_of(entry) or 0}").exists()
            if now - entry.stat().st_mtime > STALE_S and not is_running:
                remove(entry)


def remove(path: Path) -> None:
    """Remove a process's directory."""
    shutil.rmtree(path, ignore_errors=True)
