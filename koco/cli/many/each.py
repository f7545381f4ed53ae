"""Launch a flow once for each line of a file, and write the results beside it."""

import hashlib
import json
import queue
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from koco.cli import connection
from koco.cli.inputs import file_inputs
from koco.cli.inputs.key_values import STDIN
from koco.cli.many import backoff, second_tries
from koco.cli.many.bar import Bar
from koco.cli.many.line_files import LineFiles
from koco.cli.many.lines import Line, Source
from koco.cli.many.results import Results, digest
from koco.cli.many.second_tries import Failure
from koco.cli.many.wish import Wish
from koco.cli.terminal import output
from koco.client.answers import Flow
from koco.client.client import Client
from koco.errors import (
    ConflictError,
    EndpointError,
    Interrupted,
    KocoError,
    TimedOutError,
    UsageError,
)
from koco.plurals import counted

T = TypeVar("T")

#: How long a request waits for the end of its execution (seconds). Then it is repeated.
_WAIT_S = 55
#: How often the main thread looks whether it shall stop (seconds).
_LOOK_S = 0.2
#: So many refused lines are named; all are in the results.
_NAMED = 20
#: A status of our own: the line was refused, and nothing was launched.
_REFUSED = "refused"


class _Task(NamedTuple):
    line: Line
    key: str
    #: The idempotency key of its launch.
    launch_key: str
    #: The latest failure of the line, if it is to be launched again.
    failure: Failure | None = None


class _Stopped(Exception):  # noqa: N818 - no error: the run is over for another reason
    """The run is to end."""


def run(wish: Wish) -> int:
    """Launch the flow for each line, and return the exit code: 0 if all finished, else 1.

    Raises:
        UsageError: the file, its columns or the results file cannot be used.
        Interrupted: Ctrl-C. What was launched goes on, and the next run finds it.
        KocoError: the control plane is away, or refuses all launches.
    """
    source = Source(wish.file, wish.format)
    client = connection.connect()
    flow = client.flow(wish.flow)
    wish = wish._replace(common=file_inputs.resolve(client, wish.common))
    names = _names(flow)
    source.check_columns(wish.flow, names, key=wish.column)
    results = None
    if wish.results or wish.file != STDIN:
        path = Path(wish.results or f"{wish.file}.results.jsonl")
        results = Results(path, flow=flow["name"], url=client.url, again=wish.again)
    drops = wish.column if names is not None and wish.column not in names else None
    files = LineFiles(flow, wish.file)
    return _Run(wish._replace(flow=flow["name"]), source, results, files=files, drops=drops).go()


def _names(flow: Flow) -> set[str] | None:
    """Return the names of a flow's inputs, or None if it takes any."""
    if flow["form"] is None:
        return None
    return {name for each in flow["form"] if (name := each.get("name"))}


def _digest(inputs: dict[str, Any]) -> str:
    content = json.dumps(inputs, sort_keys=True)
    return hashlib.sha256(content.encode("utf-8", "backslashreplace")).hexdigest()[:16]


