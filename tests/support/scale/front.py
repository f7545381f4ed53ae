"""The API of all processes of a control plane, as clients behind no load balancer use it."""

import contextlib
import http.client
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode, urlsplit

#: How long a connection or an answer is waited for (seconds). A process may stand still.
_ANSWER_S = 20.0
#: How long a request is repeated (seconds).
_PATIENCE_S = 90.0
#: The pause after each process has refused (seconds).
_PAUSE_S = 0.1
#: Answers that say "not now": the same request is sent to another process.
_LATER = {429, 500, 502, 503, 504}

#: What may happen to a connection whose other end dies.
BROKEN = (OSError, http.client.HTTPException)


class Front:
    """Where the processes are, and the key. Threads share it, and each has its own `Client`."""

    def __init__(self, urls: list[str], key: str) -> None:
        self._urls = urls
        self.headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._turn = itertools.count()
        #: How often a request was repeated, by why.
        self.repeated: Counter[str] = Counter()

    @property
    def urls(self) -> list[str]:
        return list(self._urls)

    def know(self, urls: list[str]) -> None:
        """Note where the processes are now."""
        self._urls = urls or self._urls

    def next(self) -> str:
        """Return the URL whose turn it is."""
        urls = self._urls
        return urls[next(self._turn) % len(urls)]


class RefusedError(Exception):
    """An answer that no other process would change."""


class Client:
    """Asks one process after the other, over connections that are kept. For one thread."""

    def __init__(self, front: Front, answer_s: float = _ANSWER_S) -> None:
        """An answer that takes longer than `answer_s` is another process's turn."""
        self._front = front
        self._answer_s = answer_s
        self._open: dict[str, http.client.HTTPConnection] = {}

    def get(self, path: str, **params: Any) -> Any:
        """Return a JSON answer, from whichever process gives one."""
        query = urlencode(params, doseq=True)
        status, body = self.ask("GET", f"{path}?{query}" if query else path)
        if status != 200:
            raise RefusedError(f"GET {path}: {status} {body[:300]!r}")
        return json.loads(body)

    def launch(self, flow: str, inputs: dict[str, Any], key: str) -> tuple[str, str]:
        """Launch until it is accepted; return the fid, and the URL of who has said so.

        A repeated request has the same key, so it is known whether any was accepted.
        """
        body = json.dumps(inputs).encode()
        headers = {"Idempotency-Key": key}
        status, answer = self.ask("POST", f"/v1/flows/{flow}", body, headers)
        if status not in (200, 201):
            raise RefusedError(f"{key}: {status} {answer[:300]!r}")
        return json.loads(answer)["result"], self.last

    def ask(
        self, method: str, target: str, body: bytes | None = None, headers: Any = None
    ) -> tuple[int, bytes]:
        """Return the status and the body of the first answer that is one."""
        until_s = time.monotonic() + _PATIENCE_S
        for count in itertools.count(1):
            self.last = url = self._front.next()
            try:
                connection = self._connection(url)
                connection.request(method, target, body, {**self._front.headers, **(headers or {})})
                answer = connection.getresponse()
                content = answer.read()
                if answer.status not in _LATER:
                    return answer.status, content
                why = f"{answer.status}"
                last: object = content[:300]
            except BROKEN as exc:
                self._open.pop(url).close()
                why, last = type(exc).__name__, exc
            self._front.repeated[why] += 1
            if time.monotonic() > until_s:
                raise RefusedError(f"{method} {target}: {why} for {_PATIENCE_S:g} s: {last!r}")
            if count % len(self._front.urls) == 0:
                time.sleep(_PAUSE_S)
        raise AssertionError

    def lines(self, target: str, answer_s: float = _ANSWER_S) -> Iterator[bytes]:
        """Yield the lines of a stream of the next process, until it ends or breaks.

        A heartbeat is an empty line.
        """
        place = urlsplit(self._front.next())
        connection = http.client.HTTPConnection(place.netloc, timeout=answer_s)
        with contextlib.closing(connection):
            connection.request("GET", target, headers=self._front.headers)
            answer = connection.getresponse()
            if answer.status in _LATER:
                raise http.client.HTTPException(f"{answer.status}")
            if answer.status != 200:
                raise RefusedError(f"{target}: {answer.status} {answer.read()[:300]!r}")
            for line in answer:
                if not line.endswith(b"\n"):
                    raise http.client.IncompleteRead(line)
                yield line.strip() and line

    def _connection(self, url: str) -> http.client.HTTPConnection:
        if url not in self._open:
            place = urlsplit(url).netloc
            self._open[url] = http.client.HTTPConnection(place, timeout=self._answer_s)
        return self._open[url]


class Ledger:
    """What was accepted: the clients' side of the promise."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: The fid of each key.
        self.fids: dict[str, str] = {}
        #: How many launches each process has accepted.
        self.by_url: Counter[str] = Counter()

    def accept(self, key: str, fid: str, url: str) -> None:
        with self._lock:
            self.fids[key] = fid
            self.by_url[url] += 1
