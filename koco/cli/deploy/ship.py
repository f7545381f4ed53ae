"""Carry out a plan with its bundles: upload, release, wait, remove.

Nothing is sent before every bundle is made, because a mistake in one service must not leave another
half deployed. Services that the plan leaves unchanged are not sent.
"""

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from koco.cli.deploy import plan_view
from koco.cli.deploy.origin import origin
from koco.cli.terminal import ndjson, output
from koco.client.answers import AnyRelease, BegunRelease, RolledBack
from koco.errors import ConflictError
from koco.plurals import counted
from koco.sizes import format_size

if TYPE_CHECKING:
    from koco.cli.deploy.plan import Plan, Planned
    from koco.client.client import Client
    from koco.project.bundle import Bundle

#: How long a control plane tries by default (seconds), and how much longer than this command it
#: continues, because it must not give up first.
_READY_S, _LONGER_S = 600.0, 60.0

#: The upload of a smaller bundle shows no progress, because it is over before anybody reads that.
_SMALL_BYTES = 500_000


@dataclass(frozen=True, slots=True)
class Report:
    """Reports a deploy's progress: NDJSON on stdout, or results there and progress on stderr."""

    as_json: bool
    began: float = field(default_factory=time.monotonic)
    #: Writes a line for programs.
    emit: Callable[[str, dict[str, Any]], object] = ndjson.emit
    #: The name of the context, if there are several.
    context: str = ""

    def step(self, kind: str, service: str, text: str, **facts: Any) -> None:
        """Report progress."""
        if self.as_json:
            self.write(kind, {"service": service, **facts})
        else:
            self.note(f"{service}: {text}")

    def result(self, kind: str, service: str, text: str, **facts: Any) -> None:
        """Report the outcome of a service."""
        if self.as_json:
            took_s = round(time.monotonic() - self.began, 3)
            self.write(kind, {"service": service, **facts, "took_s": took_s})
        else:
            where = f"{self.context}  " if self.context else ""
            output.print_line(f"{where}{service}  {text}")
            output.flush()

    def failure(self, service: str, number: int, error: Mapping[str, Any]) -> None:
        """Report a failed release to programs; people get the command's error."""
        if self.as_json:
            self.result("failed", service, "", release=number, error=error)

    def write(self, kind: str, facts: dict[str, Any]) -> None:
        """Write a line for programs."""
        self.emit(kind, {"context": self.context, **facts} if self.context else facts)

    def note(self, text: str) -> None:
        """Tell people something."""
        output.note(f"{self.context}: {text}" if self.context else text)

    def took(self) -> str:
        """Return the time since the start, as text."""
        return f"({time.monotonic() - self.began:.1f} s)"


@dataclass(frozen=True, slots=True)
class Shipped:
    """The releases that were begun, and the conflicts of those that were not.

    A conflict means that somebody else deployed the service in the meantime.
    """

    releases: list[AnyRelease] = field(default_factory=list)
    refused: list[ConflictError] = field(default_factory=list)


def show_plan(plan: "Plan", report: Report, *, verbose: bool = False) -> None:
    """Report the planned actions before any of them starts."""
    if report.as_json:
        report.write("plan", dict(plan.answer))
    elif not plan.is_empty:
        plan_view.show(plan, sys.stderr, details=False, verbose=verbose)


def ship(
    client: "Client",
    plan: "Plan",
    bundles: "Mapping[str, Bundle]",
    report: Report,
    *,
    timeout_s: float | None,
    fallback: bool = True,
) -> Shipped:
    """Upload the bundles of changed services, then begin their releases."""
    upload(client, plan, bundles, report)
    return begin(client, plan, bundles, report, timeout_s=timeout_s, fallback=fallback)


def upload(client: "Client", plan: "Plan", bundles: "Mapping[str, Bundle]", report: Report) -> None:
    """Upload the bundles of changed services that are not there."""
    for each in plan.services:
        number = each.step["release"]
        if each.step["action"] == "unchanged":
            text = f"unchanged (release {number})"
            report.result("unchanged", each.service, text, release=number)
    ours = {each.service: bundles[each.service] for each in plan.changed if not each.step["bundle"]}
    for service, bundle in ours.items():
        _report_bundle(service, bundle, report)
    for service, bundle in ours.items():
        _upload(client, service, bundle, report)


