"""`koco logout`: end the session of the current context."""

from typing import Annotated

from koco.cli import connection
from koco.cli.parameters import Option
from koco.cli.terminal import output
from koco.client import context_file
from koco.errors import UnauthorizedError, UsageError


def command(
    as_json: Annotated[bool, Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Log out: end the session of the current context.

    The session ends everywhere. The context is kept, and `koco login` begins another session.
    A context with a key has no session.

    Example: koco logout
    """
    context = connection.context()
    if not context.is_session:
        state = "a key, not" if context.key else "neither a key nor"
        hint = "`koco context remove` removes it; an admin can revoke a key: `koco key revoke`"
        raise UsageError(f"the context {context.name!r} has {state} a session", hint=hint)
    is_over = False
    try:
        connection.connect().log_out()
    except UnauthorizedError:
        is_over = True
    # Keep it if the key came from the environment, or if somebody has logged in again meanwhile.
    kept = context_file.load_contexts().get(context.name)
    if kept is not None and kept.key == context.key:
        context_file.save_context(kept._replace(key=""), make_current=False)
    if as_json:
        output.print_json({"name": context.name, "user": context.user or None})
        return
    if is_over:
        output.note("the session had already ended")
    output.note(f"logged out; `{context.login}` logs in again")
    output.print_line(context.name)
