"""Follow the events of an execution, across broken connections and restarts."""

from collections.abc import Callable, Iterator

from koco.client import answers
from koco.client.event_lines import EventLines
from koco.client.exchange.memory_budget import PAYLOAD_BYTES, Room
from koco.client.transport import Query, Transport
from koco.errors import KocoError, UnreachableError
from koco.events.model import FINAL

#: How long a stream may be silent (seconds). Heartbeats come every 10.
SILENCE_S = 30.0


class Stream(EventLines):
    """Events as lines of JSON, in lists as they arrive.

    If the connection breaks or goes silent, it reconnects and asks for the events after the last
    complete line that it yielded, so nothing is lost or repeated. When it follows, it ends only on
    the final status.

    `fid` is the full fid after the first answer, `last_seq` the last event's number, `status` the
    final status after it was seen. `on_beat` is called on each heartbeat: every 10 s if there is
    nothing new.
    """

    on_beat: Callable[[], None] | None = None

    def __init__(
        self,
        transport: Transport,
        path: str,
        *,
        query: Query,
        since: int,
        tail: int | None,
        patience_s: float,
    ) -> None:
        super().__init__(transport)
        self.fid = path.rpartition("/")[2]
        self.last_seq = since
        self.status: str | None = None
        self._path = path
        self._query = query
        self._tail = tail
        self._follows = bool(query.get("follow"))
        self._patience_s = patience_s
        self._attempts = transport.attempts(patience_s)

    def __iter__(self) -> Iterator[list[bytes]]:
        self._attempts = self._transport.attempts(self._patience_s)
        while True:
            try:
                yield from self._once()
                if not self._follows or self.status or self._has_ended():
                    return
                broken = UnreachableError(
                    f"{self._transport.url} ends the stream before the execution has ended"
                )
            except UnreachableError as exc:
                broken = exc
            self._attempts.pause(broken, patience_s=self._transport.patience_s(broken))

    def _once(self) -> Iterator[list[bytes]]:
        """Yield new lines from one connection, until it ends or breaks."""
        query = {**self._query, "since": str(self.last_seq)}
        if self._tail is not None:
            query["tail"] = str(self._tail)
        try:
            with self._transport.stream(
                f"{self._path}/events", query=query, silence_s=SILENCE_S
            ) as incoming:
                if fid := incoming.headers.get("X-Koco-Fid"):
                    # From here on, `latest` and a prefix stand for this execution.
                    self.fid = str(self._transport.check(fid, answers.Fid))
                    self._path = f"{self._path.rpartition('/')[0]}/{self.fid}"
                for lines in incoming.lines():
                    self._attempts.reset()  # heartbeats count, an answer without lines does not
                    if new := self._note_new(lines):
                        yield new
                    elif self.on_beat is not None and self.status is None:
                        self.on_beat()
        except KocoError as exc:
            if type(exc) is not KocoError:
                raise
            # A 5xx: the next attempt may succeed. If it does not, this error is reported.
            raise UnreachableError(exc.message, hint=exc.hint) from exc

    def _note_new(self, lines: list[bytes]) -> list[bytes]:
        """Return the new lines, and remember the last seq."""
        if lines and self.read_seq(lines[0]) <= self.last_seq:
            lines = [line for line in lines if self.read_seq(line) > self.last_seq]
        if lines:
            self.last_seq = self.read_seq(lines[-1])
            self._tail = None  # the tail has begun, so `since` counts now
            # The final status is the last event, so it can only be in the last line.
            if self.read_kind(lines[-1]) == "status":
                status = self.decode(lines[-1])["payload"]["status"]
                self.status = status if status in FINAL else None
        return lines

    def waits(self) -> str | None:
        """Return why the execution waits, or the activity of a runner that does not answer."""
        return self._execution().get("waits")

    def _has_ended(self) -> bool:
        """Return whether no more events will come, for example because `since` is past the end."""
        execution = self._execution()
        if execution["status"] in FINAL and execution["last_seq"] <= self.last_seq:
            self.status = execution["status"]
        return self.status is not None

    def _execution(self) -> answers.State:
        return self._transport.json("GET", self._path, answers.State, room=Room(PAYLOAD_BYTES))
