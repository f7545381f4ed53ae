"""What committed changes of the store mean for executions in memory: who runs again, who ends."""

from koco.control.events.spooler import Spooler
from koco.control.executions.supervisor import Supervisor
from koco.control.executions.waiting.waiters import Waiters
from koco.control.leadership import Leadership
from koco.control.webhooks.sender import Sender
from koco.store.model import News, Topic

#: This process has made the change, so it knows.
_OF_OTHERS = {Topic.RELEASES, Topic.SETTINGS, Topic.LIMITS, Topic.ACCESS}


class Listener:
    """Handles the news of the store: see `Store.listen`."""

    def __init__(
        self,
        supervisor: Supervisor,
        spooler: Spooler,
        waiters: Waiters,
        sender: Sender,
        *,
        leadership: Leadership | None = None,
    ) -> None:
        self._supervisor = supervisor
        self._spooler = spooler
        self._waiters = waiters
        self._sender = sender
        self._leadership = leadership or Leadership()

    def heed(self, news: list[News]) -> None:
        """Act on news, in their order."""
        for each in news:
            if each.topic not in _OF_OTHERS:
                self._heed(each)

    def _heed(self, news: News) -> None:
        if not self._leadership.leads:
            self._spooler.wake(news.fid)
            return  # the leader hears of it as well
        if news.topic is Topic.OUTBOX:
            self._sender.wake()
            return  # its readers are woken by whoever has made the change
        match news.topic:
            case Topic.SETTLED:
                self._waiters.wake(news.fid, news.key)
                self._supervisor.progressed(news.fid)
            case Topic.WOKEN | Topic.LAUNCHED:
                self._supervisor.wake(news.fid)
            case Topic.CANCELLED:
                self._supervisor.end_cancelled(news.fid)
            case Topic.ENDED:
                self._supervisor.on_final(news.fid)
        self._spooler.wake(news.fid)
