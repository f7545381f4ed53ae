"""Acting on many executions: what a person is told when it is interrupted."""

from typing import Any

import pytest

from koco.cli.many import actions, repeats
from koco.errors import Interrupted


def test_ctrl_c_says_how_far_it_got() -> None:
    """And that the command can be repeated."""

    def ask(*, cursor: str | None, **_: Any) -> dict[str, Any]:
        if cursor is not None:
            raise KeyboardInterrupt
        return {"retried": [{"fid": "a", "new": "b"}], "skipped": [], "next": "1"}

    with pytest.raises(Interrupted, match="1 execution retried so far") as caught:
        list(actions.act(ask, repeats.RETRY, ["a", "c"]))
    assert "repeat the command" in (caught.value.hint or "")


def test_none_is_told_twice() -> None:
    """A piece that ends at a full queue may overlap with the next one."""
    first, second = {"fid": "a", "new": "b"}, {"fid": "c", "new": "d"}
    pieces: list[dict[str, Any]] = [
        {"retried": [first, second], "skipped": [], "next": "1"},
        {"retried": [second], "skipped": [], "next": None},
    ]
    found = actions.act(lambda **_: pieces.pop(0), repeats.RETRY, ["a", "c"])
    assert [(each.fid, each.new) for each in found] == [("a", "b"), ("c", "d")]
