"""Notes that only the leader can answer a request, for whoever can pass it on."""

from typing import Any, ClassVar

from koco.control.leadership import OnlyLeaderError


class Mark:
    """Is in the scope of a request that can be passed on."""

    KEY: ClassVar[str] = "koco.only_leader"

    def __init__(self) -> None:
        self.is_set = False


def note(scope: Any, error: Exception) -> None:
    """Note an error that means so."""
    mark = scope.get(Mark.KEY)
    if mark is not None and isinstance(error, OnlyLeaderError):
        mark.is_set = True
