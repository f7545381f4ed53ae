"""The options of commands that select executions: fids, or filters."""

from collections.abc import Sequence
from typing import Annotated, TypedDict

from koco.cli.parameters import Argument, Option
from koco.cli.terminal import times
from koco.errors import UsageError

#: The executions that a command of many acts on.
Fids = Annotated[
    list[str] | None,
    Argument(
        metavar="[FID…]",
        help="The executions: fids, or unique starts of them.",
        show_default=False,
    ),
]

#: The filters of all commands that select executions.
Status = Annotated[
    list[str] | None, Option(metavar="STATUS", help="Those with this status (repeatable).")
]
Flow = Annotated[str | None, Option(metavar="FLOW", help="Those of this flow.")]
Service = Annotated[str | None, Option(metavar="SERVICE", help="Those of this service.")]
User = Annotated[str | None, Option(metavar="NAME", help="Those launched by this user or key.")]
Tag = Annotated[
    list[str] | None,
    Option(metavar="TAG", help="Those with this tag (repeatable; all must match)."),
]
Since = Annotated[
    str | None,
    Option(
        metavar="TIME",
        help="Those created since then: 24h, yesterday, monday, 14:30, or RFC 3339.",
    ),
]
Until = Annotated[
    str | None,
    Option("--until", "--before", metavar="TIME", help="Those created before then."),
]
Parent = Annotated[str | None, Option(metavar="FID", help="Those launched by this execution.")]
Search = Annotated[
    str | None,
    Option(
        metavar="WORDS",
        help='Those with all these words, "phrases" or prefix* in inputs, result or error.',
    ),
]


class Filters(TypedDict):
    """The filters of `koco ps`, as the client takes them."""

    statuses: list[str]
    flow: str | None
    service: str | None
    user: str | None
    tags: Sequence[str]
    since: str | None
    until: str | None


class Selection(Filters):
    """The filters of commands that act on all executions that match."""

    search: str | None
    parent: str | None


def read_filters(
    status: list[str] | None,
    flow: str | None,
    service: str | None,
    user: str | None,
    tag: list[str] | None,
    since: str | None,
    until: str | None,
    *,
    search: str | None = None,
    parent: str | None = None,
) -> Selection | None:
    """Return the filters in a command's options, or None if it has none."""
    given = (status, flow, service, user, tag, since, until)
    if not any((*given, search, parent)):
        return None
    return Selection(**make_filters(*given), search=search, parent=parent)


def make_filters(
    status: list[str] | None,
    flow: str | None,
    service: str | None,
    user: str | None,
    tag: list[str] | None,
    since: str | None,
    until: str | None,
) -> Filters:
    """Return the filters in a command's options.

    Raises:
        UsageError: a status or a time is invalid.
    """
    from koco.cli import words  # tables that help does not need

    return Filters(
        statuses=words.statuses(status or ()),
        flow=flow,
        service=service,
        user=user,
        tags=tag or (),
        since=times.moment(since, "--since"),
        until=times.moment(until, "--until"),
    )


def require_one(fids: Sequence[str], filters: Selection | None) -> None:
    """Refuse a command line with neither fids nor filters, or with both.

    Raises:
        UsageError: it has.
    """
    if not fids and filters is None:
        raise UsageError(
            "which executions? None is named", hint="give fids, or filters such as --status error"
        )
    if fids and filters is not None:
        raise UsageError(
            "fids and filters contradict each other", hint="give either fids or filters"
        )
