"""What really ran: a file to which each execution adds a line when it begins, and who checks it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

#: What a product says of an execution: `open` is any state in which it may still go on, `failed`
#: any end but success, and `gone` means that the product does not know it.
State = Literal["finished", "failed", "open", "gone"]

#: The length of a line, see `programs/trivial_work.py`.
_LINE_BYTES = 43


@dataclass(frozen=True, slots=True)
class Losses:
    """What became of the launches that a product had accepted before everything was killed."""

    accepted: int
    #: Those that the product says have finished, and that ran.
    finished: int
    #: Those that it says have failed: they are lost, but not in silence.
    failed: int
    #: Those that it still has as open, after the time to settle.
    stuck: int
    #: Those that it knows nothing of.
    gone: int
    #: Those that it says have finished, and that never ran.
    hollow: int
    #: Those that began more than once.
    twice: int

    @property
    def lost(self) -> int:
        """How many never finished, whatever the product says."""
        return self.accepted - self.finished


class Ledger:
    """A ledger's file, which may not exist yet."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def count(self) -> int:
        """Return how many executions have begun; cheap, because all lines have the same length."""
        try:
            return self.path.stat().st_size // _LINE_BYTES
        except FileNotFoundError:
            return 0

    def runs(self) -> Counter[int]:
        """Return how often each number has begun.

        Raises:
            ValueError: a line is not one of `trivial_work`; it names the line.
        """
        counted: Counter[int] = Counter()
        text = self.path.read_bytes() if self.path.exists() else b""
        for place, line in enumerate(text.split(b"\n")[:-1], start=1):
            words = line.split()
            if len(line) != _LINE_BYTES - 1 or len(words) != 3 or not words[0].isdigit():
                raise ValueError(f"{self.path}:{place}: not a line of the ledger: {line[:60]!r}")
            counted[int(words[0])] += 1
        return counted


def check(states: Mapping[int, State], runs: Mapping[int, int]) -> Losses:
    """Compare what a product says of each accepted number with how often it began.

    `states` has the accepted launches and no others. A launch whose answer the client never got may
    have run or not: nobody was promised anything.
    """
    said = Counter(states.values())
    hollow = sum(state == "finished" and not runs.get(n) for n, state in states.items())
    return Losses(
        accepted=len(states),
        finished=said["finished"] - hollow,
        failed=said["failed"],
        stuck=said["open"],
        gone=said["gone"],
        hollow=hollow,
        twice=sum(runs.get(number, 0) > 1 for number in states),
    )
