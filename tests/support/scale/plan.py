"""What is launched, and what must come of it: both follow from a seed and a number."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

#: The flow of the probe, and how its keys begin.
PING, PROBE = "probe/ping", "probe"

#: How many of a hundred launches are of each flow.
_SHARES = {
    "crowd/emit": 56,
    "crowd/mortal": 6,
    "lone/count": 18,
    "kept/steps": 17,
    "kept/family": 3,
}
#: How many of a hundred last so long that a kill meets them, and how long (seconds).
_LONG, _LONG_S = 3, 2.0


@dataclass(frozen=True)
class Planned:
    """A launch. Its idempotency key is the same whoever repeats it."""

    key: str
    flow: str
    inputs: dict[str, Any]

    @property
    def number(self) -> int:
        number: int = self.inputs["number"]
        return number

    @property
    def count(self) -> int:
        count: int = self.inputs["count"]
        return count

    @property
    def is_durable(self) -> bool:
        return self.flow.startswith("kept/")

    @property
    def may_die(self) -> bool:
        """Whether it ends with its runner, because nobody repeats it."""
        return self.flow == "crowd/mortal"

    @property
    def steps(self) -> int:
        """How many steps of its own it takes."""
        return {"kept/steps": self.count, "kept/family": 1}.get(self.flow, 0)

    @property
    def child(self) -> "Planned | None":
        """What it launches itself."""
        if self.flow != "kept/family":
            return None
        return Planned("", "kept/steps", {**self.inputs, "count": self.count - 1})

    @property
    def result(self) -> Any:
        return "pong" if self.flow == PING else [self.number, self.count]

    def own_events(self) -> Iterator[tuple[str, Any]]:
        """Yield the kinds and payloads that its flow writes in one undisturbed run."""
        for each in range(self.count if self.child is None else 0):
            if self.flow == "lone/count":
                yield "stdout", f"line {self.number} {each}"
            yield "result", [self.number, each]


def planned(seed: int, number: int) -> Planned:
    """Return the launch of a number."""
    chance = random.Random(seed * 1_000_003 + number)
    [flow] = chance.choices([*_SHARES], [*_SHARES.values()])
    count = chance.randint(2, 4)
    pause = chance.uniform(0, 0.01)
    if chance.random() * 100 < _LONG:
        pause = _LONG_S / count
    inputs = {"number": number, "count": count, "pause": round(pause, 4)}
    return Planned(f"{seed}-{number}", flow, inputs)


def of_key(key: str) -> Planned:
    """Return the launch of an idempotency key."""
    seed, number = key.split("-")[-2:]
    if key.startswith(PROBE):
        return Planned(key, PING, {"number": 0, "count": 0})
    return planned(int(seed), int(number))
