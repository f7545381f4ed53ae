"""Checks whose time grows with what somebody sends, beside the event loop."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Executor

T = TypeVar("T")

#: What is looked at in no time: values within each other, and characters of texts.
_FEW, _SHORT = 1_000, 100_000


async def beside(check: Callable[[], T], *, is_quick: bool) -> T:
    """Return what a check returns, which is made in a thread if it takes long.

    There is one thread: whoever sends what is large waits for others who do, and nobody else. It
    takes turns with the event loop, so a check must not call what keeps Python's lock for long.
    """
    if is_quick:
        return check()
    import asyncio  # here: the command line checks forms as well, and need not pay for it

    return await asyncio.get_running_loop().run_in_executor(_thread(), check)


def is_small(value: object) -> bool:
    """Say whether a JSON value has few values and little text in it, without looking at more."""
    values, characters = [value], 0
    for each in values:
        if isinstance(each, str):
            characters += len(each)
        elif isinstance(each, list | dict):
            if len(values) + len(each) > _FEW:
                return False
            if isinstance(each, dict):
                characters += sum(len(key) for key in each if isinstance(key, str))
                values.extend(each.values())
            else:
                values.extend(each)
    return characters <= _SHORT


@functools.cache
def _thread() -> "Executor":
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(1, thread_name_prefix="koco-checks")
