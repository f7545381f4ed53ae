"""Looks at everything whenever there is news, in a thread of its own."""

import threading
import time
from collections.abc import Callable
from typing import Protocol

from koco.cli.live.feed import Feed
from koco.cli.live.listing import Listing
from koco.cli.top import facts
from koco.client.answers import Execution, Executions, Overview, Runner
from koco.client.client import Client
from koco.errors import KocoError, UnreachableError, UsageError

#: How often services and runners are looked at, at most (seconds).
_OVERVIEW_S = 3.0
#: The pause before another try while the control plane is away (seconds).
_PAUSE_S = 1.0


class Screen(Protocol):
    """Shows the watcher's findings. The watcher calls these methods in its own thread."""

    def ask(self, client: Client, *, most: int) -> Executions:
        """Fetch the executions that are to be shown, or only the first ones."""
        ...

    def saw_list(self, items: list[Execution], trouble: str, has_more: bool) -> None:
        """Take the executions, and why they may be out of date."""
        ...

    def saw_overview(self, overview: Overview, runners: list[Runner]) -> None:
        """Take services and runners."""
        ...

    def failed(self, error: KocoError) -> None:
        """Take why nothing more will be seen."""
        ...


class Watcher:
    """Looks for a screen, until the program ends."""

    def __init__(self, connect: Callable[[], Client], screen: Screen) -> None:
        self._connect = connect
        self._screen = screen
        self._feed = Feed(connect)
        self._has_new_wishes = False

    def start(self) -> None:
        """Begin to look."""
        threading.Thread(target=self._run, daemon=True).start()

    def wake(self) -> None:
        """Look at everything again now."""
        self._has_new_wishes = True
        self._feed.wake()

    def _run(self) -> None:
        client, looked_at, has_feed = self._connect(), 0.0, False
        listing = Listing(
            lambda: self._screen.ask(client, most=facts.MOST),
            lambda: self._screen.ask(client, most=facts.PAGE),
        )
        while True:
            try:
                if not has_feed:
                    self._feed.start()
                    has_feed = True
                if self._has_new_wishes:
                    self._has_new_wishes = False
                    listing.forget()
                listing.refresh()
                if not listing.trouble and time.monotonic() - looked_at >= _OVERVIEW_S:
                    overview, runners = client.status(), facts.fetch_runners(client)
                    looked_at = time.monotonic()
                    self._screen.saw_overview(overview, runners)
                self._screen.saw_list(listing.items, listing.trouble, listing.has_more)
                self._feed.wait(listing.patience_s)
            except (UnreachableError, UsageError) as exc:
                # It is away, or does not accept the filter: another one may be typed.
                self._screen.saw_list(listing.items, exc.message, listing.has_more)
                time.sleep(_PAUSE_S)
            except KocoError as exc:
                self._screen.failed(exc)
                return
