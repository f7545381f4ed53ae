"""This runner's directory on its node: what must survive its process (see `remains`)."""

import logging
import threading

from koco.events.model import Kind
from koco.runner.backlog import Backlog
from koco.runner.keeping import Keeping
from koco.runner.pipes import FDS
from koco.runner.taken import Taken
from koco.runner.unfinished import Lines, Unfinished
from koco.sdk import crash

log = logging.getLogger(__name__)


class Home:
    """What stands there. Without it, as on a full disk, a runner works, and leaves less."""

    def __init__(self, runner_id: str) -> None:
        self._path = crash.directory(runner_id)
        #: What the spool holds.
        self.backlog: Backlog | None = None
        self._unfinished: Unfinished | None = None
        self._keeping: Keeping | None = None
        try:
            crash.install(self._path, signals=True)
        except OSError as exc:
            log.warning("what this runner writes does not outlive it: %s", exc)
            return
        self.backlog = Backlog(self._path)
        self._unfinished = Unfinished(self._path)
        self._keeping = Keeping(self._path)

    def hand_over(self, pipes: list[int]) -> None:
        """Have somebody who outlives this process hold the reading ends of its pipes."""
        if self._keeping is None:
            return
        if self._keeping.is_new:
            # In a thread: the keeper may have to be started.
            threading.Thread(target=self._keeping.hand_over, args=(pipes,), daemon=True).start()
        else:
            self._keeping.hand_over(pipes)

    def taken(self) -> dict[Kind, Taken]:
        """Return the files that what is read from the pipes goes through."""
        if self._unfinished is None:
            return {}
        try:
            return {kind: Taken(self._path, fd) for kind, fd in FDS.items()}
        except OSError as exc:
            log.warning("what is read from pipes may be lost with this runner: %s", exc)
            return {}

    def lines(self, fid: str, attempt: int) -> Lines | None:
        """Return what keeps an attempt's lines that have no end yet."""
        return None if self._unfinished is None else self._unfinished.of(fid, attempt)

    def own_pipes(self, fid: str, attempt: int) -> None:
        """Say whose output is in the pipes from now on; nobody's without a fid."""
        if self._unfinished is not None:
            self._unfinished.own_pipes(fid, attempt)

    def leave(self) -> None:
        """Remove it: this runner leaves in order."""
        crash.remove(self._path)
