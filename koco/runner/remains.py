"""Collect the remains of a dead runner on its node: events that were not sent, and why it ended.

Called on that node, from another process, once the runner's process has ended.
"""

import dataclasses
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from koco.events import wire
from koco.events.model import Kind
from koco.events.wire import Batch
from koco.runner.output import backlog, partial_lines, pipe_buffer, pipe_keeper
from koco.runner.output.keeper_client import HANDED_OVER
from koco.runner.output.lines import Output
from koco.runner.output.pipes import FDS
from koco.runner.process import ray_logs
from koco.sdk.process import crash

log = logging.getLogger(__name__)

#: How long the node's keeper may take to save the rest of the pipes (seconds).
_KEEPER_S = 4.0
_LOOK_S = 0.005
#: About how much goes into one batch (bytes).
_BATCH_BYTES = 1024 * 1024


class Tail(msgspec.Struct, frozen=True):
    """Output of an attempt that has not become events yet. It still contains secrets."""

    fid: str
    attempt: int
    #: Pairs `(kind, line)`.
    lines: list[tuple[Kind, str]]


class Remains(msgspec.Struct, frozen=True):
    """The findings: encoded batches (see `koco.events.wire`), output after them, and the cause."""

    batches: list[bytes] = []
    tails: list[Tail] = []
    end: crash.End | None = None


def collect(runner_id: str) -> bytes | None:
    """Return the encoded `Remains` of a runner of this node; None if it has left nothing."""
    path = crash.directory(runner_id)
    if not path.exists():
        return None
    left = collect_from(path)
    if left.end is not None and (pid := crash.pid_of(path)) is not None:
        end = dataclasses.replace(left.end, wrote=ray_logs.last_lines(pid))
        left = msgspec.structs.replace(left, end=end)
    return msgspec.msgpack.encode(left)


def discard(runner_id: str) -> None:
    """Remove the remains of a runner of this node, and old remains of others."""
    path = crash.directory(runner_id)
    crash.remove(path)
    crash.sweep(path.parent)


def collect_from(path: Path) -> Remains:
    """Read the remains in a dead runner's directory, which is named after the runner's id."""
    _await_keeper(path)
    batches: list[Batch] = []
    tails: list[Tail] = []
    try:
        left = backlog.read(path)
        for each in left:
            batches += _batches(each, path.name)
        # An attempt with a status has ended, so output after its last event is not wanted.
        ended = {each.fid for each in left if each.status is not None}
        tails = [tail for tail in _tails(path, left) if tail.fid not in ended]
    except (OSError, ValueError) as exc:
        log.warning("the remains of runner %s cannot be read completely: %s", path.name, exc)
    encoded = [wire.encode_batches([batch]) for batch in batches]
    return Remains(encoded, tails, _end_from_wait_status(path) or crash.conclude(path))


def _await_keeper(path: Path) -> None:
    until = time.monotonic() + _KEEPER_S
    while (path / HANDED_OVER).exists() and not (path / pipe_keeper.DONE).exists():
        if time.monotonic() > until:
            log.warning("the keeper has not saved the pipes of runner %s", path.name)
            return
        time.sleep(_LOOK_S)


def _batches(left: backlog.Leftover, runner_id: str) -> Iterator[Batch]:
    """Yield an attempt's lines as the spool would send them; the last batch has the status."""

    def batch(producer: str, first: int, lines: list[bytes], *, is_last: bool) -> Batch:
        status = left.status if is_last else None
        body = b"\n".join(lines)
        return Batch(left.fid, producer, first, len(lines), body, runner_id, status, left.attempt)

    runs = list(_consecutive_runs(left.lines))
    if not runs and left.status is not None:
        yield batch(left.producer, 1, [], is_last=True)
    producer, missing, expected = left.producer, 0, runs[0][0] if runs else 0
    for at, (first, lines) in enumerate(runs):
        if first != expected:
            # A full disk took no lines for a while. The store refuses lines after a gap, so they
            # get another producer, whose name is the same each time these remains are read.
            producer, missing = f"{left.producer}+{first}", first - 1
        expected = first + len(lines)
        yield batch(producer, first - missing, lines, is_last=at == len(runs) - 1)


def _consecutive_runs(lines: dict[int, bytes]) -> Iterator[tuple[int, list[bytes]]]:
    """Yield runs of consecutively numbered lines, each with the number of its first line."""
    run: list[bytes] = []
    first = size = 0
    for number, text in sorted(lines.items()):
        if run and (number != first + len(run) or size > _BATCH_BYTES):
            yield first, run
            run, size = [], 0
        if not run:
            first = number
        run.append(text)
        size += len(text)
    if run:
        yield first, run


def _tails(path: Path, left: list[backlog.Leftover]) -> list[Tail]:
    """Return unfinished lines, and what was still in the pipes, apart from what is in events."""

    def events(line: partial_lines.Line) -> set[int]:
        mine = [each for each in left if (each.fid, each.attempt) == (line.fid, line.attempt)]
        return {number for each in mine for number in each.lines}

    owner, lines = partial_lines.read(path, events)
    found: dict[tuple[str, int], _Unread] = {}
    for each in lines:
        whose = each.line.fid, each.line.attempt
        found.setdefault(whose, _Unread()).add(each)
    if owner is not None:
        unread = found.setdefault((owner.fid, owner.attempt), _Unread())
        for number, (kind, fd) in enumerate(FDS.items(), 1):
            in_file = pipe_buffer.read(path, fd, events(owner), kept=unread.offsets.get(kind, 0))
            in_pipe = _read_bytes(path / f"{pipe_keeper.PIPE}{number}")
            unread.output.write_bytes(kind, in_file + in_pipe)
    tails = [Tail(fid, attempt, each.lines()) for (fid, attempt), each in found.items()]
    return [tail for tail in tails if tail.lines]


class _Unread:
    """One attempt's unsent output, cut into lines as the runner would have done."""

    def __init__(self) -> None:
        self._lines: list[tuple[Kind, str]] = []
        self.output = Output(lambda kind, text: self._lines.append((kind, text)))
        self._others: list[tuple[Kind, str]] = []
        #: Up to which offset a pipe's data is in these lines.
        self.offsets: dict[Kind, int] = {}

    def add(self, found: partial_lines.Found) -> None:
        line = found.line
        if line.is_first:
            self.output.write_bytes(line.kind, found.text.encode())
            self.offsets[line.kind] = found.offset
        else:
            self._others.append((line.kind, found.text.removesuffix("\r")))

    def lines(self) -> list[tuple[Kind, str]]:
        self.output.finish()
        return self._others + self._lines


def _end_from_wait_status(path: Path) -> crash.End | None:
    """Return how a process ended according to the wait status, if the keeper has saved that."""
    if not (text := _read_bytes(path / pipe_keeper.STATUS)):
        return None
    code = os.waitstatus_to_exitcode(int(text))
    if code >= 0:
        return crash.End(code=code)
    recorded = crash.read(path)
    if recorded is not None and {recorded.signal, -code} <= crash.CRASHES:
        # While Python writes the stacks of running threads it may crash again with SIGSEGV: the
        # recorded signal is that of the first crash.
        return recorded
    return crash.End(signal=-code)


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
