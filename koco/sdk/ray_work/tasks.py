"""`koco.remote`: Ray tasks and actors that belong to the execution that starts them."""

import functools
import inspect
import weakref
from collections.abc import Callable
from typing import Any

from koco.errors import UsageError
from koco.sdk.tracer import Tracer


def _no_tracer() -> Tracer | None:
    return None


#: Returns the tracer of the execution whose code is running; set by processes that run one.
current_tracer: Callable[[], Tracer | None] = _no_tracer

#: The parameter that receives the tracer.
_TRACER = "tracer"


def remote(target: Any) -> Any:
    """Return a Ray remote function or actor class whose tasks work for this execution.

    Its output belongs to the execution's event stream. If it has a parameter `tracer` and the call
    leaves it out, it receives the execution's tracer. `.options(…)` and `.remote(…)` are Ray's. A
    plain function or class is made remote with Ray's defaults. Outside of an execution the result
    does the same as the target.

    Example: await koco.remote(count).remote(path)

    Raises:
        UsageError: the target is neither a function nor a class.
    """
    import ray
    from ray.actor import ActorClass
    from ray.remote_function import RemoteFunction

    if isinstance(target, Remote):
        return target
    if isinstance(target, RemoteFunction):
        return Remote(target, target._function, _carrying_function)
    if isinstance(target, ActorClass):
        # Ray makes a subclass of a class.
        original = target.__ray_metadata__.modified_class.__ray_actor_class__
        return Remote(target, original, _carrying_class)
    if inspect.isfunction(target) or inspect.isclass(target):
        return remote(ray.remote(target))
    raise UsageError(
        f"koco.remote takes a Ray remote function or actor class, not {type(target).__name__}",
        hint="call an actor's methods as usual: `koco.remote(Counter).remote()` creates it",
    )


class Remote:
    """A Ray remote function or actor class that passes the execution on."""

    def __init__(
        self,
        target: Any,
        original: Any,
        carrying: Callable[[Any, Any], Any],
        options: dict[str, Any] | None = None,
    ) -> None:
        self._target = target
        self._original = original
        self._carrying = carrying
        self._options = options or {}

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self._target, self._options)

    def __repr__(self) -> str:
        return f"koco.remote({self._original.__name__})"

    def options(self, **options: Any) -> "Remote":
        """Return the same with other Ray options."""
        merged = {**self._options, **options}
        return Remote(self._target, self._original, self._carrying, merged)

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Start a task or create an actor; return Ray's result."""
        tracer = current_tracer()
        if tracer is None:
            return self._with_options(self._target).remote(*args, **kwargs)
        args, kwargs = add_tracer(self._original, tracer, args, kwargs)
        if self._target not in _carrying:
            _carrying[self._target] = self._carrying(self._target, self._original)
        made = self._with_options(_carrying[self._target])
        return made.remote(tracer, *args, **kwargs)

    def _with_options(self, target: Any) -> Any:
        return target.options(**self._options) if self._options else target


def _again(target: Any, options: dict[str, Any]) -> Remote:
    made: Remote = remote(target)
    return made.options(**options) if options else made


def add_tracer(
    function: Any, tracer: Tracer, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of a call, with the tracer added if its parameter was left out."""
    parameters = list(inspect.signature(function).parameters.values())
    names = [each.name for each in parameters]
    if _TRACER not in names or _TRACER in kwargs:
        return args, kwargs
    if any(isinstance(each, Tracer) for each in args):
        return args, kwargs
    at = names.index(_TRACER)
    if at <= len(args) and parameters[at].kind is not inspect.Parameter.KEYWORD_ONLY:
        return (*args[:at], tracer, *args[at:]), kwargs
    return args, {**kwargs, _TRACER: tracer}


#: For each target, another one that takes a tracer first and otherwise does the same.
_carrying: "weakref.WeakKeyDictionary[Any, Any]" = weakref.WeakKeyDictionary()


def _carrying_function(target: Any, function: Any) -> Any:
    from ray.remote_function import RemoteFunction

    # Unpickling its tracer is what makes the process work for the execution.
    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def carrying(_: Tracer, *args: Any, **kwargs: Any) -> Any:
            yield from function(*args, **kwargs)

    else:

        @functools.wraps(function)
        def carrying(_: Tracer, *args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

    # Ray needs its own signature, but `wraps` makes it show the function's.
    del carrying.__wrapped__
    return RemoteFunction(target._language, carrying, None, dict(target._default_options))


def _carrying_class(target: Any, original: Any) -> Any:
    import ray

    def __init__(self: Any, _: Tracer, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        original.__init__(self, *args, **kwargs)

    # The author's module, because `koco.sdk.ray_work.calls` ignores koco's own functions.
    __init__.__module__ = original.__module__
    names = ("__module__", "__qualname__", "__doc__")
    own = {"__init__": __init__, **{name: getattr(original, name) for name in names}}
    carrying = type(original.__name__, (original,), own)
    options = dict(target._default_options)
    return ray.remote(**options)(carrying) if options else ray.remote(carrying)
