"""Failed attempts to log in: each one delays the next of the same name or address for longer.

They are counted in memory, so a restart clears them. Valid keys are never checked here, so a known
key gets in even if its address has failed often.
"""

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable

import msgspec

from koco.errors import TooManyError

#: Failures without a delay: of one name, and from one address, which many people may share. Keys
#: cannot be guessed, so their limit is for programs that keep trying an old key.
_FREE = {"name": 5, "address": 20, "key": 100}
#: The delay of the next attempt after those (seconds): doubled each time, from the first to the
#: second.
_WAIT_S = (1.0, 900.0)
#: How long after the last of them failures are forgotten (seconds).
_FORGOTTEN_S = 3600.0
#: How many names and addresses are remembered; the one whose last failure is oldest is dropped.
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
        # The exponent is limited, because a larger power would overflow a float.
        return self.last_s + min(first_s * 2.0 ** min(self.count - self.free, 30), most_s)


class Attempts:
    """The recent failures of names and addresses; `clock` returns monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: OrderedDict[tuple[str, str], _Failures] = OrderedDict()

    def check(self, *, address: str, name: str | None = None) -> None:
        """Count an attempt to log in with a name or, if `name` is None, a request with a wrong key.

        It counts as failed until `passed` is called: if many attempts come at once, no more of them
        get through than one after another. A delayed attempt is not counted.

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
        """Take back an attempt and forget the name's other failures; the address's still count."""
        self.forget(name)
        if found := self._failures.get(("address", network(address))):
            found.count -= 1

    def forget(self, name: str) -> None:
        """Forget the failures of a name, because it has a new password, for example."""
        self._failures.pop(("name", name), None)

    def _kinds(self, address: str, name: str | None) -> list[tuple[str, str]]:
        # Counted separately, because a script with an old key must not lock out users who log in.
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
    hint = "a valid key is accepted at once" if kind == "key" else "a key is accepted at once"
    return TooManyError(
        f"{what}; the next one is possible in {wait} s",
        hint=f"wait that long; {hint}",
        retry_after_s=wait,
    )


def network(address: str) -> str:
    """Return the network that counts as one address: for IPv6 the /64 that one home usually has."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)
