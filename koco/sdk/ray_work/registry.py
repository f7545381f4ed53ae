"""Track what an execution starts in Ray, and end it when the execution ends.

A runner outlives an execution, and Ray ends tasks and actors only with the process that owns them.
So Ray's own calls are wrapped in a runner's process, and record each task and actor for the
execution that starts it. Tasks that those start in turn are not recorded: Ray cancels them along
with their parents, or ends them with their process.
"""

import contextlib
import functools
import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

from koco.events.questions import EndWork
from koco.sdk.steps import places
from koco.sdk.steps.places import Attempt

#: How long cancelled tasks may take to clean up before their processes are ended (seconds).
GRACE_S = 3.0
#: How long tasks that were ended by force may take before they count as left behind (seconds).
_FORCE_S = 1.0
#: How long the frames of a returned function may still exist (seconds).
_FRAMES_S = 0.1

#: How many of an execution's tasks are remembered after their end: their ids lead to the tasks
#: that they have started themselves.
_REMEMBERED = 10_000


class Started:
    """One execution's Ray tasks, actors and placement groups. Any thread may add to them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        #: Running or waiting tasks, and calls of actors' methods, as Ray's references.
        self._refs: dict[Any, bool] = {}
        #: Which of them an attempt of a step has started.
        self._attempts: dict[Any, Attempt] = {}
        #: Actors by id, each with its handle as long as that is in use.
        self._actors: dict[Any, weakref.ref[Any]] = {}
        self._detached: set[Any] = set()
        self._groups: dict[Any, weakref.ref[Any]] = {}
        #: The ids of all tasks so far, or at least of the latest ones.
        self._ids: dict[str, None] = {}
        self._is_over = False
        #: How many tasks and actors there have been, without calls of actors' methods.
        self.count = 0

    # while the execution runs

    def add_task(self, ref: Any, *, is_call: bool = False) -> None:
        """Record a task, or a call of an actor's method, by the reference to its result."""
        attempt = places.attempt_here()
        with self._lock:
            is_over = self._is_over or (attempt is not None and attempt.is_over)
            self._refs[ref] = is_call
            self.count += not is_call
            if attempt is not None:
                self._attempts[ref] = attempt
                attempt.end_work = functools.partial(self._end_attempt, attempt)
            self._ids[ref.task_id().hex()] = None
            if len(self._ids) > _REMEMBERED:
                del self._ids[next(iter(self._ids))]
        _watch().add(ref, self)
        if is_over:
            _cancel(ref, force=not is_call)

    def add_actor(self, handle: Any, *, is_detached: bool) -> None:
        """Record an actor. A detached one outlives its execution, because its author wants that."""
        actor_id = handle._ray_actor_id
        with self._lock:
            self.count += 1
            if is_detached:
                self._detached.add(actor_id)
                return
            self._actors[actor_id] = weakref.ref(handle)
        if self._is_over:
            _kill(actor_id)

    def add_group(self, group: Any) -> None:
        """Record a placement group, which holds CPUs even if nothing runs in it."""
        with self._lock:
            self._groups[group.id] = weakref.ref(group)
        if self._is_over:
            _remove(group.id)

    def remove_task(self, ref: Any) -> None:
        """Forget a task that has ended: its reference would keep its result alive."""
        with self._lock:
            self._refs.pop(ref, None)
            self._attempts.pop(ref, None)
            self._changed.notify_all()

    # when the execution ends

    def close(self) -> bool:
        """End anything that is started from now on; return whether there was anything before."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
        return not self.is_empty

    @property
    def is_empty(self) -> bool:
        """Whether the execution has never started anything."""
        return not (self._refs or self._ids or self._actors or self._detached or self._groups)

    @property
    def has_tasks(self) -> bool:
        """Whether one of its tasks or calls has not ended, as far as is known."""
        return bool(self._refs)

    def rest(self, *, keep: bool) -> EndWork:
        """Return the question that ends everything that was started here and is left.

        With `keep`, actors whose handles are still in use may stay for the next execution.
        """
        with self._lock:
            kept = [key.hex() for key, held in self._actors.items() if keep and held()]
            actors = [each.hex() for each in (*self._actors, *self._detached)]
            return EndWork(tasks=list(self._ids), actors=actors, kept=kept)

    def end(self, *, keep: bool) -> None:
        """End the rest: cancel tasks, then end their processes; kill actors at once. Blocks.

        With `keep`, an actor or placement group stays if its handle is still in use: a module may
        keep it for the next execution. May be called twice: on cancellation, and at the end.
        """
        self.close()
        if not (self._refs or self._actors or self._groups):
            return
        self._cancel(force=False)
        if keep:
            # A handle in the frames of a function that has just returned disappears with them.
            time.sleep(_FRAMES_S)
        self._discard(keep=keep)
        if not self._is_idle(GRACE_S):
            self._cancel(force=True)
            self._is_idle(_FORCE_S)

    def interrupt(self) -> None:
        """Cancel the tasks of an execution that is asked to end; end everything if that fails.

        A function that waits in `ray.get` notices nothing else. Blocks.
        """
        self._cancel(force=False)
        with self._changed:
            self._changed.wait_for(lambda: self._is_over, GRACE_S)
        if not self._is_over:
            self.end(keep=False)

    def _end_attempt(self, attempt: Attempt) -> None:
        """Cancel the tasks and calls that an attempt of a step has started. Blocks shortly."""
        with self._lock:
            attempt.is_over = True
            refs = [ref for ref, owner in self._attempts.items() if owner is attempt]
        for ref in refs:
            _cancel(ref, force=False)

    def _is_idle(self, within_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: not self._refs, within_s)

    def _cancel(self, *, force: bool) -> None:
        with self._lock:
            refs = list(self._refs.items())
        for ref, is_call in refs:
            _cancel(ref, force=force and not is_call)

    def _discard(self, *, keep: bool) -> None:
        """End actors and remove placement groups: with `keep` only those without a handle."""
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
            # With a timeout, because a task that starts meanwhile may end first.
            ready, _ = ray.wait(refs, num_returns=1, timeout=1.0, fetch_local=False)
            if ready:
                time.sleep(0.02)  # tasks end in groups
                ready, _ = ray.wait(refs, num_returns=len(refs), timeout=0, fetch_local=False)
            with self._changed:
                ended = [(ref, self._refs.pop(ref)) for ref in ready]
            for ref, started in ended:
                started.remove_task(ref)


_watch = functools.cache(_Watch)


def _cancel(ref: Any, *, force: bool) -> None:
    import ray

    # It may have ended just now, so that its reference is no longer valid.
    with contextlib.suppress(ValueError, TypeError, ray.exceptions.RayError):
        ray.cancel(ref, force=force, recursive=True)


def _kill(actor_id: Any) -> None:
    # By id: a handle kept here would keep alive an actor that is no longer used.
    _call_core_worker("kill_actor", actor_id, True)


def _remove(group_id: Any) -> None:
    _call_core_worker("remove_placement_group", group_id)


def _call_core_worker(method: str, *args: Any) -> None:
    import ray

    with contextlib.suppress(ValueError, ray.exceptions.RayError):
        getattr(ray._private.worker.global_worker.core_worker, method)(*args)


@functools.cache
def install(whose: Callable[[], Started | None]) -> None:
    """Make Ray's calls in this process record what they start with the execution from `whose`."""
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
        # With `get_if_exists` the actor may be another execution's.
        if started is not None and getattr(handle, "_ray_original_handle", False):
            lifetime = options.get("lifetime") or self._default_options.get("lifetime")
            started.add_actor(handle, is_detached=lifetime == "detached")
        return handle

    @functools.wraps(call)
    def calling(self: Any, *args: Any, **options: Any) -> Any:
        made = call(self, *args, **options)
        started = whose()
        by = self._ray_actor_creation_function_descriptor
        is_koco = str(getattr(by, "module_name", "")).startswith("koco.")
        if started is None or is_koco:  # calls of the control plane are not the flow's work
            return made
        if (ref := _reference(made)) is not None:
            started.add_task(ref, is_call=True)
        return made

    RemoteFunction._remote = starting_task
    ActorClass._remote = starting_actor
    ActorHandle._actor_method_call = calling
    _install_groups(whose)


def _install_groups(whose: Callable[[], Started | None]) -> None:
    # Through `sys.modules`: in `ray.util`, the module's name is the function.
    place = sys.modules["ray.util.placement_group"].placement_group

    @functools.wraps(place)
    def placing(*args: Any, **options: Any) -> Any:
        group = place(*args, **options)
        if (started := whose()) is not None and options.get("lifetime") != "detached":
            started.add_group(group)
        return group

    # In all of Ray's modules that have imported the function under its name.
    for name, module in list(sys.modules.items()):
        if name.startswith("ray.") and getattr(module, "placement_group", None) is place:
            module.placement_group = placing  # type: ignore[attr-defined]


def _reference(made: Any) -> Any:
    """Return the reference by which a started call can be cancelled, if it has one."""
    import ray

    if isinstance(made, list):
        made = made[0] if made else None
    if isinstance(made, ray.ObjectRefGenerator):
        return made._generator_ref
    return made if isinstance(made, ray.ObjectRef) else None
