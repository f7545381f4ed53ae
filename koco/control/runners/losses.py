"""Counts the runners that a release loses, as a sign of whether it works."""

from typing import NamedTuple


class Loss(NamedTuple):
    """A runner that died or did not start: why, and which executions it had."""

    cause: str
    fids: frozenset[str] = frozenset()


class Losses:
    """The losses of a release's runners.

    An execution that is resumed or retried may kill many runners. They count once, because that
    says little about the release's other executions.
    """

    def __init__(self) -> None:
        #: How many there were, and how many of them had no execution.
        self.count = self.idle = 0
        #: The cause of the last one.
        self.cause = ""
        self._fids: set[str] = set()

    def add(self, loss: Loss) -> None:
        """Count a loss, unless one of its executions was part of an earlier one."""
        is_repeated = not self._fids.isdisjoint(loss.fids)
        self._fids |= loss.fids
        if is_repeated:
            return
        self.count += 1
        self.idle += not loss.fids
        self.cause = loss.cause
