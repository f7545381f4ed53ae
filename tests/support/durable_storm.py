"""A storm: executions of random programs, while runners and the control plane are killed."""

import contextlib
import json
import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil

from koco.bootstrap.local_head import mark_of
from tests.support.driver import Koco, kill9
from tests.support.durable_programs import Expected, Part, Writer, answer_to, expect

T = TypeVar("T")

#: How long the last executions may take once nothing is killed any more (seconds).
_CALM_S = 120.0
#: How Ray titles the processes that are killed.
_TITLES = {"runner": "ray::Runner", "control": "ray::ControlPlane"}
#: How long an answer of the control plane is waited for (seconds).
_PATIENCE_S = 60.0


@dataclass
class Launched:
    """An execution, and what must come of it."""

    fid: str
    program: list[Part]
    expected: Expected
    log: Path
    #: Whether it is cancelled, unless it ends before.
    is_cancelled: bool = False


class Storm:
    """Launches, answers, sends, cancels and kills until there were so many kills.

    Each of the services has the flows of `durable_flows`.
    """

    def __init__(
        self, app: Koco, services: list[str], *, seed: int, kills: int, at_once: int = 12
    ) -> None:
        self._app = app
        self._services = services
        self._random = random.Random(seed)
        self._writer = Writer(seed)
        self._kills = kills
        self._at_once = at_once
        self._is_over = threading.Event()
        self._errors: list[BaseException] = []
        self.launched: list[Launched] = []
        #: What was killed: `runner` and `control`.
        self.killed: Counter[str] = Counter()
        #: How long everything took to end after the last kill (seconds).
        self.calm_s = 0.0

    def run(self) -> None:
        """Run it, and wait until everything has ended."""
        with self._beside(self._answer), self._beside(self._kill):
            while sum(self.killed.values()) < self._kills and not self._errors:
                parents = [each for each in self._open() if each["parent"] is None]
                for _ in range(self._at_once - len(parents)):
                    self._launch()
                time.sleep(0.3)
            began = time.monotonic()
            while self._open() and time.monotonic() - began < _CALM_S and not self._errors:
                time.sleep(0.3)
            self.calm_s = time.monotonic() - began
        if self._errors:
            raise self._errors[0]

    @contextlib.contextmanager
    def _beside(self, work: Callable[[], None]) -> Iterator[None]:
        def run() -> None:
            try:
                work()
            except BaseException as exc:  # noqa: BLE001 - it is raised in `run`
                self._errors.append(exc)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._is_over.set()
            thread.join()

    def _open(self) -> list[dict[str, Any]]:
        """Return the executions that have not ended."""
        found: list[dict[str, Any]] = self.get("/v1/executions", active=1, limit=500)["items"]
        return found

    def get(self, path: str, **params: Any) -> Any:
        """Read something, however often the control plane dies meanwhile."""
        return self._persist(lambda: self._app.get(path, **params))

    def _persist(self, ask: Callable[[], T]) -> T:
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                return ask()
            except (httpx.HTTPError, AssertionError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def _post(self, path: str, body: Any, *, key: str = "") -> httpx.Response:
        def post() -> httpx.Response:
            with self._app.http() as client:
                answer = client.post(
                    path, json=body, headers={"Idempotency-Key": key} if key else {}
                )
            assert answer.status_code < 500, answer.text
            return answer

        return self._persist(post)

    def _launch(self) -> Launched:
        is_sync = self._random.random() < 0.3
        program = self._writer.write_sync() if is_sync else self._writer.write()
        log = self._app.root / f"log-{len(self.launched)}"
        log.touch()
        inputs = {"text": json.dumps(program), "log": str(log)}
        service = self._random.choice(self._services)
        flow = f"{service}/{'program-sync' if is_sync else 'program'}"
        answer = self._post(f"/v1/flows/{flow}", inputs, key=log.name)
        # 200 if the control plane had accepted it and died before its answer.
        assert answer.status_code in (200, 201), answer.text
        each = Launched(answer.json()["result"], program, expect(program), log)
        self.launched.append(each)
        if each.expected.messages:
            threading.Thread(target=self._send, args=(each,), daemon=True).start()
        if self._random.random() < 0.1:
            each.is_cancelled = True
            threading.Thread(target=self._cancel, args=(each,), daemon=True).start()
        return each

    def _cancel(self, each: Launched) -> None:
        """Cancel an execution while it does something, waits or is parked."""
        time.sleep(random.Random(each.fid).uniform(0.5, 8))
        try:
            answer = self._post(f"/v1/executions/{each.fid}/cancel", {"grace_s": 1})
            assert answer.status_code in (200, 202, 409), answer.text
        except BaseException as exc:  # noqa: BLE001 - it is raised in `run`
            self._errors.append(exc)

    def _send(self, each: Launched) -> None:
        """Send its messages, some before and some after it waits for them."""
        pauses = random.Random(each.fid)
        for number, (name, value) in enumerate(each.expected.messages):
            time.sleep(pauses.choice((0, 0.2, 1, 3)))
            path = f"/v1/executions/{each.fid}/messages/{name}"
            body = {"data": {"value": value}}
            try:
                answer = self._post(path, body, key=f"{each.log.name}-{number}")
                if answer.status_code == 409 and each.is_cancelled:
                    return
                assert answer.status_code == 201, answer.text
            except BaseException as exc:  # noqa: BLE001 - it is raised in `run`
                self._errors.append(exc)

    def _answer(self) -> None:
        """Answer each lock, some of them only after the execution has been parked."""
        due: dict[str, float] = {}
        while not self._is_over.wait(0.25):
            for lock in self.get("/v1/locks", limit=1000)["items"]:
                lid = lock["lid"]
                now = time.monotonic()
                if now < due.setdefault(lid, now + self._random.choice((0, 0.5, 1, 3))):
                    continue
                path = f"/v1/executions/{lock['fid']}/locks/{lid}"
                answer = self._post(path, {"value": answer_to(lock["name"])})
                # Answered before the control plane died, or its execution has ended.
                assert answer.status_code in (200, 404, 409), answer.text

    def _kill(self) -> None:
        """Kill a runner that has run a step, or the control plane, whenever there was progress."""
        before = 0
        while sum(self.killed.values()) < self._kills:
            if self._is_over.wait(self._random.uniform(0.2, 0.7)):
                return
            steps = [line.split()[2] for line in self._lines()]
            what = "control" if self._random.random() < 0.2 else "runner"
            pids = _pids(self._app, _TITLES[what])
            if what == "runner":
                # On a busy machine all others may just be starting.
                pids = [pid for pid in pids if str(pid) in steps]
            if not pids or len(steps) <= before:
                continue
            before = len(steps)
            kill9(self._random.choice(pids))
            self.killed[what] += 1
            runners = [pid for pid in _pids(self._app, _TITLES["runner"]) if str(pid) in steps]
            if what == "control" and runners and self._random.random() < 0.3:
                kill9(self._random.choice(runners))
                self.killed["runner"] += 1

    def _lines(self) -> list[str]:
        """Return what all steps have written down."""
        return [line for each in self.launched for line in each.log.read_text().splitlines()]


def _pids(app: Koco, title: str) -> list[int]:
    """Return the processes of this cluster with such a title."""
    mark = mark_of(app.home)
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, IndexError, OSError):
            is_one = process.cmdline()[0].startswith(title)
            if is_one and process.environ().get("KOCO_CLUSTER") == mark:
                found.append(process.pid)
    return found


