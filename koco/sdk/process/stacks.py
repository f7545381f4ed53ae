"""Read the Python stacks of a release's process from outside of it.

`install` makes the process write its stacks into a file in memory when it gets a signal. This works
even while C code holds the interpreter's lock. `dump` sends that signal, from any process of the
same user on the node, and reads the file. No file is left behind.

Standard library and msgspec only: every process of a release imports this module.
"""

import asyncio
import concurrent.futures
import contextlib
import faulthandler
import functools
import importlib
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec

import koco

#: The signal that asks for the stacks. C libraries use the first real-time signals.
SIGNAL = signal.SIGRTMAX - 5 if hasattr(signal, "SIGRTMAX") else 0
#: The name of the file in memory, and the kernel's name for it.
_NAME = "koco-stacks"
_LINK = f"/memfd:{_NAME} (deleted)"
#: How long the process may take to write, and how long a pause means that it is done (seconds).
_WRITE_S, _QUIET_S = 2.0, 0.1

_THREAD = re.compile(r"^(?:Current thread|Thread) 0x([0-9a-f]+) ", re.MULTILINE)
#: A frame in the output of `faulthandler`: its file, line and function.
FRAME = re.compile(r'^  File "(.*)", line (\d+) in (.*)$', re.MULTILINE)

#: Directories of code that calls an author's code.
CALLERS = (
    *(str(Path(koco.__file__).parent / package) for package in ("runner", "sdk")),
    *(str(Path(each.__file__ or "").parent) for each in (asyncio, importlib, concurrent.futures)),
    str(Path(threading.__file__)),
    "<frozen importlib",
)
#: The scripts that start workers, as `koco.bootstrap.ray_start` copies them.
_STARTERS = ("/ray/fork_server.py", "/ray/setup_worker.py")
#: The frame between an execution's task and its coroutine: see `koco.runner.generators`.
_STEPPED = "Stepped.__await__"
#: The file in the top folder of each unpacked bundle.
BUNDLE_MARK = ".koco-bundle.json"


class Frame(msgspec.Struct, frozen=True):
    """A place in a called function."""

    file: str
    line: int
    function: str


class Stack(msgspec.Struct, frozen=True):
    """The current calls of a thread or a task, the newest last."""

    name: str
    frames: list[Frame]
    #: The object that it waits for, if its newest frame does not show that.
    waits: str


def install() -> None:
    """Make this process write its stacks when it gets `SIGNAL`, if the system supports that."""
    if not SIGNAL or not hasattr(os, "memfd_create"):
        return
    with contextlib.suppress(OSError):
        descriptor = os.memfd_create(_NAME, os.MFD_CLOEXEC)
        # Readers truncate the file first, so writing must start at its new end.
        import fcntl

        fcntl.fcntl(descriptor, fcntl.F_SETFL, os.O_APPEND)
        faulthandler.register(SIGNAL, descriptor, all_threads=True, chain=False)


def dump(pid: int) -> list[Stack] | None:
    """Return the stacks of a process of this node; None if it does not write them.

    The process is not stopped for it. Its threads are named by number.
    """
    path = _file_of(pid)
    if path is None:
        return None
    try:
        os.truncate(path, 0)
        os.kill(pid, SIGNAL)
        text = _read_when_written(path)
    except OSError:
        return None  # the process has ended
    return parse(text) if text else None


def _file_of(pid: int) -> str | None:
    with contextlib.suppress(OSError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):  # closed meanwhile
                if str(entry.readlink()) == _LINK:
                    return str(entry)
    return None


def _read_when_written(path: str) -> str:
    """Wait until the process has written and stopped writing; return the text."""
    deadline, changed, size = time.monotonic() + _WRITE_S, time.monotonic(), 0
    while time.monotonic() < deadline:
        now = Path(path).stat().st_size
        if now != size:
            size, changed = now, time.monotonic()
        elif size and time.monotonic() - changed > _QUIET_S:
            break
        time.sleep(0.01)
    return Path(path).read_text(encoding="utf-8", errors="replace")


def parse(text: str) -> list[Stack]:
    """Parse the output of `faulthandler` into stacks."""
    parts = _THREAD.split(text)[1:]
    return [
        Stack(
            name=f"thread {int(number, 16)}",
            frames=[
                Frame(file, int(line), function)
                for file, line, function in reversed(FRAME.findall(body))
            ],
            waits="",
        )
        for number, body in zip(parts[::2], parts[1::2], strict=True)
    ]


