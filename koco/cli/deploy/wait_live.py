"""Wait for releases. Report each one when it is live or has failed, and its progress until then.

At a terminal, progress is a line that changes; elsewhere it is a line every ten seconds. If a
release waits for room on a node, that is reported once, as soon as it is known.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from koco.cli.terminal import output
from koco.client.answers import AnyRelease
from koco.errors import DeployError, Interrupted, TimedOutError, UnreachableError

if TYPE_CHECKING:
    from koco.cli.deploy.ship import Report
    from koco.client.client import Client

#: How long one request waits for a release (seconds): at a terminal, and elsewhere.
_SHOW_S, _POLL_S = 1.0, 4.0
#: The interval of progress lines if there is no terminal (seconds).
_SAY_S = 10.0
#: Releases that have been live this long are checked again, because they may be broken (seconds).
_AGAIN_S = 2.0


@dataclass
class _Waiting:
    """The releases that are starting, and the outcome of the others."""

    client: "Client"
    report: "Report"
    deadline: float | None
    line: output.StatusLine = field(default_factory=output.StatusLine)
    failures: list[DeployError] = field(default_factory=list)
    #: The live releases, and the time when each became live.
    live: list[tuple[float, AnyRelease]] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    last_line: float = field(default_factory=time.monotonic)
    #: The last reported reason for a wait, by service.
    waits: dict[str, str] = field(default_factory=dict)

    def left_s(self) -> float:
        """Return how long the next request may wait."""
        usual = _SHOW_S if self.line.is_shown else _POLL_S
        return usual if self.deadline is None else min(usual, self.deadline - time.monotonic())

    def poll(self, pending: Sequence[AnyRelease]) -> list[AnyRelease]:
        """Fetch each release, report those that are no longer starting, and return the others."""
        rest: list[AnyRelease] = []
        # Waits only for the first, because the state of the others is then known as soon.
        wait_s = max(0.0, self.left_s())
        for release in pending:
            now: AnyRelease = release
            if release["status"] == "starting":
                now = self.client.release(release["service"], release["number"], wait_s=wait_s)
                wait_s = 0.0
            if now["status"] == "starting":
                rest.append(now)
            else:
                self.line.clear()
                self.report_outcome(now, is_unchanged=bool(release.get("unchanged")))
        return rest

    def report_outcome(self, release: AnyRelease, *, is_unchanged: bool) -> None:
        """Report the outcome of a release."""
        is_broken = release.get("error") is not None and not is_unchanged
        if release["status"] == "failed" or is_broken:
            self.failures.append(_failure(self.client, release, self.report))
        elif not is_unchanged:
            service, number = release["service"], release["number"]
            text = f"release {number}  live  {self.report.took()}"
            self.report.result("live", service, text, release=number)
            self.live.append((time.monotonic(), release))

    def progress(self, pending: Sequence[AnyRelease]) -> None:
        """Report the current activity, and the releases that wait for a node."""
        for release in pending:
            waits_for = "; ".join(str(release.get("waits_for") or "").splitlines())
            # Once per shortage, because the amounts in use change all the time.
            if waits_for and release["service"] not in self.waits:
                self.waits[release["service"]] = waits_for
                self._say(release, f"waits for room: {waits_for}", waits_for=waits_for)
        took_s = time.monotonic() - self.began
        if self.line.is_shown and pending:
            doing = ", ".join(f"{each['service']}: {_doing(each)}" for each in pending)
            self.line.show(f"{took_s:.0f} s  {doing}")
        elif time.monotonic() - self.last_line >= _SAY_S:
            self.last_line = time.monotonic()
            for each in pending:
                self._say(each, f"{_doing(each)} ({took_s:.0f} s)")

    def _say(self, release: AnyRelease, text: str, **more: Any) -> None:
        self.line.clear()
        took_s = round(time.monotonic() - self.began, 3)
        facts = {"release": release["number"], **more, "doing": _doing(release), "took_s": took_s}
        self.report.step("waiting", release["service"], text, **facts)

    def check_again(self) -> None:
        """Report releases that koco found broken during the wait for others."""
        for at, release in self.live:
            if time.monotonic() - at < _AGAIN_S:
                continue
            now = self.client.release(release["service"], release["number"])
            if now.get("error"):
                self.failures.append(_failure(self.client, now, self.report))


def settle(
    client: "Client",
    releases: Iterable[AnyRelease],
    report: "Report",
    *,
    timeout_s: float | None,
) -> None:
    """Wait until each release is live or has failed, and report the outcomes.

    Raises:
        DeployError: some failed, each with its cause.
        TimedOutError: one is still starting after `timeout_s`; the control plane continues.
        UnreachableError: the control plane stays silent; its hint says that the release goes on.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    waiting = _Waiting(client, report, deadline)
    pending: list[AnyRelease] = list(releases)
    try:
        while pending:
            is_last = deadline is not None and deadline <= time.monotonic()
            pending = waiting.poll(pending)
            if is_last:
                break
            waiting.progress(pending)
        waiting.check_again()
    except KeyboardInterrupt:
        waiting.line.clear()
        if not pending:  # all are live, and were only checked again
            raise
        output.begin_line()
        goes_on, again = _goes_on(pending[0])
        raise Interrupted(goes_on, hint=again) from None
    except UnreachableError as exc:
        if pending:
            goes_on, again = _goes_on(pending[0])
            exc.hint = f"{goes_on} once it answers, and {again}"
        raise
    finally:
        waiting.line.clear()
    if waiting.failures:
        raise _join(waiting.failures)
    if pending:
        raise _late(pending[-1])


def _doing(release: AnyRelease) -> str:
    return str(release.get("doing") or "it is starting")


def _late(release: AnyRelease) -> TimedOutError:
    goes_on, again = _goes_on(release)
    reason = "; ".join(str(release.get("waits_for") or "").splitlines())
    late = f"{goes_on}: {reason}" if reason else goes_on
    return TimedOutError(late, hint=f"{again}, `koco status` shows what is live")


def _goes_on(release: AnyRelease) -> tuple[str, str]:
    """Return a message that the control plane continues a release, and a hint how to wait again."""
    service, number = release["service"], release["number"]
    command = "rollback" if release.get("origin", {}).get("rollback_of") else "deploy"
    message = f"{service}: release {number} is not ready yet; the control plane goes on with it"
    return message, f"`koco {command}` again waits for it"


def _failure(client: "Client", release: AnyRelease, report: "Report") -> DeployError:
    """Report a failed release and the release that serves; return the error."""
    service, number, error = release["service"], release["number"], release["error"] or {}
    report.failure(service, number, error)
    former = next((f["release"] for f in client.flows() if f["service"] == service), None)
    if not report.as_json and former is not None:
        report.note(f"{service}: release {former} still serves")
    elif not report.as_json and not release.get("fallback", True):
        report.note(f"{service}: nothing serves now, because of --no-rollback-on-failure")
    return DeployError(
        f"{service}: release {number} failed: {error.get('message')}",
        detail=error.get("detail"),
        hint=error.get("hint"),
    )


def _join(failures: list[DeployError]) -> DeployError:
    """Return one error that combines all failures."""
    if len(failures) == 1:
        return failures[0]
    return DeployError(
        "\n".join(each.message for each in failures),
        detail="\n\n".join(each.detail for each in failures if each.detail) or None,
        hint=next((each.hint for each in failures if each.hint), None),
    )
