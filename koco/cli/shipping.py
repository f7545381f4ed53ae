"""What `koco deploy` does with a plan: bundle, upload, release, wait, remove.

Nothing is sent before every bundle is made: a mistake in one service must not
leave another half deployed. And nothing is sent for what the plan leaves as it is.
"""

import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from koco.cli import changes, lines, output
from koco.errors import ConflictError

if TYPE_CHECKING:
    from koco.bundle import Bundle
    from koco.cli.planning import Plan, Planned
    from koco.client import Client

#: From here on a bundle is remarkable enough to say what makes it so large (bytes).
_LARGE_BYTES = 50 * 2**20

#: How many files that have changed an error names.
_NAMED = 5

#: How long a control plane tries when it is not told (seconds), and how much longer
#: than this command it goes on: it must not give up first.
_READY_S, _LONGER_S = 600.0, 60.0


@dataclass(frozen=True, slots=True)
class Report:
    """Tells how a deploy goes: NDJSON on stdout, or results there and progress on stderr."""

    as_json: bool
    began: float = field(default_factory=time.monotonic)

    def step(self, kind: str, service: str, text: str, **facts: Any) -> None:
        """Tell of something on the way."""
        if self.as_json:
            lines.emit(kind, {"service": service, **facts})
        else:
            output.note(f"{service}: {text}")

    def result(self, kind: str, service: str, text: str, **facts: Any) -> None:
        """Tell what became of a service."""
        if self.as_json:
            took_s = round(time.monotonic() - self.began, 3)
            lines.emit(kind, {"service": service, **facts, "took_s": took_s})
        else:
            output.print_line(f"{service}  {text}")
            output.flush()

    def took(self) -> str:
        """Return how long it has taken so far, as text."""
        return f"({time.monotonic() - self.began:.1f} s)"


@dataclass(frozen=True, slots=True)
class Shipped:
    """The releases that were begun, and why others were not: somebody has deployed meanwhile."""

    releases: list[dict[str, Any]] = field(default_factory=list)
    refused: list[ConflictError] = field(default_factory=list)


def tell(plan: "Plan", report: Report) -> None:
    """Tell what will be done, before any of it is."""
    if report.as_json:
        lines.emit("plan", plan.answer)
    elif not plan.is_empty:
        changes.show(plan, sys.stderr, details=False)


def ship(
    client: "Client",
    plan: "Plan",
    report: Report,
    *,
    timeout_s: float | None,
    fallback: bool = True,
) -> Shipped:
    """Bundle and upload what the plan changes, then begin its releases."""
    changed = []
    for each in plan.services:
        number = each.step["release"]
        if each.step["action"] == "unchanged":
            text = f"unchanged (release {number})"
            report.result("unchanged", each.step["service"], text, release=number)
        else:
            changed.append(each)
    with ExitStack() as stack:
        bundles = [_bundle(each, report, stack) for each in changed]
        for each, bundle in zip(changed, bundles, strict=True):
            if bundle is not None:
                _upload(client, each, bundle, report)
    shipped = Shipped()
    for each, bundle in zip(changed, bundles, strict=True):
        sha256 = bundle.sha256 if bundle is not None else each.step["bundle"]
        try:
            release = _begin(client, each, sha256, timeout_s=timeout_s, fallback=fallback)
        except ConflictError as exc:
            # Somebody else's deploy of one service is no reason against the others.
            shipped.refused.append(exc)
            if len(changed) > 1:
                output.note(exc.message)
            continue
        if each.step.get("drift") and release["unchanged"]:
            output.note(f"{each.step['service']}: its Serve application is put back")
        begun(release, report, ", ".join(_about(each.manifest)))
        shipped.releases.append(release)
    return shipped


def _about(manifest: dict[str, Any]) -> list[str]:
    runtime = manifest.get("runtime", {})
    about = ["with an endpoint of its own"] if manifest.get("app") else []
    if any(runtime.get(key) for key in ("dependencies", "requirements", "pyproject")):
        about.append("its packages are installed first where no node has them")
    return about


