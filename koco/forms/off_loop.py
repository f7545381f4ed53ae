"""Checks whose time grows with the size of a request, run in a thread if they take long."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Executor

T = TypeVar("T")

#: The limits of a small value: the values within it, and the characters of its texts.
_FEW_VALUES, _FEW_CHARACTERS = 1_000, 100_000


async def run_check(check: Callable[[], T], *, is_quick: bool) -> T:
    """Run a check and return its result: right away if it is quick, else in a thread.

    There is only one thread, so large requests wait for each other and small ones do not wait. The
    thread takes turns with the event loop, so a check must not hold the GIL for long.
    """
    if is_quick:
        return check()
    import asyncio  # here, because the command line checks forms too and does not need asyncio

    return await asyncio.get_running_loop().run_in_executor(_thread(), check)


def is_small(value: object) -> bool:
    """Return whether a JSON value has few values and little text. Stops at the limits."""
    values, characters = [value], 0
    for each in values:
        if isinstance(each, str):
            characters += len(each)
        elif isinstance(each, list | dict):
            if len(values) + len(each) > _FEW_VALUES:
                return False
            if isinstance(each, dict):
                characters += sum(len(key) for key in each if isinstance(key, str))
                values.extend(each.values())
            else:
                values.extend(each)
    return characters <= _FEW_CHARACTERS


@functools.cache
def _thread() -> "Executor":
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(1, thread_name_prefix="koco-checks")