class Inspection:
    """Looks for everything that an undisturbed run would not have left behind."""

    def __init__(self, app: Koco) -> None:
        self._app = app
        self.faults: list[str] = []
        #: How often executions were resumed, in all.
        self.resumed = 0
        #: How many executions and kept steps were looked at.
        self.executions = self.steps = self.cancelled = 0
        #: How many effects took place again, because a process died before their commit.
        self.repeated = 0

    def look_at(self, each: Launched) -> None:
        """Compare an execution and its children with what was expected."""
        ran = _ran(each.log)
        found = self._all("/v1/executions", parent=each.fid)
        if each.is_cancelled and self._was_cancelled(each.fid):
            for child in found:
                if child["finished"] is None:
                    self.faults.append(f"{child['fid']}: goes on, but {each.fid} was cancelled")
            return
        self._compare(each.fid, each.expected, ran)
        # Children may not have children.
        texts = [json.dumps(child) for child in each.expected.children]
        actual = [self._app.get(f"/v1/executions/{child['fid']}")["inputs"] for child in found]
        self._equal(each.fid, "children", sorted(i["text"] for i in actual), sorted(texts))
        for child, inputs in zip(found, actual, strict=True):
            self._compare(child["fid"], expect(json.loads(inputs["text"])), ran)

    def _was_cancelled(self, fid: str) -> bool:
        """Return whether an execution was cancelled; look at how it ended."""
        if self._app.get(f"/v1/executions/{fid}")["status"] != "cancelled":
            return False
        self.cancelled += 1
        self._stream(fid, self._app.get_events(fid))
        return True

    def _stream(self, fid: str, events: list[dict[str, Any]]) -> None:
        """Expect a stream without gaps, with one final status, which is the last event."""
        self._equal(fid, "seqs", [e["seq"] for e in events], list(range(1, len(events) + 1)))
        final = [e for e in events if e["kind"] == "status" and _is_final(e["payload"]["status"])]
        self._equal(fid, "final status", final, events[-1:])

    def _compare(self, fid: str, expected: Expected, ran: dict[str, list[float]]) -> None:
        self.executions += 1
        execution = self._app.get(f"/v1/executions/{fid}")
        self.resumed += execution["resumed"]
        self._equal(fid, "status", execution["status"], "error" if expected.error else "finished")
        events = self._app.get_events(fid)
        self._outcome(fid, expected, events)
        self._stream(fid, events)
        self._equal(fid, "texts", _texts(events), dict(expected.texts))
        self._steps(fid, expected, events, ran)

    def _outcome(self, fid: str, expected: Expected, events: list[dict[str, Any]]) -> None:
        finals = [e["payload"] for e in events if e["kind"] == "final"]
        errors = [e["payload"]["message"] for e in events if e["kind"] == "error"]
        self._equal(fid, "result", finals, [] if expected.error else [expected.result])
        self._equal(fid, "errors", errors, [expected.error] if expected.error else [])

    def _steps(
        self,
        fid: str,
        expected: Expected,
        events: list[dict[str, Any]],
        ran: dict[str, list[float]],
    ) -> None:
        steps = self._all(f"/v1/executions/{fid}/steps")
        self.steps += len(steps)
        names = Counter(s["name"] if s["kind"] == "step" else s["kind"] for s in steps)
        self._equal(fid, "steps", names, expected.names)
        ended = Counter(s["status"] for s in steps)
        wanted = Counter(finished=expected.names.total() - expected.failed, error=expected.failed)
        self._equal(fid, "outcomes", +ended, +wanted)
        committed = defaultdict(list)
        for event in events:
            payload = event["payload"]
            if event["kind"] == "step" and payload["status"] in ("finished", "error"):
                committed[payload["step"]].append(_seconds(event["ts"]))
        # A lock has events of its own.
        for step in (each for each in steps if each["kind"] != "lock"):
            self._once(fid, step, committed[step["key"]], ran.get(f"{fid}/{step['key']}", []))

    def _once(
        self, fid: str, step: dict[str, Any], committed: list[float], ran: list[float]
    ) -> None:
        """Expect one outcome of a step, and that it did not run after that."""
        key = step["key"]
        self._equal(fid, f"outcomes of {key}", len(committed), 1)
        if step["kind"] != "step":
            return
        if not ran:
            self.faults.append(f"{fid}: {key} never ran")
        elif committed and max(ran) > committed[0] + 0.001:
            self.faults.append(f"{fid}: {key} ran again at {max(ran)} after {committed[0]}")
        if step["name"] != "shaky":
            self.repeated += max(0, len(ran) - 1)

    def nothing_is_left(self) -> None:
        """Expect that no execution, wait or lock is open, and that no runner has work."""
        status = self._app.get("/v1/status")
        active = ("queued", "starting", "running", "awaiting", "sleeping")
        left = {name: status["executions"].get(name, 0) for name in active}
        self._equal("all", "open executions", +Counter(left), Counter())
        for what, query in _LEFT.items():
            [(count,)] = self._app.look(query)
            self._equal("all", what, count, 0)

    def _all(self, path: str, **params: Any) -> list[Any]:
        """Return all pages of a list."""
        found: list[Any] = []
        while True:
            page = self._app.get(path, **params)
            found += page["items"]
            if not page.get("next"):
                return found
            params["cursor"] = page["next"]

    def _equal(self, fid: str, what: str, actual: Any, expected: Any) -> None:
        if actual != expected:
            self.faults.append(f"{fid}: {what}: {actual!r} instead of {expected!r}")


