"""Checks of admins' input about keys and users: names, scopes, patterns of flows, addresses."""

import re
from collections.abc import Iterable

from koco.control.access.caller import SCOPES
from koco.errors import UsageError

_NAME = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,63}")
_EMAIL = re.compile(r"[^@\s<>\"',;]{1,64}@[^@\s<>\"',;]{1,190}")
#: Names that koco itself uses as owners of executions and files.
_RESERVED = frozenset({"flow", "schedule", "koco", "me"})
#: Full names of flows, with `*` for any text.
_GLOB = re.compile(r"[A-Za-z0-9._*~-]+/[A-Za-z0-9._*-]+")
_GLOBS = 100


def check_name(name: str, *, what: str) -> None:
    """Check the name of a key or a user; they share one set of names.

    Raises:
        UsageError: the name is invalid.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name[:80]!r} is not a valid name for a {what}",
            hint="use 1 to 64 lower-case letters, digits and `.`, `_`, `-`, `@`, `+`"
            " (ci or ada@home, for example)",
        )
    if name in _RESERVED:
        raise UsageError(f"the name {name!r} is reserved for koco", hint="choose another")


def check_email(email: str) -> None:
    """Check an e-mail address, which may be empty. It only has to look like one.

    Raises:
        UsageError: it is invalid.
    """
    if email and not (_EMAIL.fullmatch(email) and email.isprintable()):
        raise UsageError(f"{email[:80]!r} is not an e-mail address", hint="such as ada@example.com")


def check_rights(
    scopes: Iterable[str], flows: Iterable[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the checked scopes and patterns of flows of a key or a user.

    Raises:
        UsageError: one is invalid, or they contradict each other.
    """
    found = _scopes(scopes), check_flows(flows)
    if found[1] and "admin" in found[0]:
        raise UsageError(
            "an admin cannot be limited to flows", hint="leave out the scope `admin`, or the flows"
        )
    return found


def _scopes(scopes: Iterable[str]) -> tuple[str, ...]:
    """Return the scopes without duplicates, in the order of `SCOPES`.

    Raises:
        UsageError: there is none, or one is unknown.
    """
    asked = list(scopes)
    if unknown := [each for each in asked if each not in SCOPES]:
        raise UsageError(f"no scope is called {unknown[0]!r}", hint=f"one of: {', '.join(SCOPES)}")
    if not asked:
        raise UsageError("without a scope it can do nothing", hint=f"of: {', '.join(SCOPES)}")
    return tuple(each for each in SCOPES if each in asked)


def check_flows(flows: Iterable[str]) -> tuple[str, ...]:
    """Return the patterns of flows without duplicates.

    Raises:
        UsageError: one is invalid, or there are too many.
    """
    asked = tuple(dict.fromkeys(flows))
    if len(asked) > _GLOBS:
        raise UsageError(f"at most {_GLOBS} patterns of flows, got {len(asked)}")
    for each in asked:
        if not _GLOB.fullmatch(each):
            raise UsageError(
                f"{each[:80]!r} is not a pattern of flows",
                hint="write service/flow, with `*` for any text: hymn/* or */report",
            )
    return asked
