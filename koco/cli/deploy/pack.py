"""Make the bundles that a plan needs before the plan is shown.

Files may change at any time: an editor saves, a log grows. So the packed files count, not those
that were read for the plan. If the two differ, the plan is made again from the packed files. The
user sees, confirms and deploys the same plan, even if files change in the meantime.
"""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from koco.cli.deploy import plan as planning
from koco.cli.terminal import output
from koco.project import bundle

if TYPE_CHECKING:
    from koco.cli.deploy.plan import Plan, Planned
    from koco.client.client import Client
    from koco.project.bundle import Bundle

#: How long to pack again if files change in the meantime (seconds).
_PATIENCE_S = 1.0

#: Larger bundles are reported, because packing takes long (bytes).
_LONG_BYTES = 50_000_000


def pack(client: "Client", plan: "Plan", stack: ExitStack) -> "tuple[Plan, dict[str, Bundle]]":
    """Make the bundles that a plan needs; return the plan of their content, and them by service.

    They are removed with `stack`. A plan with problems needs none.
    """
    [plan], bundles = pack_all([(client, plan)], stack)
    return plan, bundles


def pack_all(
    asked: "Sequence[tuple[Client, Plan]]", stack: ExitStack
) -> "tuple[list[Plan], dict[str, Bundle]]":
    """Do the same for plans of several control planes, all made of the same files."""
    plans = [plan for _, plan in asked]
    bundles: dict[str, Bundle] = {}
    while needed := _needed(plans, bundles):
        made = {each.service: stack.enter_context(_steady(each)) for each in needed}
        bundles |= made
        if all(made[each.service].files == each.files for each in needed):
            break
        found = [
            each.holding(bundles[each.service].contents) if each.service in bundles else each
            for each in plans[0].services
        ]
        plans = [planning.ask(client, found, prune=plan.prune) for client, plan in asked]
    return plans, bundles


def _needed(plans: "Sequence[Plan]", bundles: "dict[str, Bundle]") -> "list[Planned]":
    """Return the services whose bundles exist neither on a control plane nor here."""
    if any(plan.problems for plan in plans):
        return []
    needed = {
        each.service: each
        for plan in plans
        for each in plan.changed
        if each.step["bundle"] is None and each.service not in bundles
    }
    return list(needed.values())


def _steady(planned: "Planned") -> "Bundle":
    """Pack a service's files until two results are equal, or until patience ends.

    So files that belong together are deployed together, for example during a branch checkout.
    """
    before, deadline = planned.files, time.monotonic() + _PATIENCE_S
    while True:
        bundle = _packed(planned)
        if bundle.files == before or time.monotonic() > deadline:
            return bundle
        before = bundle.files
        bundle.remove()


def _packed(planned: "Planned") -> "Bundle":
    tree = planned.target.look()
    size_bytes = sum(file.size_bytes for file in tree.files)
    if size_bytes < _LONG_BYTES:
        return bundle.pack(tree)
    with output.progress(f"{planned.service}: packing", size_bytes) as advance:
        return bundle.pack(tree, advance=advance)
