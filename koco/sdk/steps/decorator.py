"""`koco.step`: make a function's calls steps of the execution that makes them."""

import asyncio
import functools
import inspect
import math
import re
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar, overload

from koco.errors import UsageError
from koco.events.steps import StepKind
from koco.sdk.steps import attempts
from koco.sdk.steps.attempts import Options
from koco.sdk.steps.journal import Journal, clean_name, journal_here

P = ParamSpec("P")
R = TypeVar("R")

#: What can name a step.
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")
#: The attribute of a decorated function that holds its `Target`.
_TARGET = "__koco_step__"


@dataclass(frozen=True, slots=True)
class Target:
    """A function whose calls are steps."""

    function: Callable[..., Any]
    name: str
    options: Options
    is_async: bool
    #: Whether its first argument is the object or class that it belongs to.
    is_method: bool

    def call(self, journal: Journal, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the function as a step that takes its place now.

        Returns the outcome, or a coroutine that returns it if the function is one.
        """
        if self.is_async and journal.is_closed:
            return journal.refuse_async()
        # What differs in the object from run to run may not matter, so only its type counts.
        counted = (type(args[0]), *args[1:]) if self.is_method and args else args
        call = journal.place(StepKind.STEP, self.name, counted, kwargs)
        function = functools.partial(self.function, *args, **kwargs)
        if self.is_async:
            return attempts.run_async(call, function, self.options)
        return attempts.run_sync(call, function, self.options)

    def call_in_thread(
        self, journal: Journal, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Coroutine[Any, Any, Any]:
        """Do the same for a plain function, in a thread of its own; return a coroutine."""
        if journal.is_closed:
            return journal.refuse_async()
        call = journal.place(StepKind.STEP, self.name, args, kwargs)
        function = functools.partial(self.function, *args, **kwargs)
        run = functools.partial(attempts.in_thread, function, self.name)
        return attempts.run_async(call, run, self.options)


@overload
def step(function: Callable[P, R], /) -> Callable[P, R]: ...


@overload
def step(
    *,
    name: str | None = None,
    retries: int = 0,
    backoff_s: float = 1.0,
    timeout_s: float | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...


def step(
    function: Any = None,
    /,
    *,
    name: str | None = None,
    retries: int = 0,
    backoff_s: float = 1.0,
    timeout_s: float | None = None,
) -> Any:
    """Make each call of a function a step: its outcome is recorded before the caller gets it.

    If the execution runs again after the death of its process, a call with a recorded outcome
    returns it, or raises it, without calling the function. Outside of an execution, and inside
    another step, the function is the plain function.

    Args:
        function: a `def` or an `async def`, which must not be a generator.
        name: the step's name; the function's by default.
        retries: how often a failed call is repeated.
        backoff_s: the pause before the first repetition (seconds); it doubles each time, up to an
            hour.
        timeout_s: how long an attempt may take (seconds). After that it is cancelled, with the Ray
            tasks that it has started, and fails with `TimeoutError`. A `def` runs in a thread of
            its own then.

    Raises:
        UsageError: the function or an option is invalid.

    Example: @step(retries=3)
    """
    options = Options(retries, backoff_s, timeout_s)
    _check(options)
    if function is None:
        return functools.partial(_decorate, name=name, options=options)
    return _decorate(function, name=name, options=options)


def _decorate(function: Any, *, name: str | None, options: Options) -> Any:
    if isinstance(function, staticmethod | classmethod):
        return type(function)(_decorate(function.__func__, name=name, options=options))
    if inspect.isclass(function):
        raise UsageError(
            f"{function.__name__} cannot be a step: it is a class, not a function",
            hint="decorate its methods",
        )
    target = describe(function, name, options)
    function = target.function

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        journal = journal_here()
        if journal is None:
            return function(*args, **kwargs)
        return target.call(journal, args, kwargs)

    setattr(call, _TARGET, target)
    if target.is_async:
        _mark_async(call)
    return call


def describe(function: Any, name: str | None, options: Options | None = None) -> Target:
    """Return the target for a function; a decorated one keeps its own options.

    Raises:
        UsageError: the name is invalid, or the function cannot be a step.
    """
    if name is not None and not (isinstance(name, str) and _NAME.fullmatch(name)):
        raise UsageError(
            f"{name!r} cannot name a step: letters, digits, '_', '.' and '-', at most 100"
        )
    target = getattr(function, _TARGET, None)
    if isinstance(target, Target):
        return _renamed(target, function, name, options)
    own_name = _name_of(function)
    _check_function(function, own_name)
    return Target(
        function,
        name or clean_name(own_name),
        options or Options(),
        _is_async(function),
        _is_method(function),
    )


def _renamed(target: Target, function: Any, name: str | None, options: Options | None) -> Target:
    """Return the target of a decorated function, or of a method that it is, for another name."""
    is_bound = inspect.ismethod(function)
    return Target(
        target.function.__get__(function.__self__) if is_bound else target.function,
        name or target.name,
        target.options if options is None else options,
        target.is_async,
        target.is_method and not is_bound,
    )


def _check_function(function: Any, name: str) -> None:
    if not callable(function):
        raise UsageError(
            f"{name} cannot be a step: it is not a function", hint="decorate a def or an async def"
        )
    inner = _innermost(function)
    if inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner):
        raise UsageError(
            f"{name} cannot be a step: it is a generator, and a step has one outcome",
            hint="return a list, or make the work on each part a step",
        )


def _check(options: Options) -> None:
    retries = options.retries
    if not isinstance(retries, int) or isinstance(retries, bool) or retries < 0:
        raise UsageError(f"a step's retries must be a number from 0, got {retries!r}")
    if not _is_number(options.backoff_s) or options.backoff_s < 0:
        raise UsageError(
            f"a step's backoff_s must be a number of seconds from 0, got {options.backoff_s!r}"
        )
    if options.timeout_s is not None and (
        not _is_number(options.timeout_s) or options.timeout_s <= 0
    ):
        raise UsageError(
            f"a step's timeout_s must be a number of seconds above 0, got {options.timeout_s!r}",
            hint="left out, there is no timeout",
        )


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value)


def _innermost(function: Any) -> Any:
    while isinstance(function, functools.partial):
        function = function.func
    if inspect.isroutine(function):
        return function
    return getattr(type(function), "__call__", function)  # noqa: B004 - the function is wanted


def _name_of(function: Any) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    return str(getattr(function, "__name__", type(function).__name__))


def _is_async(function: Any) -> bool:
    inner = _innermost(function)
    return asyncio.iscoroutinefunction(inner) or asyncio.iscoroutinefunction(function)


def _is_method(function: Any) -> bool:
    """Return whether a function of a class gets the object as its first argument."""
    if not inspect.isfunction(function):
        return False
    in_class = "." in function.__qualname__.rpartition("<locals>.")[2]
    return in_class and function.__code__.co_varnames[:1] in (("self",), ("cls",))


def _mark_async(call: Any) -> None:
    """Let `inspect` and `asyncio` see that a function returns a coroutine."""
    if sys.version_info >= (3, 12):
        inspect.markcoroutinefunction(call)
    else:
        call._is_coroutine = asyncio.coroutines._is_coroutine  # type: ignore[attr-defined]
