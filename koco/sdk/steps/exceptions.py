"""Encode exceptions and restore them, with their type, attributes, notes and causes.

An exception is restored without its own constructor, which may want other arguments than those
that the exception keeps, and may do anything. The frames of its traceback become a note.
"""

import builtins
import pickle
import traceback
from contextlib import suppress
from typing import Any, NamedTuple

from koco.sdk.steps import pickling

#: A class that pickles itself in its own way, and an exception without its traceback and causes.
_OWN, _PARTS = "own", "parts"

#: How many causes of an exception are kept, each the cause of the one before.
_MOST_CAUSES = 20

#: Modules whose frames are left out: they call the author's code.
_OURS = ("koco.sdk.interruption.", "koco.sdk.steps.")


class RecordedTraceback(Exception):  # noqa: N818 - not an error, but the text of one
    """The traceback of an exception of another process, or one that could not be kept, as text."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}\n"""'

    def __reduce__(self) -> tuple[Any, ...]:
        return RecordedTraceback, (self.text,)


class _Described(NamedTuple):
    """An exception as data."""

    how: str
    #: Its class, or itself without its traceback and causes.
    kind: Any
    args: tuple[Any, ...]
    state: dict[str, Any]
    #: The frames of its traceback.
    frames: str = ""
    #: Of a group: its exceptions.
    parts: "tuple[_Described, ...]" = ()
    cause: "_Described | None" = None
    context: "_Described | None" = None
    hides_context: bool = False


def encode(exc: BaseException) -> bytes:
    """Return an exception, encoded.

    Raises an exception that says what of it cannot be kept. Of its causes, those are kept as text.
    """
    packed = pickling.dumps(_describe_with_causes(exc, _MOST_CAUSES))
    _restore(pickle.loads(packed))
    return packed


def decode(packed: bytes) -> BaseException:
    """Return an exception as it was raised."""
    return _restore(pickle.loads(packed))


def _describe_with_causes(exc: BaseException, most: int) -> _Described:
    cause, context = exc.__cause__, exc.__context__
    return _describe(exc)._replace(
        frames=_frames_of(exc),
        cause=_describe_cause(cause, most - 1),
        # Most often it is the cause itself.
        context=None if context is cause else _describe_cause(context, most - 1),
        hides_context=exc.__suppress_context__,
    )


def _describe_cause(exc: BaseException | None, most: int) -> _Described | None:
    if exc is None:
        return None
    if most:
        with suppress(Exception):
            described = _describe_with_causes(exc, most)
            _restore(pickle.loads(pickling.dumps(described)))
            return described
    return _Described(_OWN, RecordedTraceback(_format(exc)), (), {})


def _describe(exc: BaseException) -> _Described:
    kind = type(exc)
    if _reduces_itself(kind):
        return _Described(_OWN, _checked(exc, "it"), (), {})
    parts: tuple[_Described, ...] = ()
    args: tuple[Any, ...] = exc.args
    if isinstance(exc, BaseExceptionGroup):
        parts, args = tuple(map(_describe, exc.exceptions)), (exc.message,)
    elif isinstance(exc, OSError):
        args = _arguments_of_os_error(exc)
    state = {name: _checked(each, f"its attribute {name!r}") for name, each in vars(exc).items()}
    if isinstance(exc, ImportError):
        state.update(name=exc.name, path=exc.path)
    kept = tuple(_checked(each, f"its argument {each!r:.80}") for each in args)
    return _Described(_PARTS, _checked(kind, "its class"), kept, state, parts=parts)


def _checked(value: Any, what: str) -> Any:
    """Return a value that can be pickled and loaded. Raises `TypeError` that names it otherwise."""
    if type(value) in (str, int, float, bool, type(None)):
        return value
    try:
        pickle.loads(pickling.dumps(value))
    except Exception as exc:
        raise TypeError(f"{what}: {type(exc).__name__}: {exc}") from exc
    return value


def _reduces_itself(kind: type[BaseException]) -> bool:
    """Return whether a class that is not Python's own says how it is pickled."""
    for cls in kind.__mro__:
        if cls.__module__ == "builtins":
            return False
        if "__reduce__" in vars(cls) or "__reduce_ex__" in vars(cls) or _is_native(cls):
            return True
    return False


def _is_native(cls: type) -> bool:
    """Return whether a class is written in another language, so that its state is hidden."""
    return not cls.__flags__ & (1 << 9)  # Py_TPFLAGS_HEAPTYPE: made by a `class` statement


def _arguments_of_os_error(exc: OSError) -> tuple[Any, ...]:
    if exc.filename is None or len(exc.args) != 2:
        return exc.args
    if exc.filename2 is None:
        return (*exc.args, exc.filename)
    return (*exc.args, exc.filename, None, exc.filename2)


def _frames_of(exc: BaseException) -> str:
    """Return the frames of the author's code in an exception's traceback."""
    trace = exc.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get("__name__", "").startswith(_OURS):
        trace = trace.tb_next
    with suppress(Exception):
        if isinstance(exc, BaseExceptionGroup):  # its parts have frames, too
            lines = traceback.format_exception(type(exc), exc, trace, chain=False)
            return "".join(lines).rstrip()
        return "".join(traceback.format_tb(trace)).rstrip()
    return ""


def _format(exc: BaseException) -> str:
    """Return an exception with its traceback; empty if it cannot be shown."""
    with suppress(Exception):
        return "".join(traceback.format_exception(exc)).rstrip()
    return ""


def _restore(described: _Described) -> BaseException:
    exc: BaseException = described.kind if described.how == _OWN else _restore_parts(described)
    if described.frames:
        exc.add_note(f"In the step:\n{described.frames}")
    exc.__context__ = described.context and _restore(described.context)
    if described.cause is not None:
        exc.__cause__ = _restore(described.cause)
        if described.context is None:
            exc.__context__ = exc.__cause__
    exc.__suppress_context__ = described.hides_context
    return exc


def _restore_parts(described: _Described) -> BaseException:
    args = described.args
    if described.parts:
        args = (*args, [_restore(each) for each in described.parts])
    exc = _make(described.kind, args)
    for name, value in described.state.items():
        if name in ("name", "path") and isinstance(exc, ImportError):
            setattr(exc, name, value)
        else:
            exc.__dict__[name] = value
    return exc


def _make(kind: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    """Make an exception of a class without the class's own `__new__` and `__init__`."""
    python_own: Any = next(cls for cls in kind.__mro__ if cls.__module__ == builtins.__name__)
    exc: BaseException = python_own.__new__(kind, *args)
    # It sets the attributes of `UnicodeDecodeError`, `SyntaxError`, …; arguments that it does not
    # understand are those of a subclass.
    with suppress(TypeError, ValueError):
        python_own.__init__(exc, *args)
    if not isinstance(exc, OSError | BaseExceptionGroup):
        exc.args = args
    return exc
