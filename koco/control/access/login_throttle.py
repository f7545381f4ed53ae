"""Failed attempts to get in: each one holds up the next of that name or address longer.

Counted in memory: a restart forgives. What is right is never looked at here, so a key
that is known gets in whatever else comes from its address.
"""

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable

import msgspec

from koco.errors import TooManyError

#: Failures that cost nothing: of one name, and from one address, which many may share. Keys
#: cannot be guessed: there it is for what asks again and again with an old one.
_FREE = {"name": 5, "address": 20, "key": 100}
#: How long the next one is held up after those (seconds): doubled each time, up to the second.
_WAIT_S = (1.0, 900.0)
#: How long after the last of them failures are forgotten (seconds).
_FORGOTTEN_S = 3600.0
#: Names and addresses that are remembered; the one that has not failed for longest makes room.
_REMEMBERED = 10_000


class _Failures(msgspec.Struct):
    free: int
    count: int = 0
    last_s: float = 0.0

    @property
    def until_s(self) -> float:
        """When the next attempt may come."""
        if self.count < self.free:
            return 0.0
        first_s, most_s = _WAIT_S
        # Not a larger power: it would be no float any more.
        return self.last_s + min(first_s * 2.0 ** min(self.count - self.free, 30), most_s)


class Attempts:
    """Who has failed lately; `clock` tells seconds that never go back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: OrderedDict[tuple[str, str], _Failures] = OrderedDict()

    def check(self, *, address: str, name: str | None = None) -> None:
        """Count an attempt: to log in by a name or, where there is none, one with a wrong key.

        It has failed unless `passed` says otherwise later: of many that come at once, no
        more get through than of many in a row. One that is held up is not counted.

        Raises:
            TooManyError: it comes too early.
        """
        now = self._clock()
        kinds = self._kinds(address, name)
        for kind, who in kinds:
            found = self._failures.get((kind, who))
            if found and now < found.until_s:
                raise _too_many(kind, who, found.until_s - now)
        for each in kinds:
            self._count(each, now)

    def passed(self, *, address: str, name: str) -> None:
        """Take back an attempt, and forget the name's others; the address's still count."""
        self.forget(name)
        if found := self._failures.get(("address", network(address))):
            found.count -= 1

    def forget(self, name: str) -> None:
        """Forget the failures of a name: it has another password, say."""
        self._failures.pop(("name", name), None)

    def _kinds(self, address: str, name: str | None) -> list[tuple[str, str]]:
        # Apart: a script that has an old key must keep nobody else from logging in.
        place = network(address)
        return [("key", place)] if name is None else [("address", place), ("name", name)]

    def _count(self, which: tuple[str, str], now: float) -> None:
        found = self._failures.setdefault(which, _Failures(_FREE[which[0]]))
        if now - found.last_s > _FORGOTTEN_S:
            found.count = 0
        found.count, found.last_s = found.count + 1, now
        self._failures.move_to_end(which)
        if len(self._failures) > _REMEMBERED:
            self._failures.popitem(last=False)


def _too_many(kind: str, who: str, wait_s: float) -> TooManyError:
    wait = math.ceil(wait_s)
    what = {
        "name": f"too many failed logins as {who!r}",
        "address": f"too many failed logins from {who}",
        "key": f"too many wrong keys from {who}",
    }[kind]
    hint = "a key that is known gets in at once" if kind == "key" else "a key gets in at once"
    return TooManyError(
        f"{what}; the next one is looked at in {wait} s",
        hint=f"wait for that long; {hint}",
        retry_after_s=wait,
    )


def network(address: str) -> str:
    """Return what of an address is one place: all that somebody with IPv6 at home has is one."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)