#: What must not be in the store once all has ended.
_LEFT = {
    "open waits": "SELECT count(*) FROM steps WHERE status = 'waiting'",
    "unfinished steps": "SELECT count(*) FROM steps s JOIN executions e ON e.id = s.execution"
    " WHERE s.status IN ('running', 'retrying') AND e.status <> 'cancelled'",
    "open locks": "SELECT count(*) FROM locks WHERE status = 'open'",
    "messages not taken": "SELECT count(*) FROM messages m JOIN executions e ON"
    " e.id = m.execution WHERE m.taken IS NULL AND e.status <> 'cancelled'",
    "parked executions": "SELECT count(*) FROM executions WHERE parked = 1",
}


def _is_final(status: str) -> bool:
    return status in ("finished", "error", "cancelled")


def _ran(log: Path) -> dict[str, list[float]]:
    """Return when each step ran, by its key."""
    found = defaultdict(list)
    for line in log.read_text().splitlines():
        what, key, _, seconds = line.split()
        if what == "ran":
            found[key].append(float(seconds))
    return found


def _texts(events: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Return the texts of a program's own events, by the task of the flow that wrote them."""
    found = defaultdict(list)
    for event in events:
        if event["kind"] in ("stdout", "stderr", "result", "debug", "action"):
            text = str(event["payload"])
            found[text.partition(" ")[0]].append(text)
    return dict(found)


def _seconds(stamp: str) -> float:
    import datetime as dt

    return dt.datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp()
