"""The loop of `koco dev`: wait for what happens, and react."""

import contextlib
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from koco.cli import connection
from koco.cli.dev import launches as launching
from koco.cli.dev.deploys import Deploys
from koco.cli.dev.happenings import (
    Arrived,
    Away,
    Begun,
    Changed,
    Deployed,
    Failed,
    Happening,
    Lost,
    Planned,
    Terminated,
    Told,
    Typed,
)
from koco.cli.dev.keys import Keys
from koco.cli.dev.launches import Launches
from koco.cli.dev.watch import Watch
from koco.cli.inputs import prompt
from koco.cli.own.services import Services
from koco.cli.terminal import ndjson, output
from koco.cli.terminal.event_view import View
from koco.cli.terminal.many_view import ManyView
from koco.client.client import Client
from koco.client.many_stream import LineOfMany, ManyStream
from koco.errors import AnswerError, Interrupted, KocoError, UnreachableError
from koco.events import line
from koco.events.model import FINAL

#: A deploy that takes longer is superseded by the next change (seconds), because a release that
#: cannot start may try for minutes. Until then, changes are gathered.
_PATIENCE_S = 3.0
#: How long to wait before a control plane that did not answer is asked again (seconds).
_AGAIN_S = 2.0
#: How long the last deploy may take to end when the command ends (seconds).
_END_S = 10.0

_KEYS = "r runs again · l lists · q leaves"


