"""`koco plan --contexts`: what a deploy would change on each of several control planes."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from koco.cli.across import places
from koco.cli.deploy import plan as planning
from koco.cli.deploy import plan_view, python_check
from koco.cli.deploy.plan import Found, Plan
from koco.cli.terminal import output
from koco.client.client import Client
from koco.client.context_file import Context
from koco.errors import ManifestError

if TYPE_CHECKING:
    from koco.project.project import Target

#: The plan of one control plane, or why there is none.
Answer = places.Answer[Plan]


def make(contexts: Sequence[Context], targets: "Sequence[Target]", *, prune: bool) -> list[Answer]:
    """Ask every control plane for the effect of deploying the same targets and files."""
    found = [Found.at(target) for target in targets]

    def ask(client: Client) -> Plan:
        python_check.check(client, targets)
        return planning.ask(client, found, prune=prune)

    return places.ask(contexts, ask)


def show(
    answers: Sequence[Answer], stream: TextIO, *, details: bool, verbose: bool = False
) -> None:
    """Write the plans to a stream, each below its context."""
    for each in answers:
        if each.value is not None:
            text = output.inline(f"context {each.context.name}, at {each.context.url}")
            stream.write(f"{output.paint(text, output.BOLD, stream)}\n")
            plan_view.show(each.value, stream, details=details, verbose=verbose)


def show_progress(answers: Sequence[Answer], *, verbose: bool) -> None:
    """Write the plans to stderr in their short form."""
    show(answers, sys.stderr, details=False, verbose=verbose)


def check(answers: Sequence[Answer], *, unchanged: str = "") -> None:
    """Print warnings, and raise the errors and problems of all contexts as one error."""
    checked: list[Answer] = []
    for each in answers:
        if each.value is None:
            checked.append(each)
            continue
        each.value.warn(f"{each.context.name}: ")
        if each.value.problems:
            problem = ManifestError(each.value.problems)
            checked.append(places.Answer(each.context, error=problem))
    places.check(checked, unchanged=unchanged)
