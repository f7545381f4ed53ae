"""Answer locks, on request or while an execution is followed."""

import json
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from koco.cli.inputs import file_inputs, prompt
from koco.cli.terminal import event_text, keyboard, notify, output, times
from koco.client.answers import Lock, LockWithForm
from koco.errors import (
    AwaitingError,
    ConflictError,
    InputsError,
    Interrupted,
    KocoError,
    TimedOutError,
)

if TYPE_CHECKING:
    from koco.client.client import Client

#: Called while an execution is followed, whenever it may have started to wait for a person.
OnLock = Callable[[], None]


def open_locks(client: "Client", fid: str) -> list[Lock]:
    """Return an execution's open locks, oldest first."""
    return [lock for lock in client.locks_of(fid) if lock["status"] == "open"]


def refuse_locks(client: "Client", fid: str) -> OnLock:
    """Return a function that stops waiting if a person is needed and cannot be asked here."""

    def look() -> None:
        if locks := open_locks(client, fid):
            names = ", ".join(lock["name"] for lock in locks)
            raise AwaitingError(f"{fid} waits for an answer: {names}", hint=f"`{command(locks)}`")

    return look


def report_locks(client: "Client", fid: str) -> OnLock:
    """Return a function that reports, once for each lock, that a person is needed."""
    reported: set[str] = set()

    def look() -> None:
        for lock in open_locks(client, fid):
            if lock["lid"] not in reported:
                reported.add(lock["lid"])
                output.note(f"{fid} waits for an answer: `{command([lock])}`")

    return look


def notify_locks(client: "Client", fid: str, then: OnLock) -> OnLock:
    """Return a function that also rings the bell, once for each lock, before it calls another."""
    known: set[str] = set()

    def look() -> None:
        new = [lock for lock in open_locks(client, fid) if lock["lid"] not in known]
        known.update(lock["lid"] for lock in new)
        for lock in new:
            notify.notify("koco", f"{fid} waits for an answer: {lock['name']}")
        then()

    return look


def offer_locks(client: "Client", fid: str) -> OnLock:
    """Return a function that offers to answer locks here. A declined lock is not offered again."""
    offered: set[str] = set()

    def look() -> None:
        # Fetched again each time, because another lock may have opened while the user typed.
        while locks := [each for each in open_locks(client, fid) if each["lid"] not in offered]:
            offered.add(locks[0]["lid"])
            _offer(client, locks[0])

    return look


def _offer(client: "Client", opened: Lock) -> None:
    later = f"not answered; `{command([opened])}` answers it later"
    try:
        if not _agrees(opened["name"]):
            output.note(later)
            return
        lock = client.lock(opened["fid"], opened["lid"])
        if lock["status"] != "open":
            settled = times.at(lock["settled"] or "", sys.stderr)
            who = f" by {lock['by']} at {settled}" if lock["by"] else ""
            output.note(f"{lock['name']} was {lock['status']}{who}; the execution goes on")
            return
        if not output.is_terminal():
            show(lock)  # stderr, because the stream goes to stdout
        answer(client, lock, ask(lock), asks=True)
    except ConflictError as exc:
        # Somebody else was faster, or the lock timed out. The stream shows what happens next.
        output.note(f"{exc.message}; the execution goes on")
    except Interrupted:
        output.note(later)
    except TimedOutError:
        raise  # raised by `--timeout`
    except KocoError as exc:
        # A failed lease, or a key that may not answer, does not end the execution.
        output.print_error(exc)
        output.note(later)


def _agrees(name: str) -> bool:
    while True:
        sys.stderr.write(f"Answer {name} now? (yes: its questions follow; no: later) [yes]\n")
        try:
            typed = keyboard.line(sys.stderr).strip().lower()
        except EOFError:
            sys.stderr.write("\n")
            raise Interrupted("left") from None
        except UnicodeError:
            continue
        if typed in ("", "y", "yes", "n", "no"):
            return typed in ("", "y", "yes")


def show(lock: Lock) -> None:
    """Write a lock's question to stderr."""
    time_s = -times.seconds(lock["expires"])
    output.note(f"{lock['name']} of {lock['flow']} waits for an answer; {times.short(time_s)} left")
    if lock["data"] is None:
        return
    text = event_text.text_of(lock["data"], indent=2)
    for type_, body in event_text.bodies_of(lock["data"]) or [("text", text)]:
        if type_ == "markdown":
            output.print_markdown(body, sys.stderr)
        else:
            output.note(body)


def ask(lock: LockWithForm) -> Any:
    """Return a person's answer to a lock, by its form or as any JSON value.

    Raises:
        Interrupted: Ctrl-D.
        KeyboardInterrupt: Ctrl-C.
    """
    if lock["form"] is not None:
        return prompt.ask(lock["form"], {}, as_browser=prompt.is_browser_like(lock))
    return _any_json()


def _any_json() -> Any:
    sys.stderr.write('Answer (JSON, such as true or {"ok": true}; anything else is text)\n')
    while True:
        try:
            typed = keyboard.line(sys.stderr).strip()
        except EOFError:
            sys.stderr.write("\n")
            raise Interrupted("no answer was given; nothing was sent") from None
        except UnicodeError:
            continue
        if not typed:
            continue  # an extra Enter is not an answer; `null` is one
        try:
            return json.loads(typed)
        except ValueError:
            return typed


def answer(client: "Client", lock: LockWithForm, given: Any, *, asks: bool) -> Lock:
    """Send an answer and return the settled lock. At a terminal, ask again for refused values.

    Raises:
        InputsError: the lock's form or its lease refuses it; the lock stays open.
        ConflictError: somebody was faster, or the lock timed out.
    """
    while True:
        is_object = isinstance(given, dict)
        sent = file_inputs.resolve(client, given, fid=lock["fid"]) if is_object else given
        try:
            return client.answer(lock["fid"], lock["lid"], sent)
        except InputsError as exc:
            exc.hint = exc.hint or "the lock stays open"
            if not asks or not is_object:
                raise
            form = lock["form"]
            if form is None:
                raise
            as_browser = prompt.is_browser_like(lock)
            given = prompt.ask_again(form, given, exc, as_browser=as_browser)


def command(locks: Sequence[Lock]) -> str:
    """Return the command that answers a lock. It has the name, because other locks may open too."""
    name = locks[0]["name"] if len(locks) == 1 else "LOCK"
    return f"koco answer {locks[0]['fid']} {name}"