class Loop:
    """Deploys at each change until a person leaves."""

    def __init__(
        self,
        client: Client,
        manifests: Sequence[str],
        *,
        run: str | None,
        values: dict[str, Any],
        env_files: Sequence[Path] = (),
        as_json: bool = False,
    ) -> None:
        self._client = client
        self._happenings: queue.SimpleQueue[Happening] = queue.SimpleQueue()
        report = self._happenings.put
        self._services = Services(client)
        self._deploys = Deploys(
            self._services, manifests, report, env_files=env_files, as_json=as_json
        )
        self._watch = Watch(report)
        self._as_json = as_json
        # What keys show is for people only.
        self._keys = Keys(report) if prompt.can_ask(as_json) else None
        lent = self._keys.lent if self._keys is not None else None
        self._launches = Launches(client, wanted=run, values=values, lent=lent)
        self._view = ManyView(View(as_json=as_json))
        self._began = line.timestamp()
        self._followed: set[str] = set()
        #: When the deploy that is under way was begun; None if none is.
        self._deploying: float | None = None
        #: When the change was noticed that the next deploy is about; None if there was none.
        self._changed: float | None = None
        #: When to deploy again, because the control plane did not answer.
        self._again: float | None = None
        #: Whether releases are new whose flows are not known yet.
        self._is_new = False
        self._held: list[Told] = []
        self._saved = 0.0
        self._last_error = ""
        #: What was said last of the control plane's absence.
        self._absence = ""

    def run(self) -> int:
        """Run until a person leaves, then remove everything; return the exit code."""
        try:
            with self._terminal(), _reported_signals(self._happenings.put):
                self._deploy()
                while True:
                    code = self._react(self._next())
                    if code is not None:
                        return code
        except KeyboardInterrupt:
            output.begin_line()
            return Interrupted.exit_code
        finally:
            self._clean_up()

    @contextlib.contextmanager
    def _terminal(self) -> Iterator[None]:
        if self._keys is None:
            yield
            return
        self._keys.begin()
        try:
            yield
        finally:
            self._keys.end()

    def _next(self) -> Happening | None:
        """Return what happens next; None if it is time for the next deploy."""
        due = self._again
        if self._deploying is not None:
            due = None if self._changed is None else self._deploying + _PATIENCE_S
        if due is None:
            return self._happenings.get()
        try:
            return self._happenings.get(timeout=max(0.0, due - time.monotonic()))
        except queue.Empty:
            return None

    def _react(self, happening: Happening | None) -> int | None:
        """React to something; return the exit code if it is the end."""
        match happening:
            case None:
                self._deploy()
            case Changed(at=at):
                self._changed = self._changed or at
                if self._deploying is None:
                    self._deploy()
            case Begun(turn, sources) if turn == self._deploys.turn:
                self._watch.set(sources)
            case Planned(turn, lines) if turn == self._deploys.turn:
                for each in lines:
                    output.note(output.cut(output.inline(each), sys.stderr))
            case Told(turn) if turn == self._deploys.turn:
                self._tell(happening)
            case Deployed(turn) if turn == self._deploys.turn:
                self._go_live(happening)
            case Failed(turn) if turn == self._deploys.turn:
                self._fail(happening)
            case Deployed(releases=releases):  # a later deploy may find nothing to do
                self._is_new |= bool(releases)
            case Arrived(stream, lines):
                self._show(stream, lines)
            case Away(error):
                self._report_absence(error)
            case Lost(error):
                raise error
            case Typed(key):
                return self._press(key)
            case Terminated(number):
                return 128 + number
        return None

    def _deploy(self) -> None:
        self._saved = self._changed or time.monotonic()
        self._changed, self._again, self._deploying = None, None, time.monotonic()
        self._held = []
        self._deploys.begin()

    def _tell(self, told: Told) -> None:
        """Tell programs of a step. Those of a deploy that changes nothing wait for its outcome."""
        is_plan = told.kind == "plan"
        steps = told.payload["items"] if is_plan else ()
        if self._held or (is_plan and all(each["action"] == "unchanged" for each in steps)):
            self._held.append(told)
        else:
            ndjson.emit(told.kind, told.payload)

    def _tell_held(self) -> None:
        for told in self._held:
            ndjson.emit(told.kind, told.payload)
        self._held = []

    def _go_live(self, done: Deployed) -> None:
        try:
            self._accept(done)
        except KocoError as exc:
            self._fail(Failed(done.turn, exc))

    def _accept(self, done: Deployed) -> None:
        """Follow the deployed releases.

        Raises:
            KocoError: the control plane does not say which these are.
        """
        self._is_new |= bool(done.releases) or not self._followed
        self._services.drop_others(done.services)
        if self._is_new:
            owned = set(done.services)
            self._launches.flows = [
                f["name"] for f in self._client.flows() if f["service"] in owned
            ]
        was_broken, self._last_error = bool(self._last_error), ""
        self._absence = ""
        took_s = time.monotonic() - self._saved
        if self._is_new or was_broken:
            self._tell_held()
            self._report_end({"status": "finished"})
        for release in done.releases:
            text = f"{release['service']}  release {release['number']}  live  ({took_s:.1f} s)"
            output.note(output.paint(text, output.GREEN, sys.stderr))
        is_first = not self._followed
        for service in done.services:
            self._follow(service)
        if is_first:
            self._introduce()
        elif was_broken and not done.releases:
            output.note("works again; nothing else has changed")
        is_new, self._is_new = self._is_new, False
        if is_new:
            self._try(self._launches.run_wanted)
        self._after()

    def _report_end(self, outcome: dict[str, Any]) -> None:
        """Tell programs how a deploy ended, and the time since the save."""
        took_s = time.monotonic() - self._saved
        if self._as_json:
            ndjson.emit("deployed", {**outcome, "took_s": round(took_s, 3)})

    def _introduce(self) -> None:
        for flow in self._launches.flows:
            output.note(f"koco run {flow}")
        if self._keys is not None:
            output.note(_KEYS)

    def _fail(self, failed: Failed) -> None:
        error = failed.error
        self._tell_held()
        self._report_end(ndjson.error_payload(error))
        text = f"{error.message}\n{getattr(error, 'detail', '')}"
        is_away = isinstance(error, UnreachableError | AnswerError)
        if is_away:
            self._again = time.monotonic() + _AGAIN_S
            self._report_absence(error)
        elif text == self._last_error:
            output.note("still the same error")
        else:
            output.print_error(error, as_json=self._as_json)
            output.note("waiting for the next change…")
        self._last_error = text
        self._after()

    def _report_absence(self, error: KocoError) -> None:
        """Say once that the control plane is waited for."""
        if error.message != self._absence:
            output.note(f"{output.inline(error.message)}; waiting for it…")
        self._absence = error.message

    def _after(self) -> None:
        """Deploy what has changed during the deploy."""
        self._deploying = None
        if self._changed is not None:
            self._deploy()

    def _follow(self, service: str) -> None:
        """Show the events of a service's executions, from the start of this command on."""
        if service in self._followed:
            return
        self._followed.add(service)
        # It is read in a thread, so it has a client of its own.
        stream = connection.connect().stream_many(service=service, since=self._began, follow=True)

        def read() -> None:
            while True:
                try:
                    for lines in stream:
                        self._happenings.put(Arrived(stream, lines))
                    return
                except UnreachableError as exc:
                    self._happenings.put(Away(exc))
                    time.sleep(_AGAIN_S)  # then the stream goes on where it broke
                except KocoError as exc:
                    self._happenings.put(Lost(exc))
                    return

        threading.Thread(target=read, name="koco-follow", daemon=True).start()

    def _show(self, stream: ManyStream, lines: list[LineOfMany]) -> None:
        self._view.show(stream, lines)
        for each in lines:
            kind = stream.read_kind(each.line)
            if kind == "meta":
                self._launches.note_launch(each.fid, each.flow)
            elif kind == "status":
                payload: Any = stream.decode(each.line)["payload"]
                if payload.get("status") in FINAL:
                    self._try(lambda fid=each.fid: self._launches.note_end(fid))

    def _press(self, key: str) -> int | None:
        match key.lower():
            case "q":
                return 0
            case "r":
                self._try(self._launches.run_again)
            case "l":
                self._try(lambda: launching.show_list(self._client, sorted(self._followed)))
            case "?" | "h":
                output.note(_KEYS)
        return None

    def _try(self, action: Any) -> None:
        """Do something that may be refused; the command goes on."""
        try:
            action()
        except KocoError as exc:
            output.print_error(exc, as_json=self._as_json)

    def _clean_up(self) -> None:
        """Remove the services, also those that a deploy is about to make."""
        self._watch.end()
        if self._services.names:
            output.note(f"removing {', '.join(self._services.names)}…")
        try:
            self._services.close()
            is_over = self._deploys.join(_END_S)
            self._services.remove(is_all=is_over)
        except KocoError as exc:
            output.print_error(exc, as_json=self._as_json)
            output.note("they are removed once the control plane answers")


@contextlib.contextmanager
def _reported_signals(report: Any) -> Iterator[None]:
    """Report signals that ask the process to end, so that it cleans up."""
    numbers = (signal.SIGTERM, signal.SIGHUP)
    former = {each: signal.signal(each, lambda n, _: report(Terminated(n))) for each in numbers}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
