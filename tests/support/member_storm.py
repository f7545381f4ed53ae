"""Processes of a shared store that are killed and stopped at random while they write.

`python -m tests.support.member_storm SECONDS [SEED]` runs it for longer than the test does.
"""

import random
import signal
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field

import psycopg

from tests.support import postgres
from tests.support.members import Process
from tests.support.store_checks import problems

NAMES = ("one", "two", "three")


@dataclass
class Outcome:
    accepted: dict[str, str] = field(default_factory=dict)
    #: The epochs of the leaders in turn, and when each began (monotonic).
    leaders: list[tuple[int, float]] = field(default_factory=list)
    harm: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class Seat:
    """A process of one name, which is started again whenever it ends."""

    def __init__(self, url: str, name: str, outcome: Outcome) -> None:
        self._url, self._name, self._outcome = url, name, outcome
        self._ends = False
        self.process: Process | None = None
        self.starts = 0
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def end(self) -> None:
        self._ends = True
        while self._thread.is_alive():
            self.send(signal.SIGKILL)
            self._thread.join(0.1)

    def send(self, which: signal.Signals) -> None:
        with suppress(ProcessLookupError):  # it has ended meanwhile
            if self.process is not None:
                self.process.send(which)

    def _run(self) -> None:
        while not self._ends:
            process = Process(self._url, self._name)
            self.process = process
            self.starts += 1
            process.tell("storm", self._name, 4)
            while text := process.hear():
                what, *rest = text.split()
                if what == "leads":
                    self._outcome.leaders.append((int(rest[0]), float(rest[1])))
                elif what in ("finished", "queued"):
                    self._outcome.accepted[rest[0]] = what
            process.end()


def rage(server: postgres.Server, database: str, for_s: float, seed: int) -> Outcome:
    """Kill and stop processes for some time, and the server, too; return what came of it."""
    chance, outcome, url = random.Random(seed), Outcome(), server.url(database)
    seats = [Seat(url, name, outcome) for name in NAMES]
    try:
        while not outcome.accepted:
            time.sleep(0.1)
        until_s = time.monotonic() + for_s
        while time.monotonic() < until_s:
            time.sleep(chance.uniform(0.2, 2))
            what = chance.choices(("kill", "stop", "cut", "restart"), (5, 3, 4, 1))[0]
            outcome.harm.append(what)
            if what == "restart":
                server.stop(chance.choice((signal.SIGINT, signal.SIGQUIT)))
                time.sleep(chance.uniform(0, 1))
                server.start()
            elif what == "cut":
                _cut(url, chance)
            else:
                _harm(chance.choice(seats), what, chance)
        time.sleep(4)
    finally:
        for seat in seats:
            seat.end()
    outcome.problems = problems(url) + _lost(url, outcome)
    return outcome


def _harm(seat: Seat, what: str, chance: random.Random) -> None:
    if what == "kill":
        seat.send(signal.SIGKILL)
        return
    seat.send(signal.SIGSTOP)
    time.sleep(chance.choice((0.5, 3.5, 6)))
    seat.send(signal.SIGCONT)


def _cut(url: str, chance: random.Random) -> None:
    """End some sessions of the database: any of them may be a leader's."""
    query = (
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid()"
    )
    with psycopg.connect(url, autocommit=True) as db:
        found = [pid for (pid,) in db.execute(query).fetchall()]
        for pid in chance.sample(found, min(3, len(found))):
            db.execute("SELECT pg_terminate_backend(%s)", (pid,))


def _lost(url: str, outcome: Outcome) -> list[str]:
    with psycopg.connect(url) as db:
        there = dict(db.execute("SELECT fid, status FROM koco.executions").fetchall())
    lost = [fid for fid, what in outcome.accepted.items() if there.get(fid) != what]
    epochs = [epoch for epoch, _ in sorted(outcome.leaders, key=lambda each: each[1])]
    wrong = [] if epochs == sorted(set(epochs)) else [f"epochs do not grow: {epochs}"]
    return wrong + ([f"lost: {lost[:5]}"] if lost else [])


def main(for_s: str, seed: str = "1") -> None:
    server = postgres.Server()
    try:
        server.execute("CREATE DATABASE own")
        outcome = rage(server, "own", float(for_s), int(seed))
        counts = {what: outcome.harm.count(what) for what in sorted(set(outcome.harm))}
        print(f"{counts}, {len(outcome.leaders)} leaders, {len(outcome.accepted)} accepted")
        print(outcome.problems or "nothing is wrong")
    finally:
        server.remove()


if __name__ == "__main__":
    main(*sys.argv[1:])
