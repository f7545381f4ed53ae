"""What an execution has started in Ray: recorded as it starts, ended when the execution ends.

A runner stays after an execution, and Ray ends tasks and actors with the process that owns them,
not with the code that started them. So Ray's own calls are wrapped in a runner's process: what
an execution starts is its own. What its tasks start in turn is theirs: Ray cancels that along with
them, or ends it with their process.
"""

import contextlib
import functools
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

#: How long what was cancelled may take to tidy up before its process is ended (seconds).
GRACE_S = 3.0
#: How long what was ended by force may take until it counts as left behind (seconds).
_FORCE_S = 1.0
#: How long the frames of a function that has returned may live on (seconds).
_FRAMES_S = 0.1

#: How many of an execution's tasks are remembered once they have ended: by their ids, what they
#: have started themselves is found.
_REMEMBERED = 10_000


class Started:
    """The Ray tasks, actors and placement groups of one execution. Any thread may add to it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        #: What runs or waits, as Ray's references: calls of actors' methods as well.
        self._refs: dict[Any, bool] = {}
        #: Actors by id, each with its handle as long as somebody has that.
        self._actors: dict[Any, weakref.ref[Any]] = {}
        self._detached: set[Any] = set()
        self._groups: dict[Any, weakref.ref[Any]] = {}
        #: The ids of all tasks so far, the last of them at least.
        self._ids: dict[str, None] = {}
        self._is_over = False

    # what happens in the execution

    def add_task(self, ref: Any, *, is_call: bool = False) -> None:
        """Record a task by the reference to what it returns, or a call of an actor's method."""
        with self._lock:
            is_over = self._is_over
            self._refs[ref] = is_call
            self._ids[ref.task_id().hex()] = None
            if len(self._ids) > _REMEMBERED:
                del self._ids[next(iter(self._ids))]
        _watch().add(ref, self)
        if is_over:
            _cancel(ref, force=not is_call)

    def add_actor(self, handle: Any, *, is_detached: bool) -> None:
        """Record an actor; a detached one outlives its execution, as its author asked for."""
        actor_id = handle._ray_actor_id
        with self._lock:
            if is_detached:
                self._detached.add(actor_id)
                return
            self._actors[actor_id] = weakref.ref(handle)
            is_over = self._is_over
        if is_over:
            _kill(actor_id)

    def add_group(self, group: Any) -> None:
        """Record a placement group, which holds CPUs whether something runs in it or not."""
        with self._lock:
            self._groups[group.id] = weakref.ref(group)
            is_over = self._is_over
        if is_over:
            _remove(group.id)

    def done(self, ref: Any) -> None:
        """Forget a task that has ended: a reference would keep alive what it returned."""
        with self._lock:
            self._refs.pop(ref, None)
            self._changed.notify_all()

    # its end

    def close(self) -> bool:
        """End at once whatever is started from now on; return whether anything has been so far."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
        return not self.is_empty

    @property
    def is_empty(self) -> bool:
        """Whether it has never started anything."""
        return not (self._refs or self._ids or self._actors or self._detached or self._groups)

    def told(self, *, keep: bool) -> dict[str, list[str]]:
        """Return the ids of what it has started, in hexadecimal digits: tasks, actors and calls.

        `kept` are the actors that stay for the next execution.
        """
        with self._lock:
            kept = [key.hex() for key, held in self._actors.items() if keep and held()]
            actors = [each.hex() for each in (*self._actors, *self._detached)]
            return {"tasks": list(self._ids), "actors": actors, "kept": kept}

    def end(self, *, keep: bool) -> None:
        """End what still runs: ask tasks to, then end their processes; actors at once. It blocks.

        With `keep` an actor or placement group stays if somebody still has its handle: a module
        may keep it for the next execution. May be called twice, by a cancellation and by the end.
        """
        self.close()
        if not (self._refs or self._actors or self._groups):
            return
        self._cancel(force=False)
        if keep:
            # A handle in the frames of the function that has just returned goes with them.
            time.sleep(_FRAMES_S)
        self._discard(keep=keep)
        if not self._is_idle(GRACE_S):
            self._cancel(force=True)
            self._is_idle(_FORCE_S)

    def interrupt(self) -> None:
        """Cancel its tasks, as the execution is to end; end the rest if it does not in time.

        A function that waits in `ray.get` hears nothing else. It blocks.
        """
        self._cancel(force=False)
        with self._changed:
            self._changed.wait_for(lambda: self._is_over, GRACE_S)
        if not self._is_over:
            self.end(keep=False)

    def _is_idle(self, within_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: not self._refs, within_s)

    def _cancel(self, *, force: bool) -> None:
        with self._lock:
            refs = list(self._refs.items())
        for ref, is_call in refs:
            _cancel(ref, force=force and not is_call)

    def _discard(self, *, keep: bool) -> None:
        """End actors and remove placement groups, all or those that nobody has any more."""
        with self._lock:
            actors = [key for key, held in self._actors.items() if not (keep and held())]
            groups = [key for key, held in self._groups.items() if not (keep and held())]
            for key in groups:
                del self._groups[key]
        for actor_id in actors:
            _kill(actor_id)
        for group_id in groups:
            _remove(group_id)


class _Watch:
    """Drops references to tasks as they end, in a thread that sleeps while there are none."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._refs: dict[Any, Started] = {}
        threading.Thread(target=self._run, name="koco-ray-tasks", daemon=True).start()

    def add(self, ref: Any, started: Started) -> None:
        with self._changed:
            self._refs[ref] = started
            self._changed.notify()

    def _run(self) -> None:
        import ray

        ray._private.worker.blocking_wait_inside_async_warned = True
        while True:
            with self._changed:
                while not self._refs:
                    self._changed.wait()
                refs = list(self._refs)
            # Not without limit: what starts meanwhile may end first.
            ready, _ = ray.wait(refs, num_returns=1, timeout=1.0, fetch_local=False)
            if ready:
                time.sleep(0.02)  # tasks end in groups
                ready, _ = ray.wait(refs, num_returns=len(refs), timeout=0, fetch_local=False)
            self._drop(ready)

    def _drop(self, ready: list[Any]) -> None:
        with self._changed:
            found = [(ref, self._refs.pop(ref)) for ref in ready]
        for ref, started in found:
            started.done(ref)


