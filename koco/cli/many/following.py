"""Follow the executions that a command has launched until they have ended."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from koco.cli import approvals
from koco.cli.many import statuses
from koco.cli.terminal import event_view, many_view, output, times
from koco.client.client import Client
from koco.errors import TimedOutError
from koco.events.model import FINAL, Status
from koco.plurals import counted

#: How many executions are followed at once. The stream's address names them, and proxies refuse
#: addresses above 8 KB.
_AT_ONCE = 300


class Following(NamedTuple):
    """Whether the new executions are shown or waited for, and for how long at most (seconds)."""

    follow: bool
    wait: bool
    timeout_s: float | None = None

    def until_ended(self, client: Client, fids: Sequence[str], *, as_json: bool) -> int:
        """Show the executions' events, or wait for them, and return the exit code: the worst one.

        If there are very many, they are followed in groups, one after the other.

        Raises:
            TimedOutError: they have not all ended in time.
            Exit: the user pressed Ctrl-C. The executions continue.
        """
        ended: list[str] = []

        def late() -> TimedOutError:
            left = counted(len(fids) - len(ended), "execution")
            what = f"{left} not ended within {self.timeout_s:g} s"
            return TimedOutError(what, hint="they go on; `koco wait FID…` waits for them")

        groups = [fids[at : at + _AT_ONCE] for at in range(0, len(fids), _AT_ONCE)]
        with times.limit(self.timeout_s, late):
            for group in groups:
                if self.follow:
                    many_view.follow(
                        client.stream_many(group, follow=True), event_view.View(as_json=as_json)
                    )
                    ended += [str(client.execution(fid)["status"]) for fid in group]
                    continue
                for fid, status in _ends(client, group):
                    ended.append(status)
                    _print_end(client, fid, status, as_json=as_json)
        return event_view.worst(ended)


def _ends(client: Client, fids: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield executions as they end, each with its final status. Report when a person is needed."""
    left = dict.fromkeys(fids)
    on_lock = {fid: approvals.report_locks(client, fid) for fid in fids}
    try:
        for fid, _, status in statuses.changes(client, list(fids)):
            if status == Status.AWAITING:
                on_lock[fid]()
            elif status in FINAL and fid in left:
                del left[fid]
                yield fid, status
        for fid in left:  # they were deleted, and the error says so
            yield fid, str(client.execution(fid)["status"])
    except KeyboardInterrupt:
        raise event_view.interrupted("the executions go on") from None


def _print_end(client: Client, fid: str, status: str, *, as_json: bool) -> None:
    if as_json:
        output.print_ndjson(client.result(fid))
        return
    output.print_line(f"{fid}\t{status}")
    output.flush()
