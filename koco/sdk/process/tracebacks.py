"""Describe exceptions of a user's code as the author wants to see them: without koco's frames."""

import re
import sys
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any

from koco.errors import InputsError
from koco.events.text_values import str_of
from koco.sdk.process import memory, ray_errors, secrets, stacks

#: Code that calls an author's code (as `stacks.CALLERS`), in a process whose koco may be installed
#: elsewhere.
_OURS = re.compile(
    r"/koco/(runner|sdk)/|/ray/_private/|/(asyncio|concurrent/futures)/|/threading\.py$"
)

#: Code that calls a step of an author's code, in the middle of a traceback.
_STEPS = tuple(
    str(Path(stacks.__file__).parents[1] / name) for name in ("interruption", "steps", "tracer.py")
)
#: The function of `koco.sdk.steps.attempts` that raises a recorded error.
_RECORDED = "_give"

#: How much of a message or a traceback is kept (characters).
_TEXT_CHARS = 64 * 1024


def describe(exc: BaseException) -> dict[str, Any]:
    """Return an exception as an `error` payload: its type, message and the user's frames.

    For an exception of a Ray task, that is the one that the task has raised.
    """
    if isinstance(exc, InputsError):
        return {"type": "InputsError", "message": _clean(exc.message), "traceback": ""}
    if isinstance(exc, MemoryError):
        memory.allow_spare()  # describing it takes memory, too
    # Handlers of a service's own endpoint are called through these, if they are installed.
    also = [sys.modules[name].__file__ for name in ("starlette", "anyio") if name in sys.modules]
    machinery = (*stacks.CALLERS, *(str(Path(file).parent) for file in also if file))
    about_memory = memory.describe(exc)
    exc = ray_errors.unwrap(exc)
    _forget_own_frames(exc, machinery)
    text = "".join(traceback.format_exception(exc)).replace(ray_errors.TEXT_PREFIX, "")
    for folder in stacks.bundle_folders():
        text = text.replace(folder, "")
    named = about_memory or {"type": type(exc).__name__, "message": str_of(exc)}
    return {
        "type": named["type"],
        "message": _clean(named["message"]),
        "traceback": _clean(text.rstrip()),
    }


def _clean(text: str) -> str:
    """Return a text that JSON can hold: without secrets, and shortened if it is too long."""
    text = secrets.mask(ray_errors.COLOURS.sub("", text))
    if (cut := len(text) - _TEXT_CHARS) > 0:
        half = _TEXT_CHARS // 2
        text = f"{text[:half]}\n… {cut:,} characters cut …\n{text[-half:]}"
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _forget_own_frames(
    exc: BaseException, machinery: tuple[str, ...], seen: frozenset[int] = frozenset()
) -> None:
    """Drop the frames before the user's: koco's own and the import machinery's.

    Between the user's frames, drop those that call a step.
    """
    if id(exc) in seen:
        return
    frame = exc.__traceback__
    while frame is not None and frame.tb_frame.f_code.co_filename.startswith(machinery):
        frame = frame.tb_next
    exc.__traceback__ = frame
    while frame is not None:
        following = frame.tb_next
        while following is not None and _is_left_out(following):
            following = following.tb_next
        frame.tb_next = following
        frame = following
    for other in (exc.__cause__, exc.__context__):
        if other is not None:
            _forget_own_frames(other, machinery, seen | {id(exc)})


def _is_left_out(frame: TracebackType) -> bool:
    code = frame.tb_frame.f_code
    # The last frame says where an error of koco's own comes from. That of a recorded error says
    # nothing: its note has the frames of the step.
    is_wanted = frame.tb_next is None and code.co_name != _RECORDED
    return code.co_filename.startswith(_STEPS) and not is_wanted


def format_frames(frames: list[tuple[str, int, str]]) -> str:
    """Format the user's frames of another process, `(file, line, function)`, as a traceback.

    The newest frame is last. Files of bundles have their names inside the bundle.
    """
    roots = [stacks.bundle_of(file) for file, _, _ in frames]
    first = next((at for at, root in enumerate(roots) if root), 0)
    lines: list[str] = []
    for (file, number, name), root in list(zip(frames, roots, strict=True))[first:]:
        if root or not _OURS.search(file):
            summary = traceback.FrameSummary(file, number, name)
            text = "".join(traceback.StackSummary.from_list([summary]).format())
            lines.append(text.replace(f"{root}/", "") if root else text)
    if not lines:
        return ""
    return _clean("Traceback (most recent call last):\n" + "".join(lines).rstrip())
