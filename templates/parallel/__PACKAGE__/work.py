"""The work itself: plain functions, which know nothing of Ray."""

from math import isqrt

from koco import Tracer


def split(limit: int, slices: int) -> list[range]:
    """Return the numbers below `limit` in at most `slices` parts of about the same size."""
    size = max(1, -(-limit // max(1, slices)))
    return [range(low, min(low + size, limit)) for low in range(0, limit, size)]


def is_prime(number: int) -> bool:
    """Say whether a number is prime."""
    return number > 1 and all(number % divisor for divisor in range(2, isqrt(number) + 1))


def count_primes(part: range, tracer: Tracer) -> int:
    """Count the primes in one slice, and report it."""
    count = sum(map(is_prime, part))
    tracer.result_sync({"from": part.start, "to": part.stop, "primes": count})
    return count
