"""An execution as an object: what `Client.run` returns."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from koco import file_paths
from koco.client import answers, downloads
from koco.client.client import Client
from koco.client.stream import Stream
from koco.errors import CancelledError, ConflictError, FlowError, UsageError
from koco.events.model import Status
from koco.python_client import notebook, outcomes, uploads
from koco.python_client.outcomes import Changes

#: How long a cancelled execution may take to end before it is killed (seconds), as `koco cancel`.
GRACE_S = 5.0


class Execution:
    """One execution, by its `fid`. Safe to use from several threads."""

    #: The secret of the webhook that it was launched with, if any.
    webhook_secret: str | None = None

    def __init__(self, client: Client, changes: Changes, fid: str) -> None:
        self.fid = fid
        self._client = client
        self.changes = changes

    def __repr__(self) -> str:
        return f"Execution({self.fid!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Execution) and other.fid == self.fid

    def __hash__(self) -> int:
        return hash(self.fid)

    def _repr_html_(self) -> str:
        """Return how a notebook shows it: status, progress, and the result or error."""
        return notebook.html(self._client, self.fid)

    @property
    def status(self) -> str:
        """The status just now: `queued`, `starting`, `running`, `awaiting`, or a final one."""
        return self.describe()["status"]

    @property
    def files(self) -> "Files":
        """The files of the execution."""
        return Files(self._client, self.fid)

    def describe(self) -> answers.Execution:
        """Return all facts about the execution, as `GET /v1/executions/{fid}` has them."""
        return self._client.execution(self.fid)

    def wait(self, *statuses: str, timeout: float | None = None) -> str:
        """Wait until it has one of these statuses or has ended; return the status.

        Raises:
            TimedOutError: it has not within `timeout` seconds. The execution goes on.
        """
        check(statuses)
        found = outcomes.wait(self._client, self.changes, self.fid, statuses, timeout_s=timeout)
        return found["status"]

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the end, and return the result.

        Raises:
            FlowError: it ended with an error, which has its type, reason and traceback.
            CancelledError: it was cancelled.
            TimedOutError: it has not ended within `timeout` seconds. The execution goes on.
        """
        self.wait(timeout=timeout)
        return self.outcome()

    def outcome(self) -> Any:
        """Return the result, as `result` does, without waiting.

        Raises:
            ConflictError: it has not ended.
        """
        return outcome_of(self._client.result(self.fid))

    def events(
        self, *, kinds: Sequence[str] = (), since: int = 0, follow: bool = True
    ) -> Iterator[answers.Event]:
        """Yield the events after `since`, until the end or, if not `follow`, until now.

        `kinds` selects some. If the connection breaks, it goes on where it was.
        """
        stream = self._client.stream(self.fid, kinds=kinds, since=since, follow=follow)
        # A stream always has the final status, by which its reader knows the end.
        return (each for each in decoded(stream) if not kinds or each["kind"] in kinds)

    def locks(self) -> list[answers.Lock]:
        """Return the open locks: what the execution asks people."""
        return [each for each in self._client.locks_of(self.fid) if each["status"] == "open"]

    def answer(self, value: Any, *, lock: str | None = None) -> None:
        """Answer a lock, by name or id, with any JSON value. The only open one needs no name.

        Raises:
            ConflictError: it is answered already, or no lock is open.
            InputsError: the lock's form refuses the value. It stays open.
            UsageError: several are open, and none is named.
        """
        name = only(self.locks(), self.fid) if lock is None else lock
        self._client.answer(self.fid, name, uploads.plain(value))

    def send(self, name: str, data: Any = None) -> None:
        """Send the execution a message, which it gets by `tracer.receive`."""
        self._client.send(self.fid, name, uploads.plain(data))

    def cancel(self, *, grace: float = GRACE_S) -> None:
        """Ask it to end; it is killed after `grace` seconds. An ended one stays as it is."""
        self._client.cancel(self.fid, grace_s=grace)

    def retry(self) -> "Execution":
        """Launch it again with the same inputs; return the new execution."""
        return self._other(self._client.retry(self.fid, key=f"retry-of-{self.fid}"))

    def resume(self, *, step: str | None = None, live: bool = False) -> "Execution":
        """Launch it again with its recorded steps, those before `step` if given.

        With `live`, the new one runs on the live release instead of its own.
        """
        return self._other(self._client.resume(self.fid, step=step, is_live=live))

    def delete(self) -> None:
        """Remove it with its events and files. It must have ended."""
        self._client.delete(self.fid)

    def _other(self, named: answers.Named) -> "Execution":
        return Execution(self._client, self.changes, named["fid"])


