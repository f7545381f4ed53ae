"""Failed attempts: some are free, then each holds up the next for longer."""

import pytest

from koco.control.access.login_throttle import Attempts
from koco.errors import TooManyError

HOME = "192.0.2.7"


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def attempts(clock: Clock) -> Attempts:
    return Attempts(clock)


def wait_of(attempts: Attempts, *, address: str = HOME, name: str | None = None) -> int:
    """Return how long an attempt is held up (seconds); 0 where it is let through."""
    try:
        attempts.check(address=address, name=name)
    except TooManyError as exc:
        return int(exc.headers["Retry-After"])
    return 0


def test_delays_double_up_to_a_quarter_of_an_hour(attempts: Attempts, clock: Clock) -> None:
    """The first five failures of a name are free, from any address."""
    waits = []
    for number in range(20):
        address = f"198.51.100.{number}"
        while wait := wait_of(attempts, address=address, name="ada"):
            waits.append(wait)
            clock.now += wait
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900, 900, 900]


def test_an_attempt_that_comes_too_early_does_not_count(attempts: Attempts, clock: Clock) -> None:
    """So a user who waits gets in, however often others try meanwhile."""
    for _ in range(1000):
        wait_of(attempts, name="ada")
    clock.now += 1
    assert wait_of(attempts, name="ada") == 0


def test_an_address_has_more_free_failures(attempts: Attempts) -> None:
    """Many people may share it; an IPv6 network counts as one address."""
    assert not any(wait_of(attempts, name=f"user{number}") for number in range(20))
    assert wait_of(attempts, name="another") == 1
    assert wait_of(attempts, address="192.0.2.8", name="another") == 0
    for number in range(20):
        assert wait_of(attempts, address=f"2001:db8::{number:x}", name=f"six{number}") == 0
    assert wait_of(attempts, address="2001:db8::ffff", name="more") == 1
    assert wait_of(attempts, address="2001:db8:0:1::1", name="more") == 0
    assert wait_of(attempts, address=f"::ffff:{HOME}", name="another") == 1


def test_wrong_keys_do_not_delay_logins(attempts: Attempts) -> None:
    """Nor the reverse: a script with an old key may share an address with people."""
    assert not any(wait_of(attempts) for _ in range(100))
    assert wait_of(attempts) == 1
    assert wait_of(attempts, name="ada") == 0


def test_a_successful_login_clears_the_name_but_not_the_address(attempts: Attempts) -> None:
    """Otherwise a user with a password could guess others' for ever."""
    for number in range(19):
        wait_of(attempts, name=f"user{number % 5}")
    assert wait_of(attempts, name="ada") == 0
    attempts.passed(address=HOME, name="ada")
    assert wait_of(attempts, name="user5") == 0
    assert wait_of(attempts, name="user6") == 1
    for _ in range(20):  # from elsewhere: of the name nothing is left
        assert wait_of(attempts, address="192.0.2.9", name="ada") == 0
        attempts.passed(address="192.0.2.9", name="ada")


def test_failures_are_forgotten_after_an_hour(attempts: Attempts, clock: Clock) -> None:
    """An hour without failures, not an hour after the first."""
    for _ in range(15):
        clock.now += wait_of(attempts, name="ada")
    clock.now += 3601
    assert [wait_of(attempts, name="ada") for _ in range(6)] == [0, 0, 0, 0, 0, 1]


def test_memory_is_bounded(attempts: Attempts) -> None:
    """The names that failed last are remembered."""
    for number in range(12_000):
        wait_of(attempts, address=f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(attempts._failures) == 10_000


def test_the_error_says_how_long_to_wait(attempts: Attempts) -> None:
    """And that a key works at once."""
    for _ in range(5):
        attempts.check(address=HOME, name="ada")
    with pytest.raises(TooManyError, match="too many failed logins as 'ada'") as caught:
        attempts.check(address=HOME, name="ada")
    assert caught.value.hint == "wait that long; a key is accepted at once"
