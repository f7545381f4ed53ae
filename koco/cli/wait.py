"""`koco wait`: until executions have ended."""

from typing import Annotated

import typer

#: Final statuses, the worst last.
_SEVERITY = ("finished", "cancelled", "error")


def command(
    fids: Annotated[
        list[str], typer.Argument(metavar="FID…", help="The executions: fids or unique prefixes.")
    ],
    timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Wait no longer than that, for all.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print each execution as one line of JSON.")
    ] = False,
) -> int:
    """Wait until executions have ended; print each with its status.

    The exit code is the worst outcome: 1 if one ended in error, else 7 if one
    was cancelled, else 0.

    Example: koco wait 5wzk 7qpa --timeout 600
    """
    from koco.cli import clock, output, session, stream
    from koco.errors import TimedOutError

    clock.check(timeout)
    client = session.connect()
    # All are looked up first: a mistyped one is told of now, not after an hour.
    names = [str(client.execution(fid)["fid"]) for fid in fids]
    ended: list[str] = []

    def late() -> TimedOutError:
        missing = ", ".join(names[len(ended) :])
        return TimedOutError(f"not ended within {timeout:g} s: {missing}", hint="they go on")

    with clock.limit(timeout, late):
        for fid in names:
            # Its stream of status changes ends with it: nobody polls.
            events = client.stream(fid, kinds=("status",), follow=True)
            ended.append(stream.follow(events, None))
            if as_json:
                output.print_ndjson(client.execution(fid))
            else:
                output.print_line(f"{fid}\t{ended[-1]}")
                output.flush()
    return stream.OUTCOMES[max(ended, key=_SEVERITY.index)]