def begin(
    client: "Client",
    plan: "Plan",
    bundles: "Mapping[str, Bundle]",
    report: Report,
    *,
    timeout_s: float | None,
    fallback: bool = True,
) -> Shipped:
    """Begin the releases of changed services, whose bundles are uploaded."""
    shipped = Shipped()
    for each in plan.changed:
        sha256 = each.step["bundle"] or bundles[each.service].sha256
        try:
            release = _begin(client, each, sha256, timeout_s=timeout_s, fallback=fallback)
        except ConflictError as exc:
            # A conflict in one service does not stop the others.
            shipped.refused.append(exc)
            if len(plan.changed) > 1:
                report.note(exc.message)
            continue
        if each.step.get("drift") and release["unchanged"]:
            report.note(f"{each.service}: its Serve application is restored")
        report_begun(release, report, ", ".join(_about(each.manifest)))
        shipped.releases.append(release)
    return shipped


def _about(manifest: dict[str, Any]) -> list[str]:
    runtime = manifest.get("runtime", {})
    about = ["with its own endpoint"] if manifest.get("app") else []
    if any(runtime.get(key) for key in ("dependencies", "requirements", "pyproject")):
        about.append("its packages are installed first on nodes that lack them")
    return about


def server_timeout_s(timeout_s: float | None) -> float | None:
    """Return how long the control plane may try if this command waits that long."""
    return None if timeout_s is None else max(_READY_S, timeout_s + _LONGER_S)


def report_begun(release: BegunRelease | RolledBack, report: Report, about: str) -> None:
    """Report that a release is starting, with a remark about it, or that nothing has changed.

    A release that has failed by now was already in progress when the plan was made. The code that
    waits for it reports that.
    """
    service, number = release["service"], release["number"]
    if release["unchanged"]:
        report.result("unchanged", service, f"unchanged (release {number})", release=number)
        return
    if release["status"] != "starting":
        return
    text = f"release {number} is starting"
    report.step("release", service, f"{text}, {about}" if about else text, release=number)


def leave(releases: Iterable[AnyRelease], report: Report) -> list[AnyRelease]:
    """Report which releases continue without a wait; return the others."""
    others = []
    for release in releases:
        if release["status"] != "starting":
            others.append(release)
        elif not report.as_json:
            service, number = release["service"], release["number"]
            report.result("release", service, f"release {number}  starting")
    return others


def check(shipped: Shipped) -> None:
    """Raise `ConflictError` if services were left alone because somebody else has deployed them."""
    if shipped.refused:
        raise _join_conflicts(shipped.refused, hint=shipped.refused[0].hint)


def remove(client: "Client", plan: "Plan", report: Report) -> None:
    """Remove the services that the plan removes, after everything else is done.

    Raises:
        ConflictError: some were kept, because executions run or somebody else has deployed them.
    """
    refused: list[ConflictError] = []
    for step in plan.removals:
        try:
            client.undeploy(step["service"], expect=step["expect"])
        except ConflictError as exc:
            refused.append(exc)
            continue
        report.result("removed", step["service"], "removed", release=step["release"])
    if refused:
        hint = (
            "everything else is done; `koco undeploy SERVICE --drain` waits for running executions"
        )
        raise _join_conflicts(refused, hint=hint)


def _join_conflicts(errors: list[ConflictError], *, hint: str | None) -> ConflictError:
    return ConflictError("\n".join(each.message for each in errors), hint=hint)


def _report_bundle(service: str, bundle: "Bundle", report: Report) -> None:
    """Report a finished bundle."""
    files, size = len(bundle.files), bundle.size_bytes
    report.step(
        "bundled",
        service,
        f"bundled {counted(files, 'file')}, {format_size(size)}",
        bundle=bundle.sha256,
        files=files,
        size_bytes=size,
    )


def _upload(client: "Client", service: str, bundle: "Bundle", report: Report) -> None:
    is_there = client.has_bundle(bundle.sha256)
    if not is_there and bundle.size_bytes < _SMALL_BYTES:
        client.put_bundle(bundle.sha256, bundle.path)
    elif not is_there:
        with output.progress(f"{service}: uploading", bundle.size_bytes) as advance:
            client.put_bundle(bundle.sha256, bundle.path, advance=advance)
    text = "the control plane already has this bundle" if is_there else "uploaded"
    report.step("uploaded", service, text, bundle=bundle.sha256, skipped=is_there)


def _begin(
    client: "Client", planned: "Planned", bundle: str, *, timeout_s: float | None, fallback: bool
) -> BegunRelease:
    return client.create_release(
        planned.service,
        manifest=planned.manifest,
        bundle=bundle,
        timeout_s=server_timeout_s(timeout_s),
        origin=origin(planned.target),
        fallback=fallback,
        expect=planned.step["expect"],
    )
