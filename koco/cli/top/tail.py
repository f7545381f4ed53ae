"""The last lines of the execution under the cursor."""

import threading
import time
from collections.abc import Callable

from koco.cli.terminal import event_view, output
from koco.cli.terminal.event_view import View
from koco.client.client import Client
from koco.errors import KocoError, NotFoundError

#: How many events are asked for, and how many lines are shown at most.
_EVENTS, _LINES = 20, 40
#: The shortest time between two looks (seconds): of a flow that writes all the time, only what is
#: last then is fetched.
_PACE_S = 0.5
#: How long the cursor must stay on an execution (seconds), so that moving it asks for nothing.
_REST_S = 0.3

#: Called with a fid and its last lines.
Show = Callable[[str, list[str]], None]


class _LeftError(Exception):
    """The cursor has moved on."""


class Tail:
    """Reads the last events of one execution at a time, each in a thread of its own."""

    def __init__(self, connect: Callable[[], Client], show: Show) -> None:
        self._connect = connect
        self._show = show
        self._fid = ""

    def select(self, fid: str) -> None:
        """Show this execution from now on, and no other; none if it is empty."""
        if fid == self._fid:
            return
        self._fid = fid
        if fid:
            threading.Thread(target=self._run, args=(fid,), daemon=True).start()

    def _run(self, fid: str) -> None:
        time.sleep(_REST_S)
        # One client for all looks: to make one costs more than a look.
        client, lines = self._connect(), list[str]()
        seq, is_over = 0, False
        while not is_over and self._fid == fid:
            try:
                found, seq, is_over = self._look(client, fid, seq)
            except _LeftError:
                break
            except NotFoundError:
                found, is_over = ["it was deleted"], True
            except KocoError:
                # The list says that the control plane is away.
                found = []
            if found and self._fid == fid:
                lines = [*lines, *found][-_LINES:]
                self._show(fid, lines)
            time.sleep(_PACE_S)
        client.close()

    def _look(self, client: Client, fid: str, seq: int) -> tuple[list[str], int, bool]:
        """Wait for events, and return the last ones as lines, the last seq, and if that is all."""
        stream = client.stream(fid, since=seq, tail=_EVENTS, follow=True)
        stream.on_beat = lambda: self._stay(fid)
        arriving = iter(stream)
        pieces = next(arriving, [])
        arriving.close()  # type: ignore[attr-defined]  # a generator, whose request ends here
        events = map(stream.decode, pieces[-_EVENTS:])
        texts = [output.harmless(text) for text in event_view.plain(events, View(fid=fid))]
        lines = [line for text in texts for line in text.splitlines()]
        return lines, stream.last_seq, stream.status is not None or not pieces

    def _stay(self, fid: str) -> None:
        if self._fid != fid:
            raise _LeftError
