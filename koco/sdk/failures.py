"""What a user's code raised, as its author wants to see it: without the frames of ours."""

import asyncio
import concurrent.futures
import functools
import importlib
import re
import sys
import traceback
from pathlib import Path
from typing import Any

import koco
from koco.errors import InputsError
from koco.sdk import memory, secrets

#: Where the frames before the user's are: ours, and of the machinery that we call it through.
_MACHINERY = (
    *(str(Path(koco.__file__).parent / package) for package in ("runner", "sdk")),
    str(Path(asyncio.__file__).parent),
    str(Path(importlib.__file__).parent),
    str(Path(concurrent.futures.__file__).parent),
    "<frozen importlib",
)


#: The same in a process whose koco may be elsewhere.
_OURS = re.compile(
    r"/koco/(runner|sdk)/|/ray/_private/|/(asyncio|concurrent/futures)/|/threading\.py$"
)

#: How much of a message or a traceback is kept (characters).
_TEXT_CHARS = 64 * 1024

#: What colours text in a terminal: Ray has it in what it says of a task's exception.
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def describe(exc: BaseException) -> dict[str, Any]:
    """Return an exception as an `error` payload: its type, message and the user's frames."""
    if isinstance(exc, InputsError):
        return {"type": "InputsError", "message": _bounded(exc.message), "traceback": ""}
    if isinstance(exc, MemoryError):
        memory.spare()  # to tell of it takes some, too
    _forget_own_frames(exc, _machinery())
    text = "".join(traceback.format_exception(exc))
    named = memory.describe(exc) or {"type": type(exc).__name__, "message": _message(exc)}
    return {
        "type": named["type"],
        "message": _bounded(named["message"]),
        "traceback": _bounded(_without_roots(text).rstrip()),
    }


def _without_roots(text: str) -> str:
    """Return a traceback with the files of bundles by their names in there."""
    for root in sys.path:
        if root and (Path(root) / ".koco-bundle.json").exists():
            text = text.replace(f"{root}/", "")
    return text


def _message(exc: BaseException) -> str:
    try:
        return str(exc)
    except Exception as failure:  # noqa: BLE001 - a user's __str__ may raise anything
        return f"<its str raised {type(failure).__name__}>"


def _bounded(text: str) -> str:
    """Return a text as JSON can have it, without secrets; one that is too long in part."""
    text = secrets.mask(_COLOURS.sub("", text))
    if (cut := len(text) - _TEXT_CHARS) > 0:
        half = _TEXT_CHARS // 2
        text = f"{text[:half]}\n… {cut:,} characters cut …\n{text[-half:]}"
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _machinery() -> tuple[str, ...]:
    # A handler of an endpoint of one's own is called through these, where they are there.
    also = [sys.modules[name].__file__ for name in ("starlette", "anyio") if name in sys.modules]
    return (*_MACHINERY, *(str(Path(file).parent) for file in also if file))


def _forget_own_frames(
    exc: BaseException, machinery: tuple[str, ...], seen: frozenset[int] = frozenset()
) -> None:
    """Drop the frames before the user's: koco's own, and the import machinery's."""
    if id(exc) in seen:
        return
    frame = exc.__traceback__
    while frame is not None and frame.tb_frame.f_code.co_filename.startswith(machinery):
        frame = frame.tb_next
    exc.__traceback__ = frame
    for other in (exc.__cause__, exc.__context__):
        if other is not None:
            _forget_own_frames(other, machinery, seen | {id(exc)})


def shown(frames: list[tuple[str, int, str]]) -> str:
    """Return another process's frames, `(file, line, function)`, as a traceback: the user's.

    The newest is last. Files of bundles have the names that they have there.
    """
    roots = [_bundle_of(file) for file, _, _ in frames]
    first = next((at for at, root in enumerate(roots) if root), 0)
    lines: list[str] = []
    for (file, number, name), root in list(zip(frames, roots, strict=True))[first:]:
        if root or not _OURS.search(file):
            summary = traceback.FrameSummary(file, number, name)
            text = "".join(traceback.StackSummary.from_list([summary]).format())
            lines.append(text.replace(f"{root}/", "") if root else text)
    if not lines:
        return ""
    return _bounded("Traceback (most recent call last):\n" + "".join(lines).rstrip())


@functools.cache
def _bundle_of(file: str) -> str:
    """Return the directory of the bundle that a file is from, empty if it is from none."""
    return next((str(p) for p in Path(file).parents if (p / ".koco-bundle.json").exists()), "")
