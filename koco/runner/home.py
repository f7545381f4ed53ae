"""This runner's directory on its node: files that must survive its process (see `remains`)."""

import logging
import threading

from koco.events.model import Kind
from koco.runner.output.backlog import Backlog
from koco.runner.output.keeper_client import Keeping
from koco.runner.output.partial_lines import Lines, Unfinished
from koco.runner.output.pipe_buffer import PipeFile
from koco.runner.output.pipes import FDS
from koco.sdk.process import crash

log = logging.getLogger(__name__)


class Home:
    """The directory's contents. Without it (on a full disk) a runner works, but leaves less."""

    def __init__(self, runner_id: str) -> None:
        self._path = crash.directory(runner_id)
        #: The spool's contents.
        self.backlog: Backlog | None = None
        self._unfinished: Unfinished | None = None
        self._keeping: Keeping | None = None
        try:
            crash.install(self._path, signals=True)
        except OSError as exc:
            log.warning("this runner's unsent output would be lost with its process: %s", exc)
            return
        self.backlog = Backlog(self._path)
        self._unfinished = Unfinished(self._path)
        self._keeping = Keeping(self._path)

    def hand_over(self, pipes: list[int]) -> None:
        """Let the keeper, which outlives this process, hold the reading ends of its pipes."""
        if self._keeping is None:
            return
        if self._keeping.is_new:
            # In a thread, because the keeper may have to be started.
            threading.Thread(target=self._keeping.hand_over, args=(pipes,), daemon=True).start()
        else:
            self._keeping.hand_over(pipes)

    def open_pipe_files(self) -> dict[Kind, PipeFile]:
        """Return the files that data from the pipes passes through."""
        if self._unfinished is None:
            return {}
        try:
            return {kind: PipeFile(self._path, fd) for kind, fd in FDS.items()}
        except OSError as exc:
            log.warning("data read from pipes may be lost with this runner: %s", exc)
            return {}

    def lines_of(self, fid: str, attempt: int) -> Lines | None:
        """Return the file that keeps an attempt's unfinished lines."""
        return None if self._unfinished is None else Lines(self._unfinished, fid, attempt)

    def set_pipe_owner(self, fid: str, attempt: int) -> None:
        """Record whose output the pipes carry from now on; an empty fid means nobody's."""
        if self._unfinished is not None:
            self._unfinished.set_pipe_owner(fid, attempt)

    def leave(self) -> None:
        """Remove the directory, because this runner ends normally."""
        crash.remove(self._path)
