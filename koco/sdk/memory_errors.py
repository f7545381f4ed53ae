"""Ray tasks and actors that are refused memory: they say so, and their process lives to tell.

At its limit a process has nothing left for Ray to report an error with, and would die of that
with no word of memory. So a call that ends with a `MemoryError` is given some more to tell it.
"""

import functools
from typing import Any

from koco.sdk import memory


@functools.cache
def install() -> None:
    """Have calls that Ray makes in this process tell that they were refused memory."""
    from ray._private.function_manager import FunctionActorManager

    find = FunctionActorManager.get_execution_info
    known: dict[int, Any] = {}

    @functools.wraps(find)
    def found(self: Any, job_id: Any, descriptor: Any) -> Any:
        info = find(self, job_id, descriptor)
        if id(info) not in known:
            # With the one it is made of, whose number is given to no other then.
            known[id(info)] = info, info._replace(function=_telling(info.function))
        return known[id(info)][1]

    FunctionActorManager.get_execution_info = found


def _telling(function: Any) -> Any:
    @functools.wraps(function)
    def call(*args: Any, **more: Any) -> Any:
        try:
            return function(*args, **more)
        except MemoryError as exc:
            memory.spare()
            if not memory.was_told(exc) and (told := memory.describe(exc)):
                exc.args = (told["message"],)
            raise

    return call
