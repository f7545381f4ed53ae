"""Objects that a caught exception keeps alive are released without the garbage collector."""

import asyncio
import contextlib
import gc
import traceback
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from koco.sdk.process.control_client import Control
from koco.sdk.process.references import let_go


class Ref:
    """A reference as Ray counts them: if it is gone, its object may be freed."""


@pytest.fixture(autouse=True)
def without_gc() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def failing(alive: list[Any], cause: bool = False) -> None:
    """Raise an exception that the raising frame keeps, as `ray.get` does."""
    ref = Ref()
    alive.append(weakref.ref(ref))
    value = ValueError("of the call")
    if not cause:
        raise value
    try:
        raise value
    except ValueError as exc:
        failure = KeyError("of koco's")
        raise failure from exc


@pytest.mark.parametrize("cause", [False, True])
def test_objects_in_frames_are_free_at_once(cause: bool) -> None:
    """Without `let_go` they stay. Causes are covered as well, and the message stays."""
    alive: list[Any] = []
    with contextlib.suppress(ValueError, KeyError):
        failing(alive, cause)
    assert alive[0]() is not None, "the cycle that this is about"
    kept: BaseException | None = None
    try:
        failing(alive, cause)
    except (ValueError, KeyError) as exc:
        let_go(exc)
        kept = exc
    assert alive[1]() is None
    assert "of " in str(kept)


def test_the_callers_own_exception_is_not_changed() -> None:
    """A function called while another exception is handled has that one as its context."""
    try:
        raise RuntimeError("the caller's")
    except RuntimeError as own:
        try:
            failing([])
        except ValueError as exc:
            assert exc.__context__ is own
            let_go(exc)
        assert traceback.extract_tb(own.__traceback__)


class _Actor:
    """Fails twice, as Ray does while an actor restarts, then answers; `alive` are its calls."""

    def __init__(self) -> None:
        self.alive: list[Any] = []
        self.append = self

    def remote(self, blob: bytes) -> Any:
        return self._answer(blob)

    async def _answer(self, blob: bytes) -> bytes:
        from ray.exceptions import ActorUnavailableError

        ref = Ref()
        self.alive.append(weakref.ref(ref))
        if len(self.alive) < 3:
            failure = ActorUnavailableError("restarts", None)
            raise failure
        return blob


def test_a_repeated_call_does_not_keep_earlier_ones() -> None:
    """Objects of the failed calls are free when the answer comes."""
    actor = _Actor()
    assert asyncio.run(Control(actor).call("append", b"x")) == b"x"
    assert [ref() for ref in actor.alive] == [None] * 3
