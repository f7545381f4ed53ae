"""Conversions to HTML and YAML, in a thread of their own: one at a time.

Even a short text may take a second. The event loop would stand still, and many threads at once
would leave it little of the interpreter.
"""

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


async def convert(work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Return the result of a conversion. It never begins if its caller is cancelled before."""
    call = functools.partial(work, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(_thread(), call)


@functools.cache
def _thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="koco-conversions")
