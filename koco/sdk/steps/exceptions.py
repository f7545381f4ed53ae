"""Encode exceptions and restore them, with their type, attributes, notes and traceback.

An exception is restored without its own constructor, which may want other arguments than those
that the exception keeps, and may do anything.
"""

import builtins
import pickle
import traceback
from contextlib import suppress
from typing import Any

#: A class that pickles itself in its own way, and an exception without its traceback and causes.
_OWN, _PARTS = "own", "parts"

#: Modules whose frames are left out: they call the author's code.
_OURS = "koco.sdk.steps."


class RecordedTraceback(Exception):  # noqa: N818 - not an error, but the text of one
    """The traceback of an exception that was raised in another process: its `__cause__`."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}\n"""'

    def __reduce__(self) -> tuple[Any, ...]:
        return RecordedTraceback, (self.text,)


def encode(exc: BaseException) -> bytes:
    """Return an exception, encoded.

    Raises an exception that says what of it cannot be kept.
    """
    packed = pickle.dumps(_describe(exc, _format(exc)), 5)
    _restore(pickle.loads(packed))
    return packed


def decode(packed: bytes) -> BaseException:
    """Return an exception as it was raised."""
    return _restore(pickle.loads(packed))


def _describe(exc: BaseException, text: str) -> tuple[Any, ...]:
    kind = type(exc)
    if _reduces_itself(kind):
        return _OWN, _checked(exc, "it"), None, None, text, ()
    inner: tuple[Any, ...] = ()
    args: tuple[Any, ...] = exc.args
    if isinstance(exc, BaseExceptionGroup):
        inner, args = tuple(_describe(each, "") for each in exc.exceptions), (exc.message,)
    elif isinstance(exc, OSError):
        args = _arguments_of_os_error(exc)
    state = {name: _checked(each, f"its attribute {name!r}") for name, each in vars(exc).items()}
    if isinstance(exc, ImportError):
        state.update(name=exc.name, path=exc.path)
    kept = tuple(_checked(each, f"its argument {each!r:.80}") for each in args)
    return _PARTS, _checked(kind, "its class"), kept, state, text, inner


def _checked(value: Any, what: str) -> Any:
    """Return a value that can be pickled and loaded. Raises `TypeError` that names it otherwise."""
    if type(value) in (str, int, float, bool, type(None)):
        return value
    try:
        pickle.loads(pickle.dumps(value, 5))
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


def _format(exc: BaseException) -> str:
    """Return the traceback with its causes; empty if the exception cannot be shown."""
    trace = exc.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get("__name__", "").startswith(_OURS):
        trace = trace.tb_next
    with suppress(Exception):
        return "".join(traceback.format_exception(type(exc), exc, trace)).rstrip()
    return ""


def _restore(described: tuple[Any, ...]) -> BaseException:
    how, kind, args, state, text, inner = described
    if how == _OWN:
        exc: BaseException = kind
    else:
        if inner:
            args = (*args, [_restore(each) for each in inner])
        exc = _make(kind, args)
        for name, value in state.items():
            if name in ("name", "path") and isinstance(exc, ImportError):
                setattr(exc, name, value)
            else:
                exc.__dict__[name] = value
    if text:
        exc.__cause__ = RecordedTraceback(text)
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
