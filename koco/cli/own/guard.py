"""A process that waits for the end of a command, and removes the services that it leaves behind.

It is started by `koco.cli.own.services`, in a session of its own, so that it outlives `kill -9` and
a closed terminal. Its stdin is a pipe from the command: each line is the name of a service, and
`DONE` says that nothing is left. At the end of the pipe, it removes the services.
"""

import sys

#: What the command writes once it has removed its services itself.
DONE = "."


def main() -> None:
    """Wait for the command's end, then remove what it left."""
    services: list[str] = []
    for line in sys.stdin:
        name = line.strip()
        if name == DONE:
            return
        services.append(name)
    _remove(services)


def _remove(services: list[str]) -> None:
    # Imported now, because this process usually only waits, and should be small meanwhile.
    import contextlib

    from koco.cli import connection
    from koco.errors import KocoError

    connection.choose(sys.argv[1] if len(sys.argv) > 1 else None)
    client = connection.connect()
    for service in services:
        with contextlib.suppress(KocoError):  # this process has no reader for its errors
            client.undeploy(service, running="cancel", grace_s=0)


if __name__ == "__main__":
    main()
