"""A process that has imported Ray and koco, and becomes a release's worker whenever one is needed.

A worker's imports are most of its start: 0.4 s of CPU. A fork of this process has them, and shares
their memory. `setup_worker` asks for one over a socket next to the raylet's. The fork answers
whether it can be the worker. If not, the asking process becomes it as usual. That is so if

- a module of the release's bundle has the name of one that is imported here, and
- the worker's environment does not fit into this process's own.

The server ends if nobody has asked it for a while, if its raylet has ended, and if koco's files
have changed, since its forks must have the code that is installed.
"""

import ctypes
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any

#: How long the server waits before it imports (seconds): the first worker comes first.
_PAUSE_S = 1.5
#: How long it stays without work (seconds).
_IDLE_S = 600.0
#: How long the other side may take for its next word (seconds). It has it ready.
_WORD_S = 5.0

#: The imports of Ray's `default_worker.py`, and the modules that a worker loads after that.
_MODULES = (
    *("argparse", "base64", "uvloop"),
    *("ray", "ray._private.node", "ray._private.ray_constants", "ray._private.utils", "ray.actor"),
    *("ray._private.async_compat", "ray._private.parameter", "ray._private.ray_logging"),
    *("ray._private.runtime_env.setup_hook", "koco.sdk.worker_setup", "koco.runner.actor"),
    # A third of what endpoints import. The rest, Ray Serve and numpy, starts threads.
    *("fastapi", "uvicorn"),
)
#: Modules that Python imports by itself when it starts, if they are there.
_OF_PYTHON = {"sitecustomize", "usercustomize"}

#: The search path before the imports. The first is the folder of this script.
_path = sys.path.copy()
#: The positions of `env_start` and `env_end` in /proc/self/stat after the name (proc_pid_stat(5)).
_ENVIRONMENT = slice(47, 49)


def main(path: str, lock: int, raylet: int) -> None:
    """Serve until nobody needs it; a fork becomes a worker.

    `lock` is held as long as this process is there, so that there is one for each path.
    """
    opened = os.pidfd_open(raylet)
    time.sleep(_PAUSE_S)
    code = _import_all()
    listener = socket.socket(socket.AF_UNIX)
    Path(path).unlink(missing_ok=True)  # a former server's: this one has the lock
    listener.bind(path)
    listener.listen(64)
    # Now, because Ray finds the place of titles by the environment, which forks change.
    sys.modules["ray"]._raylet.setproctitle("koco fork server")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel takes forks away that have ended
    line = _serve(listener, opened, code)
    if line is None:
        Path(path).unlink()
        os._exit(0)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    listener.close()
    os.close(opened)
    os.close(lock)
    _become_worker(line)


def _import_all() -> dict[str, tuple[int, int]]:
    """Import what workers need. Return koco's files, with times and sizes."""
    for name in _MODULES:
        try:
            importlib.import_module(name)
        except ImportError:  # an older koco, or no uvloop
            continue
    gc.collect()
    gc.freeze()  # or a fork's first collection would copy all of it
    files = [getattr(m, "__file__", None) for n, m in sys.modules.items() if n.startswith("koco")]
    return {file: _stamp(file) for file in files if file}


def _stamp(file: str) -> tuple[int, int]:
    try:
        found = Path(file).stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


def _serve(
    listener: socket.socket, raylet: int, code: dict[str, tuple[int, int]]
) -> socket.socket | None:
    """Fork for each connection. Return the connection in a fork, and None at the end."""
    poll = select.poll()
    poll.register(raylet, select.POLLIN)
    poll.register(listener, select.POLLIN)
    while ready := poll.poll(_IDLE_S * 1000):
        if any(descriptor == raylet for descriptor, _ in ready):
            return None
        if any(_stamp(file) != stamp for file, stamp in code.items()):
            return None
        line, _ = listener.accept()
        if not _is_ours(line) or os.fork():
            line.close()
        else:
            return line
    return None


def _is_ours(line: socket.socket) -> bool:
    size = struct.calcsize("3i")
    peer = line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    return bool(struct.unpack("3i", peer)[1] == os.getuid())


