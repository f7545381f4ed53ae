"""A list of executions that stays current."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from koco.client.answers import Execution, Executions
from koco.client.client import Client
from koco.errors import NotFoundError, UnreachableError
from koco.events.model import Status

#: How soon to look again if nothing is told (seconds): while an execution runs, its progress and
#: what it uses change without being told; otherwise only waits do.
_BUSY_S, _IDLE_S = 3.0, 30.0


@dataclass(frozen=True)
class Difference:
    """What has changed since the last look; `gone` are no longer in the list, as they are now."""

    changed: Sequence[Execution] = ()
    gone: Sequence[Execution] = ()
    deleted: Sequence[str] = ()


@dataclass
class Listing:
    """The executions that `ask` returns. `trouble` says why they may be out of date."""

    ask: Callable[[], Executions]
    #: Asked for the executions that are no longer in the list; None if nobody wants to know.
    client: Client | None = None
    items: list[Execution] = field(default_factory=list)
    has_more: bool = False
    trouble: str = ""

    def refresh(self) -> Difference:
        """Look again, and return what is different.

        If the control plane is away, `trouble` says so, and the list stays as it is.
        """
        try:
            page = self.ask()
            difference = self._compare(page["items"])
        except UnreachableError as exc:
            self.trouble = f"{exc.message}: trying again"
            return Difference()
        self.items, self.trouble = page["items"], ""
        self.has_more = page["next"] is not None
        return difference

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
