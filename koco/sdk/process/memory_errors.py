"""Let Ray tasks and actors survive a refused allocation, so that they can report it.

A process at its limit has no memory left in which Ray could report an error. It would die without
any mention of memory. So a call that ends with a `MemoryError` gets some more to report it.
"""

import functools
from typing import Any

from koco.sdk.process import memory


@functools.cache
def install() -> None:
    """Make all calls by Ray in this process report refused memory."""
    from ray._private.function_manager import FunctionActorManager

    find = FunctionActorManager.get_execution_info
    known: dict[int, Any] = {}

    @functools.wraps(find)
    def found(self: Any, job_id: Any, descriptor: Any) -> Any:
        info = find(self, job_id, descriptor)
        if id(info) not in known:
            # Keep the original as well: its id must not be reused.
            known[id(info)] = info, info._replace(function=_report_memory_error(info.function))
        return known[id(info)][1]

    FunctionActorManager.get_execution_info = found


def _report_memory_error(function: Any) -> Any:
    @functools.wraps(function)
    def call(*args: Any, **more: Any) -> Any:
        try:
            return function(*args, **more)
        except MemoryError as exc:
            memory.allow_spare()
            if not memory.has_message(exc) and (described := memory.describe(exc)):
                exc.args = (described["message"],)
            raise

    return call
