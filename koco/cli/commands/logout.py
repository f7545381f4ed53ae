"""`koco logout`: end the session, and forget it."""

from typing import Annotated

import typer


def command(
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """End the current context's session: it is good for nothing any more, also elsewhere.

    The context stays; `koco login` begins another session. A key is no session.

    Example: koco logout
    """
    from dataclasses import replace

    from koco.cli import connection
    from koco.cli.terminal import output
    from koco.client import context_file
    from koco.errors import UnauthorizedError, UsageError

    context = connection.context()
    if not context.is_session:
        what = f"the context {context.name!r} has {'a key' if context.key else 'no key'}"
        hint = "`koco context remove` forgets it; an admin's `koco key revoke` ends a key"
        raise UsageError(f"{what}, and no session", hint=hint)
    was_over = False
    try:
        connection.connect().log_out()
    except UnauthorizedError:
        was_over = True
    # Not where the environment has it, or where somebody has logged in again meanwhile.
    kept = context_file.load_contexts().get(context.name)
    if kept is not None and kept.key == context.key:
        context_file.save_context(replace(kept, key=""), make_current=False)
    if as_json:
        output.print_json({"name": context.name, "user": context.user or None})
        return
    if was_over:
        output.note("the session was over already")
    output.note(f"logged out; `{context.login}` logs in again")
    output.print_line(context.name)
