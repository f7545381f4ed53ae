"""Launch the execution of a failed line again, unless somebody has done that: `koco retry`."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from koco.cli.terminal import event_view
from koco.client.answers import Retried
from koco.client.client import Client
from koco.errors import AnswerError, from_wire

#: The maximum length of a chain of retries, which a server could make endless.
_CHAIN = 10_000


class Failure(NamedTuple):
    """The latest failure of a line: its execution, and the digest of what was sent."""

    fid: str
    sent: str | None


def follow_up(
    client: Client, failed: str, *, key: str, ask: Callable[[Callable[[], Retried]], Retried]
) -> dict[str, Any] | None:
    """Return the outcome of the latest retry of an execution, after launching it if need be.

    None if the execution is gone. `ask` sends a request, and waits while there is no room.

    Raises:
        KocoError: the retry is refused.
    """
    fid = failed
    for _ in range(_CHAIN):
        request = partial(client.retry_all, key=key, again=False, fids=[fid])
        answer = ask(request)
        if answer["retried"]:
            return _end(client, answer["retried"][0]["new"])
        [skipped] = answer["skipped"]
        if skipped["code"] == "not_found" and fid == failed:
            return None
        new = skipped.get("new")
        if skipped["code"] != "retried" or not new:
            raise from_wire({"code": skipped["code"], "message": skipped["reason"]})
        fid = new
        outcome = _end(client, fid)
        if outcome["status"] == "finished":
            return outcome
        # It has failed as well, and may have been retried itself.
    raise AnswerError("the control plane returns retries that have no end")


def _end(client: Client, fid: str) -> dict[str, Any]:
    """Wait for an execution's end, and return its outcome."""
    event_view.follow(client.stream(fid, kinds=("status",), follow=True), None)
    return dict(client.result(fid))
