"""Requests that this process began to answer, and that only the leader can: they are passed on."""

from typing import Any

_KEY = "koco.passing"


class Passing:
    """Whether a request is to be passed on, in place of the answer that this process has made."""

    is_wanted = False


def allow(scope: Any) -> Passing:
    """Say that a request can be passed on. Its answer must be looked at before it is sent."""
    found: Passing = scope.setdefault(_KEY, Passing())
    return found


def want(scope: Any) -> None:
    """Pass a request on if that is possible."""
    if found := scope.get(_KEY):
        found.is_wanted = True


def is_wanted(scope: Any) -> bool:
    """Whether a request is passed on, so that another process logs and counts it."""
    found = scope.get(_KEY)
    return found is not None and found.is_wanted
