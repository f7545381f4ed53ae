"""Which runners run an execution alone, because it may be what its processes die of.

If a process dies with several executions, nobody knows which of them it died of. So those that
have died twice in a row without a new outcome of a step (`Execution.runs_alone`) get a runner
without others: the culprit then dies alone, and the others do not die with it.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING

from koco.control.runners.queue import Line
from koco.control.runners.worker import Runner
from koco.store.model import Execution

if TYPE_CHECKING:
    from koco.manifest import model


class Seclusion:
    """Decides for one pool which runner may run an execution alone."""

    def __init__(self, line: Line, limits: "model.Runner") -> None:
        self._line = line
        self._limits = limits
        #: The runner that gets nothing new until it is empty, for the first one in line.
        self._reserved: Runner | None = None

    @property
    def _is_needed(self) -> bool:
        return self._limits.concurrency > 1  # otherwise, each runs alone anyway

    def _room(self, runners: Collection[Runner]) -> int:
        """Return how many more runners may be closed: half of them at most, but always one."""
        closed = sum(runner.is_closed for runner in runners)
        return max(1, self._limits.max // 2) - closed

    def shuts(self, runner: Runner) -> bool:
        """Whether a runner gets nothing for now although there is room in it."""
        return runner.is_closed or (runner is self._reserved and bool(runner.running))

    def take(self, runner: Runner, runners: Collection[Runner]) -> Execution | None:
        """Take the next execution for a runner out of the line, and close the runner if needed."""
        if not self._is_needed:
            return self._line.take()
        alone = not runner.running and self._room(runners) > 0
        execution = self._line.take(alone=alone)
        if execution is not None and execution.runs_alone:
            runner.alone = execution.fid
        return execution

    def reserve(self, runners: Collection[Runner], *, is_starting: bool) -> None:
        """Choose the runner that is to become empty, if the first one in line needs one.

        While another runner starts or may be started, that one will do.
        """
        former, self._reserved = self._reserved, None
        if not (self._is_needed and self._line.begins_alone and self._room(runners) > 0):
            return
        if is_starting or len(runners) < self._limits.max:
            return
        able = [
            each
            for each in runners
            if each.is_ready and not (each.is_leaving or each.is_closed or each.vigil.says)
        ]
        kept = former if former in able else None
        self._reserved = kept or min(able, key=lambda each: len(each.running), default=None)

    def demand(self, runners: Collection[Runner]) -> int:
        """Return how many runners the waiting executions that must run alone need."""
        waiting = self._line.ready_alone()
        return min(waiting, max(0, self._room(runners))) if self._is_needed else waiting
