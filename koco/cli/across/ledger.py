"""What became of each service on each control plane, and how to go back."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from koco.cli.deploy import ship
from koco.cli.deploy.plan import FullStep, Plan
from koco.client.client import Client
from koco.client.context_file import Context


@dataclass(frozen=True)
class Ledger(ship.Report):
    """Reports a context's deploy, and keeps the last outcome of each service."""

    #: The status and the release, by service.
    outcomes: dict[str, tuple[str, int | None]] = field(default_factory=dict)

    def step(self, kind: str, service: str, text: str, **facts: Any) -> None:
        """Report progress."""
        if kind == "release":
            self.outcomes[service] = ("starting", facts["release"])
        super().step(kind, service, text, **facts)

    def result(self, kind: str, service: str, text: str, **facts: Any) -> None:
        """Report the outcome of a service."""
        status = "starting" if kind == "release" else kind
        known = self.outcomes.get(service, ("", None))
        self.outcomes[service] = (status, facts.get("release", known[1]))
        super().result(kind, service, text, **facts)

    def failure(self, service: str, number: int, error: Mapping[str, Any]) -> None:
        """Report a failed release."""
        self.outcomes[service] = ("failed", number)
        super().failure(service, number, error)


@dataclass
class Site:
    """One control plane of a deploy."""

    context: Context
    client: Client
    plan: Plan
    report: Ledger
    #: Whether its services may have been changed.
    is_begun: bool = False


@dataclass(frozen=True)
class Summary:
    """The state of all sites. `failed` is the one at which the deploy has ended, if it has.

    Without `is_known`, a request to it got no answer, which may have begun a release.
    """

    sites: Sequence[Site]
    failed: Site | None
    is_known: bool
    fallback: bool

    def lines(self, again: str) -> Iterator[str]:
        """Yield the state for people, with commands to go back and to go on."""
        for site in self.sites:
            for step in site.plan.steps:
                yield f"  {site.context.name}  {step['service']}  {self._text(site, step)}"
        backs = [command for site in self.sites for command in self._back(site)]
        if backs:
            yield "to go back:"
            yield from (f"  {command}" for command in backs)
        yield "to go on, which leaves alone what is live:"
        yield f"  {again}"

    def to_json(self, again: str | None) -> dict[str, Any]:
        """Return the state for programs."""
        return {"items": [self._site(site) for site in self.sites], "go_on": again}

    def _site(self, site: Site) -> dict[str, Any]:
        services = []
        for step in site.plan.steps:
            status, release = self._outcome(site, step)
            known = {"service": step["service"], "status": status, "release": release}
            services.append({**known, "former": step["release"]})
        status = "failed" if site is self.failed else "done" if site.is_begun else "untouched"
        facts = {"context": site.context.name, "url": site.context.url, "status": status}
        return {**facts, "services": services, "go_back": list(self._back(site))}

    def _outcome(self, site: Site, step: FullStep) -> tuple[str, int | None]:
        if found := site.report.outcomes.get(step["service"]):
            return found
        is_unknown = site is self.failed and site.is_begun and not self.is_known
        return ("unknown" if is_unknown else "untouched"), None

    def _text(self, site: Site, step: FullStep) -> str:
        status, release = self._outcome(site, step)
        former = step["release"]
        before = "it was not deployed before" if former is None else f"before: release {former}"
        return {
            "live": f"release {release} is live; {before}",
            "starting": f"release {release} is starting; {before}",
            "failed": f"release {release} failed; {before}",
            "unchanged": f"unchanged (release {former})",
            "removed": f"removed; {before}",
            "unknown": f"no answer: a release may have begun; {before}",
        }.get(status, "not changed")

    def _back(self, site: Site) -> Iterator[str]:
        """Yield the commands that bring back what was live on a site."""
        for step in site.plan.steps:
            status, _ = self._outcome(site, step)
            former = step["release"]
            is_lost = status == "failed" and not self.fallback and former is not None
            if status not in ("live", "starting", "removed") and not is_lost:
                continue
            words = ["koco", "--context", site.context.name]
            if former is None:
                words += ["undeploy", step["service"]]
            else:
                words += ["rollback", step["service"], str(former)]
            yield shlex.join(words)