def of_thread(ident: int) -> list[Frame]:
    """Return the frames of a thread of this process."""
    return _frames(sys._current_frames().get(ident))


def _frames(frame: FrameType | None) -> list[Frame]:
    found: list[Frame] = []
    while frame is not None:
        found.append(_frame(frame))
        frame = frame.f_back
    return found[::-1]


def _frame(frame: FrameType) -> Frame:
    code = frame.f_code
    return Frame(code.co_filename, frame.f_lineno or code.co_firstlineno, code.co_qualname)


def of_task(task: "asyncio.Task[Any]", name: str, running: list[Frame] | None) -> list[Stack]:
    """Return the stacks of a task and of the tasks that it waits for.

    `running` is the stack of the loop's thread, if the task is the one that runs just now.
    """
    if running is not None:
        return [Stack(name, running, "")]
    frames, inner = _frames_of_awaitable(task.get_coro())
    waiting = getattr(task, "_fut_waiter", None)
    # Those of `asyncio.gather` are its children.
    inside = getattr(waiting, "_children", None) or [waiting]
    below = [each for each in inside if isinstance(each, asyncio.Task) and not each.done()]
    what = waiting if waiting is not None else inner
    waits = "" if below or what is None else type(what).__name__.lstrip("_")
    found = [Stack(name, frames, waits)]
    for each in below[:100]:
        found += of_task(each, f"{each.get_name()}, which it waits for", None)
    return found


def _frames_of_awaitable(awaitable: Any) -> tuple[list[Frame], Any]:
    """Return the frames of a coroutine and of its awaitables, and the object at the end."""
    found: list[Frame] = []
    while awaitable is not None:
        for prefix in ("cr", "ag", "gi"):
            frame = getattr(awaitable, f"{prefix}_frame", None)
            if frame is not None and frame.f_code.co_qualname == _STEPPED:
                awaitable = frame.f_locals["self"]._coroutine  # the wrapped coroutine
                break
            if frame is not None:
                found.append(_frame(frame))
                following = "yieldfrom" if prefix == "gi" else "await"
                awaitable = getattr(awaitable, f"{prefix}_{following}", None)
                break
        else:
            return found, awaitable
    return found, None


# for display


def for_display(stack: Stack) -> Stack:
    """Return a stack without the callers of the author's code, with file names as in the bundle."""
    frames = stack.frames
    while frames and frames[0].file.startswith(CALLERS):
        frames = frames[1:]
    roots = bundle_folders()
    return msgspec.structs.replace(stack, frames=[_short(each, roots) for each in frames])


def is_of_an_author(stack: Stack) -> bool:
    """Return whether a stack has code that is not koco's, Python's or Ray's."""
    return not all(map(_is_foreign, (each.file for each in stack.frames)))


def _is_foreign(file: str) -> bool:
    if file.startswith((str(Path(koco.__file__).parent), "<")) or "/ray/_private/" in file:
        return True
    if file.endswith(_STARTERS):
        return True
    if packages := re.search(r"/(?:site|dist)-packages/(ray/)?", file):
        return packages[1] is not None
    return file.startswith(str(Path(os.__file__).parent))


def bundle_folders() -> list[str]:
    """Return the folders of bundles that modules are imported from, each with a final `/`."""
    return [f"{root}/" for root in sys.path if root and (Path(root) / BUNDLE_MARK).exists()]


@functools.cache
def bundle_of(file: str) -> str:
    """Return the directory of the bundle that contains a file; empty if there is none."""
    return next((str(p) for p in Path(file).parents if (p / BUNDLE_MARK).exists()), "")


def without_unpacked_folder(file: str) -> str:
    """Return a file's name below the folder into which Ray or koco has unpacked it, if any."""
    return re.sub(r"^.*/py_modules_files/[^/]+/", "", file)


def _short(frame: Frame, roots: Iterable[str]) -> Frame:
    file = without_unpacked_folder(frame.file)
    for root in roots:
        file = file.removeprefix(root)
    return msgspec.structs.replace(frame, file=file)


def stacks_of_threads(skip: Callable[[int], bool]) -> list[Stack]:
    """Return the stacks of this process's threads, except those for which `skip` is true."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return [
        Stack(f"thread {names.get(ident, ident)}", _frames(frame), "")
        for ident, frame in sys._current_frames().items()
        if not skip(ident)
    ]
