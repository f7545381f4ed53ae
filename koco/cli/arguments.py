"""Arguments and options that several commands share."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from koco.cli.parameters import Argument, Option
from koco.errors import UsageError

if TYPE_CHECKING:
    from koco.client.client import Client

#: The execution to look at; `-` stands for the latest.
Fid = Annotated[
    str,
    Argument(
        metavar="[FID]",
        show_default=False,
        help="The execution: its fid, or SERVICE/FLOW for its latest [default: latest of all].",
    ),
]

#: An execution that must be named.
OneFid = Annotated[
    str,
    Argument(metavar="FID", help="The execution: its fid, or the start of it if that is unique."),
]

#: What a new key or user may do.
Scopes = Annotated[
    list[str] | None,
    Option("--scope", metavar="SCOPE", help="A permission (repeatable) [default: launch]."),
]
Flows = Annotated[
    list[str] | None,
    Option("--flow", metavar="GLOB", help="Only these flows, such as hymn/* (repeatable)."),
]

#: The schedules that a command changes.
Schedules = Annotated[list[str], Argument(metavar="SCHEDULE…", help="Ids of schedules, or flows.")]

#: Several control planes at once.
Contexts = Annotated[
    str | None,
    Option("--contexts", metavar="NAME,…", help="These contexts instead of the current one."),
]

#: The environment variable with a secret that a webhook's receiver knows already.
WEBHOOK_SECRET = "KOCO_WEBHOOK_SECRET"

#: The environment of the project, and further `.env` files.
Env = Annotated[
    str | None, Option("--env", metavar="NAME", help="The environment of koco.toml to use.")
]
EnvFiles = Annotated[
    list[Path] | None,
    Option(
        "--env-file",
        metavar="FILE",
        help="Read variables for ${NAME} in manifests from a file (repeatable).",
    ),
]


def split_scopes(given: list[str] | None) -> list[str]:
    """Return the scopes in the values of `Scopes`, each of which may be a comma-separated list."""
    return [scope for value in given or ["launch"] for scope in value.split(",") if scope]


def require_name(given: str, what: str) -> None:
    """Refuse KEY=VALUE where a name is expected.

    Raises:
        UsageError: it is a value without its `-i`.
    """
    if "=" in given:
        hint = f"to give a value: `-i {shlex.quote(given)}`"
        raise UsageError(f"{given!r} is not the name of {what}", hint=hint)


def resolve_fid(client: "Client", given: str) -> str:
    """Return the fid that an argument stands for: for SERVICE/FLOW, that of its latest execution.

    Commands that change an execution do not use this, because the latest may be somebody else's.

    Raises:
        NotFoundError: that flow has no execution.
    """
    return client.latest(given) if "/" in given else given
