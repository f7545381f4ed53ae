"""The files that receive this process's stdout and stderr, directly or through a pipe.

`koco deploy > deploy.log` and `koco deploy 2>&1 | tee deploy.log` create such a file in the folder
that is deployed. It changes with each line, and is not part of the service.
"""

import contextlib
import os
import stat
from collections.abc import Iterator
from functools import cache

#: The identity of a file, whatever its name: `st_dev` and `st_ino`.
Identity = tuple[int, int]


def written() -> frozenset[Identity]:
    """Return the files that receive this process's output.

    Files behind a pipe are found through `/proc`. Without `/proc`, only direct files are found.
    """
    found, pipes = set[Identity](), set[Identity]()
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):  # closed
            status = os.fstat(descriptor)
            (pipes if stat.S_ISFIFO(status.st_mode) else found).add(identity(status))
    return frozenset(found | _behind(frozenset(pipes)))


@cache  # cached: the search takes milliseconds, and each of many services needs it
def _behind(pipes: frozenset[Identity]) -> set[Identity]:
    """Return the files that the pipes' readers have open for writing, also through more pipes."""
    found: set[Identity] = set()
    others = [*_others()] if pipes else []
    while pipes:
        readers = [each for each in others if each[0] & pipes]
        others = [each for each in others if each not in readers]
        found |= {file for _, _, files in readers for file in files}
        pipes = frozenset(pipe for _, written, _ in readers for pipe in written)
    return found


def _others() -> Iterator[tuple[set[Identity], set[Identity], set[Identity]]]:
    """Yield the pipes that each other process of this session reads and writes, and its files.

    Ancestors of this process are left out. A program that reads the output of its own child does
    more than pass it on, so the files that it writes may have any content.
    """
    ancestors, session = {*_ancestors()}, os.getsid(0)
    for name in _listed("/proc"):
        pid = int(name) if name.isdecimal() else 0
        with contextlib.suppress(OSError):  # it has ended, or belongs to another user
            if pid and pid not in ancestors and os.getsid(pid) == session:
                yield _descriptors(f"/proc/{pid}/fd")


def _descriptors(folder: str) -> tuple[set[Identity], set[Identity], set[Identity]]:
    reads, writes, files = set[Identity](), set[Identity](), set[Identity]()
    for name in _listed(folder):
        with contextlib.suppress(OSError):  # closed in the meantime
            status, mode = os.stat(f"{folder}/{name}"), os.lstat(f"{folder}/{name}").st_mode  # noqa: PTH116
            if stat.S_ISFIFO(status.st_mode):
                (writes if mode & stat.S_IWUSR else reads).add(identity(status))
            elif stat.S_ISREG(status.st_mode) and mode & stat.S_IWUSR:
                files.add(identity(status))
    return reads, writes, files


def _ancestors() -> Iterator[int]:
    pid = os.getpid()
    while pid > 1:
        yield pid
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
                # The name before it may contain any character.
                pid = int(file.read().rpartition(b")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            return


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208
    except OSError:
        return []


def identity(status: os.stat_result) -> Identity:
    """Return the identity of a file."""
    return status.st_dev, status.st_ino
