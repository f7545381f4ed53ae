"""Launch many ended executions again, with or without their recorded steps."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Annotated

from koco.cli import selection
from koco.cli.many import actions
from koco.cli.many.following import Following
from koco.cli.parameters import Option
from koco.cli.terminal import output
from koco.client.client import Client

#: Executions that were retried before have been taken care of.
RETRY = actions.Action(
    "retry",
    "retried",
    statuses=("error",),
    which="failed execution that was not retried",
    harmless=frozenset({"retried"}),
)
RESUME = RETRY._replace(
    verb="resume", done="resumed", which="failed execution that was not resumed"
)

#: The options of both commands.
Again = Annotated[
    bool, Option("--again", help="Of many: also those that were retried or resumed before.")
]
Yes = Annotated[bool, Option("--yes", "-y", help="With filters: launch them without asking.")]
Key = Annotated[
    str | None,
    Option(
        metavar="TEXT",
        help="An idempotency key: however often you try, each is launched only once.",
    ),
]
Json = Annotated[
    bool,
    Option(
        "--json", help="Print JSON: the fid; with --follow, the events; of many, a line for each."
    ),
]


def only_one(fids: Sequence[str] | None, filters: selection.Selection | None) -> str | None:
    """Return the fid if exactly one execution is named, or None for many.

    Raises:
        UsageError: none is selected, or by fids and filters at once.
    """
    selection.require_one(fids or (), filters)
    return fids[0] if fids and len(set(fids)) == 1 else None


def repeat_many(
    client: Client,
    ask: actions.Ask,
    action: actions.Action,
    selected: Sequence[str] | selection.Selection,
    *,
    following: Following,
    key: str | None,
    again: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Launch the selected executions again, print the fids of both, and return the exit code.

    If the new ones are followed, it is their worst outcome; only if all have finished, it is that
    of the refusals.
    """
    if isinstance(selected, dict):
        retried = None if again else False
        if not actions.confirm(client, action, selected, yes=yes, as_json=as_json, retried=retried):
            return 0
    import secrets  # 5 ms, and one execution needs no key

    # If the connection breaks, the same key gives the same executions.
    ask = partial(ask, key=key or secrets.token_urlsafe(12), again=again)
    new: list[str] = []
    outcomes = _note_new(actions.act(ask, action, selected), new)
    count, code = actions.report(outcomes, action, as_json=as_json, is_aside=following.follow)
    if new and (following.follow or following.wait):
        return following.until_ended(client, new, as_json=as_json) or code
    if count and not as_json:
        output.note(f"{count} {action.done}; `koco wait FID…` waits for the new ones")
    elif not count and not as_json:
        output.note(f"nothing was {action.done}")
    return code


def _note_new(outcomes: Iterator[actions.Outcome], new: list[str]) -> Iterator[actions.Outcome]:
    """Yield the outcomes, and append the fid of each new execution to a list."""
    for each in outcomes:
        if each.new is not None:
            new.append(each.new)
        yield each
