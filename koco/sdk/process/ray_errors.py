"""Find an author's own exception in the one that Ray raises where a Ray task's result is read.

Ray's exception is of a class that it makes for this purpose (`RayTaskError(ValueError)`), and its
message is the task's whole traceback, with Ray's and koco's frames. If Ray cannot load the author's
exception, that text is all there is.
"""

import re
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from koco.events.text_values import str_of
from koco.sdk.process import stacks

#: Terminal colours: Ray uses them in messages about a task's exception.
COLOURS = re.compile(r"\x1b\[[0-9;]*m")

#: What Ray writes in place of `Traceback (most recent call last):`.
_RAY_HEADER = re.compile(r"^ray::.*\(pid=\d+, ip=.*\)$")
_HEADER = "Traceback (most recent call last):"
#: Where the text of a task's error begins, in an exception that Ray raises instead of it.
_BEGINNING = re.compile(r"ray::[^\n]*\(pid=\d+, ip=[^\n]*\)$", re.MULTILINE)
#: Where a task has read the result of another task, whose traceback follows.
_NESTED = re.compile(r"^ray\.exceptions\.RayTaskError(?:\([^\n]*?\))?: (?=ray::)", re.MULTILINE)
_FRAME = re.compile(r'^  File "(.*)", line \d+, in ')
_CARETS = re.compile(r"^ {4,}[~^]+\s*$")
#: The last lines of a traceback: the exception's class and message.
_LAST = re.compile(r"([A-Za-z_][\w.<>]*)(?:: (.*))?\Z", re.DOTALL)
#: Code that calls the author's, in a process whose koco may be installed elsewhere.
_MACHINERY = re.compile(r"/koco/(runner|sdk)/|^python/ray/|/ray/(_private|util/tracing)/")
#: Where the frames of Ray's compiled code say that they are.
_CYTHON = "python/ray/"

#: What Ray raises if it cannot load an exception, or if an actor's constructor raises.
_INSTEAD = ("UnserializableException", "ActorDiedError")

#: How many exceptions are looked through, each the cause or a part of another.
_MOST = 200


class TaskTraceback(Exception):  # noqa: N818 - not an error, but the text of one
    """The traceback of an exception inside of a Ray task, as text."""


#: What Python writes before that text.
TEXT_PREFIX = f"{TaskTraceback.__module__}.{TaskTraceback.__qualname__}: "


def unwrap(exc: BaseException) -> BaseException:
    """Return the exception that a Ray task has raised, if `exc` reports one; else `exc`.

    Its traceback is where the result was read, and its cause has the task's traceback. The causes
    and parts of `exc` are replaced as well.
    """
    if "ray.exceptions" not in sys.modules:
        return exc
    return _unwrap(exc, {})


def author_exception(exc: BaseException) -> BaseException:
    """Return the exception that a Ray task has raised, if `exc` reports one; else `exc`.

    Unlike `unwrap`, it changes nothing.
    """
    if "ray.exceptions" not in sys.modules or (text := _text_of(exc)) is None:
        return exc
    return _author_exception(exc, text)


def _unwrap(exc: BaseException, seen: dict[int, BaseException]) -> BaseException:
    if id(exc) in seen or len(seen) > _MOST:
        return seen.get(id(exc), exc)
    text = _text_of(exc)
    found = exc if text is None else _author_exception(exc, text)
    if text is not None and found is not exc:
        found.__traceback__ = _without_ray(exc.__traceback__)
        found.__cause__ = TaskTraceback(_task_traceback(text))
        for note in vars(exc).get("__notes__", ()):  # those of the caller
            if note not in getattr(found, "__notes__", ()):
                found.add_note(note)
        seen[id(exc)] = seen[id(found)] = found
        return found
    seen[id(exc)] = exc
    if isinstance(exc, BaseExceptionGroup):
        found = _group(exc, [_unwrap(each, seen) for each in exc.exceptions])
        seen[id(exc)] = found
    cause, context, is_hidden = exc.__cause__, exc.__context__, exc.__suppress_context__
    found.__cause__ = cause and _unwrap(cause, seen)
    found.__context__ = context and _unwrap(context, seen)
    found.__suppress_context__ = is_hidden
    return found


