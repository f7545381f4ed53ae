"""Those who use the API during the storm: who launches, who follows, and who counts."""

import contextlib
import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

from tests.support.scale.front import BROKEN, Client, Front, Ledger, RefusedError
from tests.support.scale.plan import PING, planned

#: How long a follower waits for a line: a heartbeat comes every ten seconds.
_QUIET_S = 15.0
#: How many of the latest launches a follower chooses from.
_LATEST = 40
_FINAL = ("finished", "error", "cancelled")


class Crowd:
    """Threads that launch `total` executions, follow some of them, and hear of all.

    With a `pause_s` after each launch they go on until `has_enough` is set.
    """

    def __init__(
        self,
        front: Front,
        *,
        seed: int,
        total: int,
        launchers: int,
        followers: int,
        at_once: int,
        pause_s: float,
    ) -> None:
        self.front = front
        self.ledger = Ledger()
        self.seed = seed
        self.total = total
        self._at_once = at_once
        self._pause_s = pause_s
        self.has_enough = threading.Event()
        self._sizes = (launchers, followers)
        self._numbers = count(1)
        self._launching = launchers
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._fids: list[str] = []
        #: The lines that followers were sent, by fid.
        self.followed: dict[str, list[bytes]] = {}
        #: The latest status of each execution that the changes have told, and how often a stream
        #: was opened again.
        self.heard: dict[str, str] = {}
        self.reconnected = 0
        self.errors: list[BaseException] = []

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Run all of them; those who follow stop at the end."""
        launchers, followers = self._sizes
        threads = [
            self._start(self._hear),
            *(self._start(self._launch) for _ in range(launchers)),
            *(self._start(self._follow) for _ in range(followers)),
        ]
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join()

    @property
    def is_launching(self) -> bool:
        """Whether there is more to launch, and nobody has failed."""
        return self._launching > 0 and not self.errors

    @property
    def open(self) -> int:
        """How many were accepted and are not known to have ended."""
        return len(self.ledger.fids) - self.ended

    @property
    def progress(self) -> str:
        return f"{len(self._fids)} accepted, {self._ended} ended"

    @property
    def ended(self) -> int:
        return sum(self.heard.get(fid) in _FINAL for fid in list(self.ledger.fids.values()))

    def _start(self, work: Callable[[], None]) -> threading.Thread:
        def run() -> None:
            try:
                work()
            except BaseException as exc:  # noqa: BLE001 - the storm raises it
                self.errors.append(exc)

        thread = threading.Thread(target=run, name=work.__name__, daemon=True)
        thread.start()
        return thread

    def _launch(self) -> None:
        client = Client(self.front)
        try:
            while not self._over.is_set():
                if len(self._fids) - self._ended > self._at_once:
                    time.sleep(0.02)
                    continue
                with self._lock:
                    number = next(self._numbers)
                if number > self.total and (self.has_enough.is_set() or not self._pause_s):
                    return
                each = planned(self.seed, number)
                fid, url = client.launch(each.flow, each.inputs, each.key)
                self.ledger.accept(each.key, fid, url)
                self._fids.append(fid)
                time.sleep(self._pause_s)
        finally:
            with self._lock:
                self._launching -= 1

    #: How many executions are known to have ended, children among them.
    _ended = 0

    def _hear(self) -> None:
        """Follow the changes of all executions, at one process after the other."""
        client, since = Client(self.front), "0"
        while not self._over.is_set():
            try:
                page = client.get("/v1/changes", since=since, limit=1000, wait=1)
            except RefusedError:
                if self._over.is_set():
                    return
                raise
            since = page["next"]
            for each in page["items"]:
                self._note(each)

    def _note(self, change: dict[str, Any]) -> None:
        fid, execution = change["fid"], change["execution"] or {"status": "deleted"}
        status = execution["status"]
        if status in _FINAL and self.heard.get(fid) not in _FINAL:
            self._ended += execution["parent"] is None and execution["flow"] != PING
        self.heard[fid] = status

    def _follow(self) -> None:
        """Follow one execution after the other to its end."""
        client = Client(self.front)
        chance = random.Random()
        while not self._over.is_set():
            fid = chance.choice(self._fids[-_LATEST:] or [""])
            if not fid or fid in self.followed:
                time.sleep(0.05)
                continue
            lines: list[bytes] = []
            self.followed[fid] = lines
            self._follow_one(client, fid, lines)

    def _follow_one(self, client: Client, fid: str, lines: list[bytes]) -> None:
        while True:
            target = f"/v1/executions/{fid}/events?follow=true&since={_seq(lines)}"
            try:
                for line in client.lines(target, _QUIET_S):
                    lines += [line] if line else []
                    if self._is_done(line):
                        return
            except BROKEN:
                self.reconnected += 1
                time.sleep(0.05)

    def _is_done(self, line: bytes) -> bool:
        """Whether a line is the last one, or shows that none comes though the storm is over."""
        return _is_end(line) if line else self._over.is_set()


def _seq(lines: list[bytes]) -> int:
    return int(json.loads(lines[-1])["seq"]) if lines else 0


def _is_end(line: bytes) -> bool:
    event = json.loads(line)
    return event["kind"] == "status" and event["payload"]["status"] in _FINAL
