"""Remove secrets from a process's log: a filter behind file descriptors 1 and 2.

The filter is a separate process, so that nothing is lost if the other one crashes: its last output
is in the pipe. It sees all output to the descriptors, which nothing inside the process could
promise: that of C code, subprocesses, Ray and the interpreter itself.

It reads the secrets' values from its stdin when it starts. This file is also the program of that
process, so it imports nothing of koco and little else.
"""

import os
import select
import sys
from collections.abc import Iterable

#: `koco.tokens.MASK`, repeated because the filter runs as a file of its own, without koco.
MASK = b"********"

#: How much is read at once (bytes).
_PIECE = 64 * 1024
#: How many bytes of a value are searched for first, before counting down (bytes).
_HEAD = 8


class Sieve:
    """Removes values from a stream of bytes, even if a value arrives in pieces."""

    def __init__(self, forms: Iterable[bytes]) -> None:
        #: The longest first, because one may contain another.
        self._forms = sorted(set(forms), key=len, reverse=True)
        self._held = b""

    def pass_on(self, data: bytes, *, is_last: bool = False) -> bytes:
        """Return the data that can be passed on; hold back what may be the start of a value."""
        data = self._held + data
        passed: list[bytes] = []
        at = 0
        end = (
            len(data) if is_last else min((_find_partial(data, f) for f in self._forms), default=0)
        )
        end = end if self._forms else len(data)
        while found := self._first(data, at, end):
            start, form = found
            passed += (data[at:start], MASK)
            at = start + len(form)
        passed.append(data[at : max(at, end)])
        self._held = data[max(at, end) :]
        return b"".join(passed)

    def _first(self, data: bytes, at: int, end: int) -> tuple[int, bytes] | None:
        """Return the first value that begins before `end`; of several, the longest."""
        found: tuple[int, bytes] | None = None
        for form in self._forms:
            start = data.find(form, at, None if found is None else found[0] + len(form) - 1)
            if 0 <= start < (end if found is None else found[0]):
                found = start, form
        return found


def _find_partial(data: bytes, form: bytes) -> int:
    """Return where a value begins at the end of the data that later data may complete."""
    head = form[:_HEAD]
    at = data.find(head, max(0, len(data) - len(form) + 1))
    while at >= 0:
        if form.startswith(data[at:]):
            return at
        at = data.find(head, at + 1)
    for size in range(min(_HEAD - 1, len(form) - 1, len(data)), 0, -1):
        if data.endswith(form[:size]):
            return len(data) - size
    return len(data)


def install(forms: Iterable[bytes]) -> None:
    """Lead this process's descriptors 1 and 2 through a filter that removes some texts.

    Raises `OSError` if the filter cannot be started.
    """
    import subprocess

    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    pipes = [os.pipe(), os.pipe()]
    readers = [reader for reader, _ in pipes]
    try:
        subprocess.run(
            # Isolated: neither the service's files nor its environment affect the filter.
            [sys.executable, "-I", "-S", __file__, *map(str, readers)],
            pass_fds=readers,
            input=b"\n".join(form.hex().encode() for form in forms),
            start_new_session=True,
            check=True,
        )
    except subprocess.CalledProcessError as exc:
        raise OSError(f"the filter of the log ended with {exc.returncode}") from exc
    for fd, (_, writer) in enumerate(pipes, 1):
        os.dup2(writer, fd)
        os.close(writer)
    for reader in readers:
        os.close(reader)


def main(readers: list[int]) -> None:
    """Filter two descriptors to 1 and 2, until both have ended."""
    values = b""
    while piece := os.read(0, _PIECE):
        values += piece
    # Detach: Ray ends a worker's children with it, but the last output is still in the pipe.
    if os.fork():
        os._exit(0)
    os.close(0)
    forms = [bytes.fromhex(each.decode()) for each in values.split()]
    pipes = {reader: (out, Sieve(forms)) for out, reader in enumerate(readers, 1)}
    poll = select.poll()
    for reader in readers:
        poll.register(reader, select.POLLIN)
    while pipes:
        for reader, _ in poll.poll():
            out, sieve = pipes[reader]
            data = os.read(reader, _PIECE)
            _write_all(out, sieve.pass_on(data, is_last=not data))
            if not data:
                poll.unregister(reader)
                del pipes[reader]


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


if __name__ == "__main__":
    main([int(each) for each in sys.argv[1:]])
