"""The crashes that a test asks for."""

from collections.abc import Sequence

from koco.events.steps import name_of

#: Crash after every recorded outcome in turn.
EVERY = "*"


class Crashes:
    """Says after which recorded outcomes an execution crashes. Each is asked about once.

    Args:
        after: names of steps (the first outcome of that name counts), their keys, or `EVERY`.
    """

    def __init__(self, after: str | Sequence[str] | None) -> None:
        wanted = [after] if isinstance(after, str) else list(after or ())
        self._every = EVERY in wanted
        self._left = [each for each in wanted if each != EVERY]
        self._seen: set[str] = set()

    def __call__(self, key: str) -> bool:
        """Return whether to crash, now that there is an outcome of this key."""
        if key in self._seen:
            return False  # a lock's answer, which is asked for again
        self._seen.add(key)
        named = [each for each in self._left if each in (key, name_of(key))]
        for each in named:
            self._left.remove(each)
        return bool(named) or self._every

    def check(self) -> None:
        """Raise `AssertionError` if the execution ended without a crash that was asked for."""
        if self._left:
            seen = ", ".join(sorted(self._seen)) or "nothing"
            raise AssertionError(
                f"no outcome of {self._left[0]!r} was recorded after which to crash; "
                f"the flow recorded {seen}"
            )