def allowed(timeout_s: float | None) -> float | None:
    """Return how long the control plane is to try where this command waits for so long."""
    return None if timeout_s is None else max(_READY_S, timeout_s + _LONGER_S)


def begun(release: dict[str, Any], report: Report, about: str) -> None:
    """Tell that a release is starting, and something about it; or that nothing has changed."""
    service, number = release["service"], release["number"]
    if release["unchanged"]:
        report.result("unchanged", service, f"unchanged (release {number})", release=number)
        return
    text = f"release {number} is starting"
    report.step("release", service, f"{text}, {about}" if about else text, release=number)


def leave(releases: Iterable[dict[str, Any]], report: Report) -> None:
    """Tell which releases go on without being waited for."""
    for release in releases:
        if not report.as_json and release["status"] == "starting":
            service, number = release["service"], release["number"]
            report.result("release", service, f"release {number}  starting")


def check(shipped: Shipped) -> None:
    """Raise `ConflictError` where services were left alone, as somebody has deployed them."""
    if shipped.refused:
        raise _refused(shipped.refused, hint=shipped.refused[0].hint)


def remove(client: "Client", plan: "Plan", report: Report) -> None:
    """Remove the services that the plan removes, once all else is done.

    Raises:
        ConflictError: some were not, as executions run or somebody has deployed them.
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
        hint = "all else is done; `koco undeploy SERVICE --drain` waits for what runs"
        raise _refused(refused, hint=hint)


def _refused(errors: list[ConflictError], *, hint: str | None) -> ConflictError:
    return ConflictError("\n".join(each.message for each in errors), hint=hint)


def _bundle(planned: "Planned", report: Report, stack: ExitStack) -> "Bundle | None":
    """Make a service's bundle; None where the control plane has one of the same files."""
    if planned.step["bundle"] is not None:
        return None
    return stack.enter_context(_pack(planned, report))


def _pack(planned: "Planned", report: Report) -> "Bundle":
    from koco import bundle as bundles
    from koco import listing

    target = planned.target
    patterns = target.manifest.runtime.files
    bundle = bundles.pack(target.root, patterns, without=target.declarations)
    if moved := {*listing.of_zip(bundle.path)} ^ {*planned.files}:
        bundle.remove()
        names = ", ".join(sorted({file.path for file in moved})[:_NAMED])
        raise ConflictError(
            f"{target.root}: files have changed since the plan was made: {names}",
            hint="nothing was sent; deploy again. What is written there meanwhile, as by"
            " `koco deploy > FILE`, belongs into .kocoignore",
        )
    files, size = len(bundle.files), bundle.size_bytes
    report.step(
        "bundled",
        target.manifest.service,
        f"bundled {files} file{'' if files == 1 else 's'}, {changes.size(size)}",
        bundle=bundle.sha256,
        files=files,
        size_bytes=size,
    )
    if warning := bundle.oversize(_LARGE_BYTES):
        output.note(f"{target.manifest.service}: {warning}")
    return bundle


def _upload(client: "Client", planned: "Planned", bundle: "Bundle", report: Report) -> None:
    service, is_there = planned.step["service"], client.has_bundle(bundle.sha256)
    if not is_there:
        with output.progress(f"{service}: uploading", bundle.size_bytes) as advance:
            client.put_bundle(bundle.sha256, bundle.path, advance=advance)
    text = "the control plane has that bundle already" if is_there else "uploaded"
    report.step("uploaded", service, text, bundle=bundle.sha256, skipped=is_there)


def _begin(
    client: "Client", planned: "Planned", bundle: str, *, timeout_s: float | None, fallback: bool
) -> dict[str, Any]:
    from koco.cli.origin import origin

    return client.create_release(
        planned.step["service"],
        manifest=planned.manifest,
        bundle=bundle,
        timeout_s=allowed(timeout_s),
        origin=origin(planned.target),
        fallback=fallback,
        expect=planned.step["expect"],
    )
