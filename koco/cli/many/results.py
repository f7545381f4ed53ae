"""The results of launches from a file: one line of JSON for each, appended as they come.

Whoever continues an interrupted run reads from it what is done. Beside it, `FILE.state` has the
run's id, from which the idempotency keys of its launches are made: an execution that was launched
but has no result yet is found again by its key. It is removed at the end.
"""

import fcntl
import hashlib
import json
import os
import secrets
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from koco.cli.many.second_tries import Failure
from koco.errors import ConflictError, UsageError
from koco.events.model import FINAL

#: How much of the end of a file is searched for the start of its last line (bytes).
_PIECE = 64 * 1024


class Results:
    """The results of one file of inputs."""

    def __init__(self, path: Path, *, flow: str, url: str, again: bool) -> None:
        """Open the file, and read what is done. With `again`, failures are not.

        Raises:
            UsageError: it cannot be opened, or has the results of another flow.
            ConflictError: another process writes it.
        """
        self.path = path
        self._state = path.with_name(f"{path.name}.state")
        self._lock = threading.Lock()
        is_new = not path.exists()
        try:
            self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConflictError(f"another koco writes {path} now") from None
        except OSError as exc:
            raise UsageError(f"cannot write {path}: {exc.strerror}") from exc
        self.run = self._begin({"flow": flow, "url": url}, is_new=is_new)
        self._drop_torn_line()
        #: How often each key has failed, and which keys need no launch, by their digests.
        self.failures: Counter[bytes] = Counter()
        self._failed: dict[bytes, Failure] = {}
        self._done: set[bytes] = set()
        for record in self._records():
            self._note(record, again=again)

    def is_done(self, key: str) -> bool:
        """Return whether a line has its result."""
        return digest(key) in self._done

    def attempt(self, key: str) -> int:
        """Return how often a line was launched and failed."""
        return self.failures[digest(key)]

    def failure(self, key: str) -> Failure | None:
        """Return the latest failure of a line, if it was launched and failed."""
        return self._failed.get(digest(key))

    def append(self, record: dict[str, Any]) -> None:
        """Write a result. It is whole or not there."""
        data = json.dumps(record, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
        with self._lock:
            written = os.write(self._file, data)
            if written < len(data):
                os.ftruncate(self._file, os.fstat(self._file).st_size - written)
                raise OSError(28, os.strerror(28), str(self.path))

    def close(self) -> None:
        """Let others write the file, once no line is being written."""
        with self._lock:
            os.close(self._file)

    def finish(self) -> None:
        """Forget the run: nothing of it is under way."""
        self._state.unlink(missing_ok=True)

    def _begin(self, about: dict[str, str], *, is_new: bool) -> str:
        """Return the id of this run: that of the one which was interrupted, if there is one."""
        if not is_new and self._state.exists():
            try:
                state = json.loads(self._state.read_text())
                run, known = str(state.pop("run")), state
            except (ValueError, KeyError, AttributeError) as exc:
                raise UsageError(f"{self._state} is damaged: {exc}", hint="remove it") from exc
            if known == about:
                return run
            raise UsageError(
                f"{self.path} has the results of {known.get('flow')} at {known.get('url')}",
                hint="`--results` names another file; or remove this one",
            )
        run = secrets.token_hex(8)
        draft = self._state.with_name(f"{self._state.name}.new")
        draft.write_text(json.dumps({"run": run, **about}) + "\n")
        draft.replace(self._state)
        return run

    def _drop_torn_line(self) -> None:
        """Remove the end of a line whose writer was killed."""
        size = os.fstat(self._file).st_size
        end = size
        while end > 0:
            start = max(0, end - _PIECE)
            found = os.pread(self._file, end - start, start).rfind(b"\n")
            if found >= 0:
                end = start + found + 1
                break
            end = start
        if end < size:
            os.ftruncate(self._file, end)

    def _records(self) -> Iterator[dict[str, Any]]:
        with self.path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    yield dict(json.loads(line))
                except (ValueError, TypeError) as exc:
                    raise UsageError(f"{self.path}:{number} is not a result: {exc}") from exc

    def _note(self, record: dict[str, Any], *, again: bool) -> None:
        status, key = record.get("status"), digest(str(record.get("key")))
        if status not in FINAL:
            return  # it was refused, so nothing was launched
        if status != "finished":
            self.failures[key] += 1
            if fid := record.get("fid"):
                self._failed[key] = Failure(str(fid), record.get("sent"))
            if again:
                self._done.discard(key)
                return
        else:
            del self.failures[key]
            self._failed.pop(key, None)
        self._done.add(key)


def digest(key: str) -> bytes:
    """Return a short digest of a line's key: millions must fit in memory."""
    return hashlib.sha256(key.encode("utf-8", "backslashreplace")).digest()[:12]
