"""Waiting for releases: each is told of when it is live or has failed, and meanwhile what it does.

At a terminal a line that changes says that; elsewhere a line each ten seconds does. What waits
for room on a node is said once, as soon as it is known, of every release that does.
"""

import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from koco.cli.terminal import ndjson, output
from koco.errors import DeployError, Interrupted, TimedOutError

if TYPE_CHECKING:
    from koco.cli.deploy.ship import Report
    from koco.client.client import Client

#: How long one request waits for a release (seconds): at a terminal, and elsewhere.
_SHOW_S, _POLL_S = 1.0, 4.0
#: How often it is said what is being done, where there is no terminal (seconds).
_SAY_S = 10.0
#: From here on what was live a while ago is looked at again: it may be broken (seconds).
_AGAIN_S = 2.0


@dataclass
class _Waiting:
    """The releases that are starting, and what became of the others."""

    client: "Client"
    report: "Report"
    deadline: float | None
    line: output.StatusLine = field(default_factory=output.StatusLine)
    failures: list[DeployError] = field(default_factory=list)
    #: When each was live, and which it is.
    live: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    said: float = field(default_factory=time.monotonic)
    #: What has been said that each waits for, by service.
    waits: dict[str, str] = field(default_factory=dict)

    def left_s(self) -> float:
        """Return how long the next look may wait."""
        usual = _SHOW_S if self.line.is_shown else _POLL_S
        return usual if self.deadline is None else min(usual, self.deadline - time.monotonic())

    def look(self, pending: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Ask for each release; tell of those that are starting no more, return the others."""
        rest = []
        # Only the first is waited for: what becomes of the others is known as soon.
        wait_s = max(0.0, self.left_s())
        for release in pending:
            now = release
            if release["status"] == "starting":
                now = self.client.release(release["service"], release["number"], wait_s=wait_s)
                wait_s = 0.0
            if now["status"] == "starting":
                rest.append(now)
            else:
                self.line.clear()
                self.tell(now, is_unchanged=release.get("unchanged", False))
        return rest

    def tell(self, release: dict[str, Any], *, is_unchanged: bool) -> None:
        """Tell what became of a release."""
        is_broken = release.get("error") is not None and not is_unchanged
        if release["status"] == "failed" or is_broken:
            self.failures.append(_failure(self.client, release, self.report))
        elif not is_unchanged:
            service, number = release["service"], release["number"]
            text = f"release {number}  live  {self.report.took()}"
            self.report.result("live", service, text, release=number)
            self.live.append((time.monotonic(), release))

    def progress(self, pending: list[dict[str, Any]]) -> None:
        """Say what is being done, and what waits for a node."""
        for release in pending:
            waits_for = "; ".join(str(release.get("waits_for") or "").splitlines())
            # Once for each node's shortage: figures of what is held change all the time.
            if waits_for and release["service"] not in self.waits:
                self.waits[release["service"]] = waits_for
                self._say(release, f"waits for room: {waits_for}", waits_for=waits_for)
        took_s = time.monotonic() - self.began
        if self.line.is_shown and pending:
            doing = ", ".join(f"{each['service']}: {_doing(each)}" for each in pending)
            self.line.show(f"{took_s:.0f} s  {doing}")
        elif time.monotonic() - self.said >= _SAY_S:
            self.said = time.monotonic()
            for each in pending:
                self._say(each, f"{_doing(each)} ({took_s:.0f} s)")

    def _say(self, release: dict[str, Any], text: str, **more: Any) -> None:
        self.line.clear()
        if self.report.as_json:
            told = {"service": release["service"], "release": release["number"], **more}
            took_s = round(time.monotonic() - self.began, 3)
            ndjson.emit("waiting", {**told, "doing": _doing(release), "took_s": took_s})
        else:
            output.note(f"{release['service']}: {text}")

    def look_again(self) -> None:
        """Tell of those that are broken, as koco has seen while others were waited for."""
        for at, release in self.live:
            if time.monotonic() - at < _AGAIN_S:
                continue
            now = self.client.release(release["service"], release["number"])
            if now.get("error"):
                self.failures.append(_failure(self.client, now, self.report))


def settle(
    client: "Client",
    releases: Iterable[dict[str, Any]],
    report: "Report",
    *,
    timeout_s: float | None,
) -> None:
    """Wait until each release is live or has failed, and tell so.

    Raises:
        DeployError: some failed, each with its cause.
        TimedOutError: one is still starting after `timeout_s`; it goes on.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    waiting = _Waiting(client, report, deadline)
    pending = list(releases)
    try:
        while pending:
            is_last = deadline is not None and deadline <= time.monotonic()
            pending = waiting.look(pending)
            if is_last:
                break
            waiting.progress(pending)
        waiting.look_again()
    except KeyboardInterrupt:
        waiting.line.clear()
        if output.is_terminal(sys.stderr):
            output.note("")  # after the `^C` that a terminal shows
        goes_on, again = _goes_on(pending[0])
        raise Interrupted(goes_on, hint=again) from None
    finally:
        waiting.line.clear()
    if waiting.failures:
        raise _joined(waiting.failures)
    if pending:
        raise _late(pending[-1])


def _doing(release: dict[str, Any]) -> str:
    return str(release.get("doing") or "it is starting")


def _late(release: dict[str, Any]) -> TimedOutError:
    goes_on, again = _goes_on(release)
    said = "; ".join(str(release.get("waits_for") or "").splitlines())
    late = f"{goes_on}: {said}" if said else goes_on
    return TimedOutError(late, hint=f"{again}, `koco status` shows what is live")


def _goes_on(release: dict[str, Any]) -> tuple[str, str]:
    """Return that the control plane goes on with a release, and how it is waited for again."""
    service, number = release["service"], release["number"]
    command = "rollback" if release.get("origin", {}).get("rollback_of") else "deploy"
    said = f"{service}: release {number} is not ready yet; the control plane goes on with it"
    return said, f"`koco {command}` again waits for it"


def _failure(client: "Client", release: dict[str, Any], report: "Report") -> DeployError:
    """Tell that a release failed, and what serves; return the error."""
    service, number, error = release["service"], release["number"], release["error"] or {}
    if report.as_json:
        report.result("failed", service, "", release=number, error=error)
    former = next((f["release"] for f in client.flows() if f["service"] == service), None)
    if not report.as_json and former is not None:
        output.note(f"{service}: release {former} still serves")
    elif not report.as_json and not release.get("fallback", True):
        output.note(f"{service}: nothing serves now, as --no-rollback-on-failure has it")
    return DeployError(
        f"{service}: release {number} failed: {error.get('message')}",
        detail=error.get("detail"),
        hint=error.get("hint"),
    )


def _joined(failures: list[DeployError]) -> DeployError:
    """Return one error that says what all of them do."""
    if len(failures) == 1:
        return failures[0]
    return DeployError(
        "\n".join(each.message for each in failures),
        detail="\n\n".join(each.detail for each in failures if each.detail) or None,
        hint=next((each.hint for each in failures if each.hint), None),
    )
