"""Release the objects that a caught exception keeps alive.

An exception that Ray raises is also a local variable of the frames that raised it, so exception,
traceback and frames form a cycle. The frames hold the `ObjectRef` of the failed call. Only the
garbage collector would free it, and a worker that does nothing never collects. Ray ends no worker
that still owns an object, so the process would stay for ever.
"""

import traceback


def let_go(exc: BaseException) -> None:
    """Free the objects that an exception and its causes keep alive.

    Call this if an exception is caught and suppressed, or before another one is raised from it.
    Its message stays, but its traceback is dropped.
    """
    seen: set[int] = set()
    found: BaseException | None = exc
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        if found.__traceback__ is not None:
            # Frames that still run are not affected.
            traceback.clear_frames(found.__traceback__)
            found.__traceback__ = None
        # Not followed, because it may be the caller's own exception, handled further up.
        found.__context__ = None
        found = found.__cause__
