"""`koco deploy --contexts`: deploy the same files to several control planes, one after another.

Every control plane makes its plan and gets the bundles before the first one is changed. Then they
are deployed in the given order, and the first failure ends that, so that what is wrong reaches as
few of them as possible. What became of each is told then, and what to type to go back or go on.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from koco.cli import connection
from koco.cli.across import places, plans
from koco.cli.across.ledger import Ledger, Site, Summary
from koco.cli.deploy import pack, ship, wait_live
from koco.cli.deploy import plan as planning
from koco.cli.terminal import output
from koco.client.context_file import Context
from koco.errors import ConflictError, KocoError, TimedOutError, UnreachableError

if TYPE_CHECKING:
    from koco.project.bundle import Bundle
    from koco.project.project import Target

#: The end of the hint if a deploy stops before the first change.
_UNCHANGED = "nothing was deployed anywhere"


@dataclass(frozen=True)
class Wish:
    """The options of `koco deploy`. `again` is the command line that does the same once more."""

    again: str
    prune: bool
    yes: bool
    fallback: bool
    no_wait: bool
    timeout_s: float | None
    verbose: bool
    as_json: bool
    environment: str | None


def run(contexts: Sequence[Context], targets: "Sequence[Target]", wish: Wish) -> None:
    """Deploy targets to every context.

    Raises:
        KocoError: it did not work everywhere; the message begins with the context.
    """
    if wish.environment and not wish.as_json:
        output.note(f"environment {wish.environment}")
    answers = plans.make(contexts, targets, prune=wish.prune)
    places.check(answers, unchanged=_UNCHANGED)
    asked = [
        (connection.connect(chosen=each.context), each.value)
        for each in answers
        if each.value is not None
    ]
    with ExitStack() as stack:
        packed, bundles = pack.pack_all(asked, stack)
        reports = [Ledger(wish.as_json, context=each.name) for each in contexts]
        clients = [client for client, _ in asked]
        sites = [*map(Site, contexts, clients, packed, reports)]
        _show_plans(sites, wish)
        _confirm(sites, wish)
        _Rollout(sites, bundles, wish).run()


def _show_plans(sites: Sequence[Site], wish: Wish) -> None:
    made = [plans.Answer(site.context, site.plan) for site in sites]
    if wish.as_json:
        for site in sites:
            site.report.write("plan", dict(site.plan.answer))
    else:
        changed = [each for each in made if each.value is not None and not each.value.is_empty]
        plans.show_progress(changed, verbose=wish.verbose)
    plans.check(made, unchanged=_UNCHANGED)


def _confirm(sites: Sequence[Site], wish: Wish) -> None:
    names = ", ".join(
        f"{step['service']} from {site.context.name}"
        for site in sites
        for step in site.plan.removals
    )
    planning.confirm_removal(names, yes=wish.yes, as_json=wish.as_json)


@dataclass(frozen=True)
class _Rollout:
    """Carries out the plans of all sites."""

    sites: Sequence[Site]
    bundles: "Mapping[str, Bundle]"
    wish: Wish

    def run(self) -> None:
        """Upload everywhere, then deploy one site after another, then remove everywhere."""
        deadline = None if self.wish.timeout_s is None else time.monotonic() + self.wish.timeout_s
        current = self.sites[0]
        try:
            for current in self.sites:
                ship.upload(current.client, current.plan, self.bundles, current.report)
            for current in self.sites:
                current.is_begun = True
                self._release(current, deadline)
            refused: list[tuple[str, KocoError]] = []
            for current in self.sites:
                try:
                    ship.remove(current.client, current.plan, current.report)
                except ConflictError as exc:
                    refused.append((current.context.name, exc))
        except KocoError as exc:
            exc.message = "\n".join(
                f"{current.context.name}: {line}" for line in exc.message.split("\n")
            )
            is_known = not isinstance(exc, UnreachableError)
            self._tell(failed=current, is_known=is_known)
            raise
        except KeyboardInterrupt:
            self._tell(failed=current, is_known=False)
            raise
        if refused:
            self._tell(failed=None)
            raise places.join(refused)
        if self.wish.as_json:
            self._tell(failed=None)

    def _release(self, site: Site, deadline: float | None) -> None:
        left_s = None if deadline is None else deadline - time.monotonic()
        if left_s is not None and left_s <= 0 and site.plan.changed:
            raise TimedOutError("there was no time left to deploy here")
        shipped = ship.begin(
            site.client,
            site.plan,
            self.bundles,
            site.report,
            timeout_s=left_s,
            fallback=self.wish.fallback,
        )
        awaited = shipped.releases
        if self.wish.no_wait:
            awaited = ship.leave(awaited, site.report)
        wait_live.settle(site.client, awaited, site.report, timeout_s=left_s)
        ship.check(shipped)

    def _tell(self, *, failed: Site | None, is_known: bool = True) -> None:
        summary = Summary(self.sites, failed, is_known=is_known, fallback=self.wish.fallback)
        if self.wish.as_json:
            again = self.wish.again if failed else None
            failed_or_first = failed or self.sites[0]
            failed_or_first.report.emit("contexts", summary.to_json(again))
            return
        for line in summary.lines(self.wish.again):
            output.note(line)
