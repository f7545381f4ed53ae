"""A list of executions that stays current."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from koco.client.answers import Execution, Executions
from koco.client.client import Client
from koco.errors import NotFoundError, UnreachableError
from koco.events.model import Status

#: How soon to look again if nothing is told (seconds): while an execution runs, its progress and
#: what it uses change without being told; otherwise only waits do.
_BUSY_S, _IDLE_S = 3.0, 30.0
#: How often all of a long list is fetched, and not only its head (seconds).
_WHOLE_S = 10.0


@dataclass(frozen=True)
class Difference:
    """What has changed since the last look; `gone` are no longer in the list, as they are now."""

    changed: Sequence[Execution] = ()
    gone: Sequence[Execution] = ()
    deleted: Sequence[str] = ()


@dataclass
class Listing:
    """The executions that `ask` returns. `trouble` says why they may be out of date.

    With `ask_head`, which returns the first ones of them, a look fetches only these, and all at
    least every ten seconds: a thousand executions each second take a tenth of a core.
    """

    ask: Callable[[], Executions]
    ask_head: Callable[[], Executions] | None = None
    #: Asked for the executions that are no longer in the list; None if nobody wants to know.
    client: Client | None = None
    items: list[Execution] = field(default_factory=list)
    has_more: bool = False
    trouble: str = ""
    #: When all were fetched (monotonic seconds).
    _fetched_at: float = -math.inf

    def forget(self) -> None:
        """Fetch all at the next look."""
        self._fetched_at = -math.inf

    def refresh(self) -> Difference:
        """Look again, and return what is different.

        If the control plane is away, `trouble` says so, and the list stays as it is.
        """
        try:
            items, has_more = self._fetch()
            difference = self._compare(items)
        except UnreachableError as exc:
            self.trouble = f"{exc.message}: trying again"
            return Difference()
        self.items, self.has_more, self.trouble = items, has_more, ""
        return difference

    def _fetch(self) -> tuple[list[Execution], bool]:
        """Return the executions, and whether there are more."""
        now = time.monotonic()
        if self.ask_head is not None and now - self._fetched_at < _WHOLE_S:
            page = self.ask_head()
            if page["next"] is None:
                return page["items"], False
            if (rest := self._after(page["items"])) is not None:
                # As long as before: each new one moves an old one out.
                items = [*page["items"], *rest][: max(len(self.items), len(page["items"]))]
                return items, self.has_more or len(rest) + len(page["items"]) > len(items)
        page = self.ask()
        self._fetched_at = now
        return page["items"], page["next"] is not None

    def _after(self, head: Sequence[Execution]) -> list[Execution] | None:
        """Return the known executions after a head; None if it is not clear where that ends."""
        fids = [each["fid"] for each in self.items]
        if not head or head[-1]["fid"] not in fids:
            return None
        known = {each["fid"] for each in head}
        rest = self.items[fids.index(head[-1]["fid"]) + 1 :]
        return [each for each in rest if each["fid"] not in known]

    @property
    def patience_s(self) -> float:
        """How long to wait for news before the next look (seconds)."""
        if self.trouble:
            return 1.0
        return _BUSY_S if any(_is_busy(each) for each in self.items) else _IDLE_S

    def _compare(self, items: Sequence[Execution]) -> Difference:
        known = {each["fid"]: each for each in self.items}
        missing = known.keys() - {each["fid"] for each in items}
        changed = [each for each in items if known.get(each["fid"]) != each]
        gone, deleted = [], []
        for fid in missing:
            if self.client is None:
                break
            try:
                now = self.client.execution(fid)
            except NotFoundError:
                deleted.append(fid)
                continue
            # The others only made room for newer ones.
            if now["status"] != known[fid]["status"]:
                gone.append(now)
        return Difference(changed[::-1], gone, deleted)


def _is_busy(execution: Execution) -> bool:
    return execution["status"] in (Status.STARTING, Status.RUNNING)