class Files:
    """The files of one execution. Inputs are below `in/`, what it has written is below `out/`."""

    def __init__(self, client: Client, fid: str) -> None:
        self._client = client
        self._fid = fid

    def list(self, path: str = "") -> list[answers.File]:
        """Return the files at or below a path: `{path, size_bytes, sha256, created, by}`."""
        return self._client.files.ls(self._fid, path)

    def read(self, path: str) -> bytes:
        """Return a file's content."""
        return b"".join(self._client.files.read(self._fid, self._find(path)))

    def download(self, path: str, to: str | Path) -> Path:
        """Write a file's content to a local file, or into a folder under its own name.

        A folder of the execution is written below the local folder `to`, with everything in it.
        A broken download resumes. Return the local path.

        Raises:
            ConflictError: a link leads out of the local folder.
            UsageError: a local folder cannot be made.
        """
        found, target = self._client.files.ls(self._fid, path), Path(to)
        if [each["path"] for each in found] == [path]:
            if target.is_dir():
                target /= path.rpartition("/")[2]
            self._client.files.fetch(self._fid, found[0], target)
            return target
        place = file_paths.place(path) if path else ""
        for file, local in downloads.targets(found, place, target):
            downloads.make_folder(local.parent, target)
            self._client.files.fetch(self._fid, file, local)
        return target / place.rpartition("/")[2]

    def _find(self, path: str) -> answers.File:
        found = self.list(path)
        if [each["path"] for each in found] != [path]:
            names = ", ".join(each["path"] for each in found[:5])
            raise UsageError(f"{path} is a folder", hint=f"it has {names}")
        return found[0]


def check(statuses: Sequence[str]) -> None:
    """Raise `UsageError` for a text that is no status."""
    for status in statuses:
        if status not in set(Status):
            raise UsageError(f"no status is called {status!r}", hint=f"one of: {', '.join(Status)}")


def decoded(stream: Stream) -> Iterator[answers.Event]:
    """Yield the events of a stream."""
    for lines in stream:
        for line in lines:
            yield json.loads(line)


def only(locks: Sequence[answers.Lock], fid: str) -> str:
    """Return the id of the only open lock.

    Raises:
        ConflictError: there is none.
        UsageError: there are several.
    """
    if not locks:
        raise ConflictError(f"{fid} does not wait for an answer")
    if len(locks) > 1:
        names = ", ".join(each["name"] for each in locks)
        raise UsageError(f"{fid} waits for several answers", hint=f"`lock` is one of: {names}")
    return locks[0]["lid"]


def outcome_of(outcome: answers.Result) -> Any:
    """Return the result of an ended execution.

    Raises:
        FlowError: it ended with an error.
        CancelledError: it was cancelled.
    """
    if outcome["status"] == "finished":
        return outcome.get("result")
    if outcome["status"] == "cancelled":
        raise CancelledError(f"{outcome['fid']} was cancelled")
    error = outcome.get("error") or {}
    kind, reason = error.get("type") or "", error.get("message") or ""
    told = ": ".join(part for part in (kind, reason) if part)
    failed = FlowError(
        f"{outcome['fid']} failed: {told}", hint=f"`koco logs {outcome['fid']}` shows its events"
    )
    failed.fid, failed.type, failed.reason = outcome["fid"], kind, reason
    failed.traceback = error.get("traceback") or ""
    raise failed
