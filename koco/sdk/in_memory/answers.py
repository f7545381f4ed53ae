"""The person of a test, who answers a flow's locks."""

import threading
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from koco.errors import InputsError
from koco.events import datetimes, line
from koco.events.questions import LockOutcome, OpenLock

#: Turns a person's answer to a lock into the flow's value, and the dates in it. None: unchanged.
Lease = Callable[[OpenLock, Any], tuple[Any, datetimes.Moments] | None]

#: Returns a person's answer to a lock, or an exception in place of it.
Answering = Callable[[OpenLock], LockOutcome | BaseException]


class Answers:
    """The test's answers by the name of the lock.

    Args:
        answers: see `koco.testing.run`.
        lease: makes what the flow gets of them.
        failures: where to add why the test fails.
    """

    def __init__(self, answers: Mapping[str, Any], lease: Lease, failures: list[str]) -> None:
        self._answers = {
            name: list(each) if isinstance(each, list) else each for name, each in answers.items()
        }
        self._lease = lease
        self._failures = failures
        self._lock = threading.Lock()

    def answer(self, lock: OpenLock) -> LockOutcome | BaseException:
        """Return a person's answer, or the test's exception if it has one instead.

        Raises:
            AssertionError: the app refuses the answer, or fails.
        """
        answer = self._next(lock)
        if isinstance(answer, BaseException):
            return answer
        try:
            answer, dates = self._lease(lock, answer) or (answer, datetimes.find(answer))
        except InputsError as exc:
            if self._has_more(lock):
                return self.answer(lock)  # it is still open
            refused = f"the lock {lock.name!r} refuses the test's answer: {exc.message}"
            self._failures.append(refused)
            raise AssertionError(refused) from exc
        except AssertionError as exc:
            self._failures.append(str(exc))
            raise
        # Converted to JSON and back, except dates: a flow gets the answer in that form.
        plain = msgspec.json.decode(line.encode_payload(answer))
        return LockOutcome(status="answered", answer=plain, moments=dates)

    def _has_more(self, lock: OpenLock) -> bool:
        """Return whether the test has a list of answers for a lock, with another one in it."""
        return isinstance(left := self._answers.get(lock.name), list) and bool(left)

    def _next(self, lock: OpenLock) -> Any:
        with self._lock:
            answer = self._answers.get(lock.name, [])
            if isinstance(answer, list):
                if not answer:
                    self._failures.append(f"the test has no answer for the lock {lock.name!r}")
                    return AssertionError(self._failures[-1])
                answer = answer.pop(0)
        is_asked = callable(answer) and not isinstance(answer, BaseException)
        return answer(lock.data) if is_asked else answer