_watch = functools.cache(_Watch)


def _cancel(ref: Any, *, force: bool) -> None:
    import ray

    # It may have ended in this moment, and be nobody's any more.
    with contextlib.suppress(ValueError, TypeError, ray.exceptions.RayError):
        ray.cancel(ref, force=force, recursive=True)


def _kill(actor_id: Any) -> None:
    import ray

    # By id: a handle that we kept would keep alive an actor that nobody wants.
    worker = ray._private.worker.global_worker
    with contextlib.suppress(ValueError, ray.exceptions.RayError):
        worker.core_worker.kill_actor(actor_id, True)


def _remove(group_id: Any) -> None:
    import ray

    worker = ray._private.worker.global_worker
    with contextlib.suppress(ValueError, ray.exceptions.RayError):
        worker.core_worker.remove_placement_group(group_id)


@functools.cache
def install(whose: Callable[[], Started | None]) -> None:
    """Have Ray's calls in this process add what they start to the execution that `whose` names."""
    from ray.actor import ActorClass, ActorHandle
    from ray.remote_function import RemoteFunction

    start_task, start_actor = RemoteFunction._remote, ActorClass._remote
    call = ActorHandle._actor_method_call

    @functools.wraps(start_task)
    def starting_task(self: Any, *args: Any, **options: Any) -> Any:
        made = start_task(self, *args, **options)
        if (started := whose()) is not None and (ref := _reference(made)) is not None:
            started.add_task(ref)
        return made

    @functools.wraps(start_actor)
    def starting_actor(self: Any, *args: Any, **options: Any) -> Any:
        handle = start_actor(self, *args, **options)
        started = whose()
        # With `get_if_exists` it may be somebody else's.
        if started is not None and getattr(handle, "_ray_original_handle", False):
            lifetime = options.get("lifetime") or self._default_options.get("lifetime")
            started.add_actor(handle, is_detached=lifetime == "detached")
        return handle

    @functools.wraps(call)
    def calling(self: Any, *args: Any, **options: Any) -> Any:
        made = call(self, *args, **options)
        started = whose()
        if started is None or _is_ours(self):
            return made
        if (ref := _reference(made)) is not None:
            started.add_task(ref, is_call=True)
        return made

    RemoteFunction._remote = starting_task
    ActorClass._remote = starting_actor
    ActorHandle._actor_method_call = calling
    _install_groups(whose)


def _install_groups(whose: Callable[[], Started | None]) -> None:
    # The module: in `ray.util` that name is the function's.
    place = sys.modules["ray.util.placement_group"].placement_group

    @functools.wraps(place)
    def placing(*args: Any, **options: Any) -> Any:
        group = place(*args, **options)
        if (started := whose()) is not None and options.get("lifetime") != "detached":
            started.add_group(group)
        return group

    for home in _holders(place):
        home.placement_group = placing


def _holders(place: Any) -> Iterator[Any]:
    """Yield the modules of Ray's that have taken the name for themselves."""
    for name, module in list(sys.modules.items()):
        if name.startswith("ray.") and getattr(module, "placement_group", None) is place:
            yield module


def _reference(made: Any) -> Any:
    """Return the reference by which what a call has started is cancelled, if it has one."""
    import ray

    if isinstance(made, list):
        made = made[0] if made else None
    if isinstance(made, ray.ObjectRefGenerator):
        return made._generator_ref
    return made if isinstance(made, ray.ObjectRef) else None


def _is_ours(handle: Any) -> bool:
    """Say whether an actor is the control plane: what it is asked is no work of the flow's."""
    descriptor = handle._ray_actor_creation_function_descriptor
    return str(getattr(descriptor, "module_name", "")).startswith("koco.")