def _group(exc: BaseExceptionGroup[Any], parts: list[BaseException]) -> BaseException:
    """Return a group with other parts; itself if they are the same."""
    if all(old is new for old, new in zip(exc.exceptions, parts, strict=True)):
        return exc
    made = BaseExceptionGroup(exc.message, parts)
    made.__traceback__ = exc.__traceback__
    for note in getattr(exc, "__notes__", ()):
        made.add_note(note)
    return made


def _text_of(exc: BaseException) -> str | None:
    """Return what Ray says of a task's exception, from its first traceback on; None for others."""
    import ray.exceptions

    is_instead = type(exc).__module__ == "ray.exceptions" and type(exc).__name__ in _INSTEAD
    if not is_instead and not isinstance(exc, ray.exceptions.RayTaskError):
        return None
    text = COLOURS.sub("", str_of(exc))
    begin = _BEGINNING.search(text)
    if is_instead and begin is None:
        return None
    return text[begin.start() :].strip() if begin else text.strip()


def _author_exception(exc: BaseException, text: str) -> BaseException:
    import ray.exceptions

    cause = getattr(exc, "cause", None)
    while isinstance(cause, ray.exceptions.RayTaskError):
        cause = getattr(cause, "cause", None)
    if isinstance(cause, BaseException) and type(cause) is not ray.exceptions.RayError:
        return cause
    if (match := _LAST.match(_last_of(_NESTED.split(text)[-1]))) is None:
        return exc
    module, _, name = match[1].rpartition(".")
    kind = type(name, (Exception,), {"__module__": module or "builtins"})
    made: BaseException = kind(*([match[2]] if match[2] else []))
    return made


def _without_ray(trace: TracebackType | None) -> TracebackType | None:
    """Return a traceback without the frames of Ray, asyncio and koco, which only read a result."""
    import ray

    folders = (f"{Path(ray.__file__).parent}/", _CYTHON, *stacks.CALLERS)
    kept: list[TracebackType] = []
    while trace is not None:
        if not trace.tb_frame.f_code.co_filename.startswith(folders):
            kept.append(trace)
        trace = trace.tb_next
    found = None
    for each in reversed(kept):
        found = TracebackType(found, each.tb_frame, each.tb_lasti, each.tb_lineno)
    return found


# the text


def _task_traceback(text: str) -> str:
    """Return the traceback of a task without the frames of Ray and koco.

    If the task has read the result of another task, the other's comes first, as a cause does.
    """
    *outer, inner = _NESTED.split(text)
    last = _last_of(inner)
    parts = [_cleaned(inner), *(f"{_cleaned(each)}\n{last}" for each in reversed(outer))]
    between = "\n\nThe above exception was the direct cause of the following exception:\n\n"
    return between.join(parts)


def _last_of(text: str) -> str:
    """Return the class and the message that a traceback ends with."""
    lines = text.splitlines()
    frames = [at for at, line in enumerate(lines) if line.startswith("  ")]
    return "\n".join(lines[frames[-1] + 1 :] if frames else lines[1:])


def _cleaned(text: str) -> str:
    kept: list[str] = []
    is_code_wanted = True
    for line in text.strip().splitlines():
        if _RAY_HEADER.match(line):
            kept.append(_HEADER)
            is_code_wanted = True
        elif match := _FRAME.match(line):
            is_code_wanted = not _MACHINERY.search(match[1])
            if is_code_wanted:
                kept.append(line.replace(match[1], _short(match[1]), 1))
        elif line.startswith("    "):
            # Ray leaves the carets of the frames that it leaves out.
            follows_code = bool(kept) and kept[-1].startswith("    ")
            if is_code_wanted and (follows_code or not _CARETS.match(line)):
                kept.append(line)
        else:
            kept.append(line)
            is_code_wanted = True
    return "\n".join(kept)


def _short(file: str) -> str:
    if root := stacks.bundle_of(file):
        return file.removeprefix(f"{root}/")
    return stacks.without_unpacked_folder(file)