def _become_worker(line: socket.socket) -> None:
    """Read what is wanted, and run the worker in this process, unless that must not be."""
    line.settimeout(_WORD_S)
    try:
        head, files, _, _ = socket.recv_fds(line, 4, 3)
        wanted: dict[str, Any] = json.loads(_read(line, int.from_bytes(head, "big")))
        search = wanted["environment"].get("PYTHONPATH", "")
        if not (_is_free(search) and _fits(wanted["environment"])):
            line.sendall(b"n")
            os._exit(0)
        line.sendall(b"y")
        # The other side may have given up meanwhile, and become the worker itself.
        if line.recv(1) != b"g":
            os._exit(0)
    except OSError:
        os._exit(0)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    _prepare(wanted, search)
    # Closed when the worker has reached Ray, or has ended.
    _hand_over(line)
    command = wanted["command"]
    sys.argv[:] = command
    runpy.run_path(command[0], run_name="__main__")


def _hand_over(line: socket.socket) -> None:
    line.settimeout(None)
    try:
        from koco.sdk.process import birth
    except ImportError:  # another koco: then nobody tells when it has reached Ray
        line.close()
    else:
        birth.line = line


def _read(line: socket.socket, size: int) -> bytes:
    blob = b""
    while len(blob) < size:
        if not (part := line.recv(size - len(blob))):
            raise ConnectionResetError
        blob += part
    return blob


def _is_free(search: str) -> bool:
    """Return whether no module in the folders of `PYTHONPATH` has a name that is imported here."""
    taken = {name.partition(".")[0] for name in sys.modules} | _OF_PYTHON
    for folder in search.split(os.pathsep) if search else []:
        if not folder:
            return False  # the current directory
        try:
            found = [each.name for each in Path(folder).iterdir()]
        except OSError:
            continue  # Python ignores it as well
        names = {name.partition(".")[0] for name in found if _is_module(name)}
        # koco may be in one of them itself, if it was developed there.
        if names & taken and folder not in _own_search():
            return False
    return True


def _is_module(name: str) -> bool:
    return "." not in name or name.endswith((".py", ".pyc", ".so"))


def _own_search() -> list[str]:
    return [each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each]


def _block(environment: dict[str, str]) -> bytes:
    return b"".join(os.fsencode(f"{name}={value}") + b"\0" for name, value in environment.items())


def _area() -> tuple[int, int]:
    """Return where the kernel takes this process's environment from, and how long it is."""
    text = Path("/proc/self/stat").read_text("utf-8", "replace")
    begin, end = map(int, text.rpartition(")")[2].split()[_ENVIRONMENT])
    return begin, end - begin


def _fits(environment: dict[str, str]) -> bool:
    return len(_block(environment)) < _area()[1]


def _prepare(wanted: dict[str, Any], search: str) -> None:
    """Give this process the environment, the search path and the rest of the other one's."""
    own = _own_search()
    sys.path[:] = [
        *(each for each in sys.path if each not in _path),  # Ray puts a folder of its own first
        str(Path(wanted["command"][0]).parent),
        *(search.split(os.pathsep) if search else []),
        *(each for each in _path[1:] if each not in own),
    ]
    importlib.invalidate_caches()
    os.environ.clear()
    os.environ.update(wanted["environment"])
    time.tzset()
    # Nothing points into the area any more. So what /proc shows of this process is true, also to
    # those that look for the processes of a cluster by it.
    block = _block(wanted["environment"])
    begin, size = _area()
    ctypes.memset(begin, 0, size)
    ctypes.memmove(begin, block, len(block))
    os.setpgid(0, 0)  # as the raylet does: it ends the group of a worker that has ended
    os.chdir(wanted["folder"])
    os.umask(wanted["umask"])
    if wanted["niceness"] > os.getpriority(os.PRIO_PROCESS, 0):
        os.setpriority(os.PRIO_PROCESS, 0, wanted["niceness"])
    Path("/proc/self/oom_score_adj").write_text(wanted["oom_score"], "ascii")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