class _Run:
    """One run over a file, with a thread for each launch that is under way."""

    def __init__(
        self,
        wish: Wish,
        source: Source,
        results: Results | None,
        *,
        files: LineFiles,
        drops: str | None,
    ) -> None:
        self._wish = wish
        self._source = source
        self._results = results
        self._files = files
        self._drops = drops
        self._run = results.run if results else secrets.token_hex(8)
        self._tasks: queue.Queue[_Task | None] = queue.Queue(2 * wish.parallel)
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._failure: BaseException | None = None
        self._count: Counter[str] = Counter()
        self._seen: Counter[bytes] = Counter()
        self._bar = Bar(source)
        #: Whether a refused line may have been launched nevertheless.
        self._is_unsure = False

    def go(self) -> int:
        """Work through all lines, and return the exit code."""
        # Daemons, because Ctrl-C must not wait for requests that wait for executions.
        workers = [
            threading.Thread(target=self._work, daemon=True) for _ in range(self._wish.parallel)
        ]
        for each in workers:
            each.start()
        try:
            for task in self._open_tasks():
                self._put(task)
            for _ in workers:
                self._put(None)
            for each in workers:
                while each.is_alive():
                    each.join(_LOOK_S)
                    self._look()
        except KeyboardInterrupt:
            self._stop.set()
            raise self._interrupted() from None
        except KocoError as exc:
            self._stop.set()
            exc.hint = "; ".join(filter(None, (exc.hint, self._how_to_go_on())))
            raise
        finally:
            self._bar.clear()
            with self._lock:
                self._stop.set()  # workers that are left write nothing any more
            if self._results is not None:
                self._results.close()
        return self._finish()

    def _open_tasks(self) -> Iterator[_Task]:
        """Yield what is to be launched: the lines that have no result yet."""
        for line in self._source.lines():
            self._bar.found()
            key = self._key(line)
            if line.problem or key is None:
                self._refuse(line, key, line.problem or f"no value in {self._wish.column!r}")
                continue
            seen = digest(key)
            self._seen[seen] += 1
            if self._seen[seen] > 1:
                if self._wish.column is not None:
                    self._refuse(line, None, f"the key {key!r} is in an earlier line, too")
                    continue
                key = f"{key}#{self._seen[seen]}"
            attempt, failure = 0, None
            if self._results is not None:
                if self._results.is_done(key):
                    self._skip(key)
                    continue
                attempt, failure = self._results.attempt(key), self._results.failure(key)
            launch_key = f"each {self._run} {digest(key).hex()} {attempt}"
            yield _Task(line, key, launch_key, failure)

    def _key(self, line: Line) -> str | None:
        """Return what identifies a line, also after lines before it came or went."""
        column = self._wish.column
        if column is None:
            return _digest(line.inputs)
        value = line.inputs.get(column)
        return (
            None if value in (None, "") else value if isinstance(value, str) else json.dumps(value)
        )

    def _skip(self, key: str) -> None:
        has_failed = self._results is not None and self._results.attempt(key)
        with self._lock:
            self._count["done before"] += 1
            self._count["failed before"] += bool(has_failed)
        self._bar.advance(skipped=True)

    def _put(self, task: _Task | None) -> None:
        while True:
            self._look()
            try:
                return self._tasks.put(task, timeout=_LOOK_S)
            except queue.Full:
                continue

    def _look(self) -> None:
        """Raise what a worker has failed with, and show the progress."""
        if self._failure is not None:
            raise self._failure
        self._bar.show()

    def _work(self) -> None:
        client: Client | None = None
        try:
            while not self._stop.is_set() and (task := self._tasks.get()) is not None:
                client = client or connection.connect()
                self._do(client, task)
        except _Stopped:
            pass
        except BaseException as exc:  # noqa: BLE001 - the main thread raises it
            self._failure = exc

    def _do(self, client: Client, task: _Task) -> None:
        try:
            outcome = self._until_end(client, task)
        except ConflictError:
            raise  # the service is not served, or the run began with other inputs
        except (UsageError, EndpointError, TimedOutError) as exc:
            # An endpoint that answers late may have launched it: the next run looks by its key.
            self._is_unsure = self._is_unsure or not isinstance(exc, UsageError)
            self._refuse(task.line, task.key, exc.message, code=exc.code)
            return
        self._write({"line": task.line.number, "key": task.key, **outcome})

    def _until_end(self, client: Client, task: _Task) -> dict[str, Any]:
        """Launch a line's execution and wait for its end; return its outcome."""
        inputs = {**self._wish.common, **task.line.inputs}
        inputs.pop(self._drops or "", None)
        inputs = self._files.upload(client, inputs, task.line.inputs.keys() & inputs)
        sent, outcome = _digest(inputs), None
        if task.failure and task.failure.sent in (sent, None):
            outcome = second_tries.follow_up(
                client, task.failure.fid, key=task.launch_key, ask=self._when_there_is_room
            )
        if outcome is None:
            outcome = self._launch(client, inputs, task.launch_key)
        return outcome if outcome["status"] == "finished" else {**outcome, "sent": sent}

    def _launch(self, client: Client, inputs: dict[str, Any], key: str) -> dict[str, Any]:
        """Launch an execution, unless the key finds one; wait for its end, return its outcome."""

        def ask() -> Any:
            return client.launch_and_wait(
                self._wish.flow, inputs, key=key, wait_s=_WAIT_S, is_prefilled=True
            )

        while not (outcome := self._when_there_is_room(ask).get("outcome")):
            self._pause(_LOOK_S)  # a proxy may have answered early
        return dict(outcome)

    def _when_there_is_room(self, ask: Callable[[], T]) -> T:
        return backoff.when_there_is_room(ask, on_wait=self._bar.wait, sleep=self._pause)

    def _pause(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise _Stopped

    def _refuse(self, line: Line, key: str | None, why: str, code: str = "usage") -> None:
        error = {"type": code, "message": why}
        self._write(
            {"line": line.number, "key": key, "fid": None, "status": _REFUSED, "error": error}
        )

    def _write(self, record: dict[str, Any]) -> None:
        with self._lock:
            if self._stop.is_set():
                raise _Stopped
            if self._results is not None:
                self._results.append(record)
            if self._wish.as_json or self._results is None:
                output.print_ndjson(record)
            status = record["status"]
            self._count[status] += 1
            if status == _REFUSED and self._count[status] <= _NAMED:
                self._bar.clear()
                why = "; ".join(record["error"]["message"].splitlines())
                output.note(f"{self._source.name}:{record['line']}: {why}")
        self._bar.advance(failed=status != "finished")

    def _finish(self) -> int:
        """Tell what became of the lines, and return the exit code."""
        count = self._count
        known = ("finished", "error", "cancelled", _REFUSED, "done before")
        parts = [f"{count[name]} {name}" for name in known if count[name]]
        total = sum(count[name] for name in known)
        output.note(f"{counted(total, 'line')}: {', '.join(parts) or 'nothing to do'}")
        left = count["error"] + count["cancelled"] + count["failed before"]
        if left and self._results is not None:
            output.note(f"{left} failed: the same command with --failed launches them again")
        if count[_REFUSED] > _NAMED:
            more = counted(count[_REFUSED] - _NAMED, "more line")
            output.note(f"refused, and not named above: {more}; {self._where()}")
        if self._results is not None:
            if not self._is_unsure:
                self._results.finish()
            if not self._wish.as_json:
                output.print_line(str(self._results.path))
        return 1 if left or count[_REFUSED] else 0

    def _where(self) -> str:
        return "stdout has all" if self._results is None else f"{self._results.path} has all"

    def _interrupted(self) -> Interrupted:
        with self._lock:
            done = sum(self._count[each] for each in ("finished", "error", "cancelled"))
        return Interrupted(
            f"{counted(done, 'line')} done; executions that run go on", hint=self._how_to_go_on()
        )

    def _how_to_go_on(self) -> str:
        if self._results is None:
            return "with `--results FILE` a run can be continued"
        return "the same command goes on from here, and launches nothing twice"
