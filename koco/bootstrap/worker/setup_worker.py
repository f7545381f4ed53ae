"""Start a worker in its runtime environment, without importing Ray first.

Ray's own script of this name imports all of Ray only to set variables and to become the worker,
which imports it once more. That is 0.27 s of CPU for each runner, replica and Ray task's process.
This one does the same in 15 ms, and leaves whatever it does not know to Ray's.

The processes of koco's releases come from a fork server, if one runs: see `fork_server`, which has
all of that imported. The first of them starts it, and becomes its worker as any other does.

The raylet knows the script by its file's name: it leaves it out for workers without an environment.
"""

import json
import os
import socket
import struct
import sys

_CONTEXT, _LANGUAGE = "--serialized-runtime-env-context=", "--language="
_RAYLET = "--raylet-name="

#: What Ray's context has, with the values that need no shell.
_PLAIN: dict[str, object] = {"command_prefix": [], "override_worker_entrypoint": None}
_KEYS = {*_PLAIN, "env_vars", "py_executable", "java_jars"}

#: Marks the processes of releases: see `koco.sdk.worker_setup`.
_OF_KOCO = "KOCO_RELEASE"
#: Variables that matter when Python or Ray starts, by how they begin. Each set of their values has
#: a fork server of its own. So has each job of Ray's: koco's is one, Serve's another.
_AT_START = ("RAY_", "PYTHON", "LD_", "DYLD_", "MALLOC_", "GLIBC_", "LC_", "LANG", "SPT_", "GRPC_")
#: The one of them that a fork can change.
_LATER = "PYTHONPATH"
#: How many fork servers a raylet may have at once.
_MOST = 4
#: How long a fork server may take to answer (seconds). It answers in milliseconds.
_ANSWER_S = 5.0
#: The room for the environments of workers in a fork server's own (bytes).
_ROOM = 16_384


def main(arguments: list[str]) -> None:
    """Become the worker that the arguments describe."""
    command = [each for each in arguments if not each.startswith((_CONTEXT, _LANGUAGE))]
    context = _value(arguments, _CONTEXT)
    known = json.loads(context) if context else {}
    is_plain = all(known.get(key) == value for key, value in _PLAIN.items())
    if known.keys() != _KEYS or not is_plain or _value(arguments, _LANGUAGE) != "PYTHON":
        _leave_to_ray(arguments)
    variables = known["env_vars"]
    if any("$" in value for value in variables.values()):
        _leave_to_ray(arguments)  # it puts in the values of other variables
    python = known["py_executable"]
    if "/" not in python or any(letter in python for letter in " '\"$\\"):
        _leave_to_ray(arguments)  # a command line for the shell
    if _OF_KOCO in variables and python == sys.executable and sys.platform == "linux":
        _fork(command, variables)
    os.environ.update(variables)
    os.execv(python, [python, *command])


def _value(arguments: list[str], name: str) -> str:
    return next((each[len(name) :] for each in arguments if each.startswith(name)), "")


def _leave_to_ray(arguments: list[str]) -> None:
    from ray._private.workers import setup_worker

    script = setup_worker.__file__
    os.execv(sys.executable, [sys.executable, script, *arguments])


def _fork(command: list[str], variables: dict[str, str]) -> None:
    """Let the fork server start the worker and exit after it; return if it does not."""
    import hashlib

    environment = {**os.environ, **variables}
    at_start = sorted(
        (name, value)
        for name, value in environment.items()
        if name.startswith(_AT_START) and name != _LATER
    )
    script = f"{os.path.dirname(os.path.abspath(__file__))}/fork_server.py"
    with open(script, "rb") as file:  # a newer koco's may speak differently
        text = file.read()
    key = hashlib.sha256(repr((sys.executable, at_start)).encode() + text).hexdigest()[:8]
    # Next to the sockets of Ray, as private, and no longer than theirs: 107 bytes are the limit.
    path = f"{os.path.dirname(_value(command, _RAYLET))}/kf-{key}"
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(_ANSWER_S)
        try:
            line.connect(path)
        except OSError:
            # There is none yet, or it has ended.
            _start_server(script, path, command, {**os.environ, **dict(at_start)})
            return
        try:
            if _order(line, command, environment):
                os._exit(0)
        except OSError:
            return  # it has not begun, because it waits for a last word from here


def _order(line: socket.socket, command: list[str], environment: dict[str, str]) -> bool:
    """Ask a fork server for a worker, and wait until that has reached Ray or has ended."""
    size = struct.calcsize("3i")
    _, owner, _ = struct.unpack("3i", line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    if owner != os.getuid():
        return False
    umask = os.umask(0o077)
    os.umask(umask)
    with open("/proc/self/oom_score_adj", encoding="ascii") as file:
        score = file.read()
    wanted = {
        "command": command,
        "environment": environment,
        "folder": os.getcwd(),
        "umask": umask,
        "niceness": os.getpriority(os.PRIO_PROCESS, 0),
        "oom_score": score,
    }
    blob = json.dumps(wanted).encode()
    socket.send_fds(line, [len(blob).to_bytes(4, "big")], [0, 1, 2])
    line.sendall(blob)
    if line.recv(1) != b"y":
        return False
    line.sendall(b"g")
    # From here on there is a worker. koco takes one as dead at its start if this process has ended
    # before it reached Ray: see `koco.cluster.worker_starts`.
    line.settimeout(None)
    line.recv(1)
    return True


def _start_server(script: str, path: str, command: list[str], environment: dict[str, str]) -> None:
    """Start a fork server, unless another process does, or there are enough."""
    import fcntl
    import glob

    # A server has its lock from its start to its end, also if it is killed and leaves its socket.
    locks = glob.glob(f"{glob.escape(os.path.dirname(path))}/kf-????????.lock")
    if sum(_is_held(lock) for lock in locks) >= _MOST:
        return
    held = os.open(f"{path}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(held)
        return
    raylet = os.getppid()
    if child := os.fork():
        os.waitpid(child, 0)
        os.close(held)
        return
    if os.fork():
        os._exit(0)  # a worker's children end with it
    os.setpgid(0, 0)  # Ray ends the whole group of a worker that has ended
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    os.set_inheritable(held, True)
    environment["KOCO_FORK_ROOM"] = "x" * _ROOM
    # All of the words, so that the titles of workers have as much room as in one of Ray's own.
    words = [sys.executable, script, path, str(held), str(raylet), *command]
    os.execve(sys.executable, words, environment)


def _is_held(lock: str) -> bool:
    import fcntl

    try:
        with open(lock, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    return False


if __name__ == "__main__":
    main(sys.argv[1:])
