"""Follow the statuses of several executions over one connection."""

from collections.abc import Iterator, Mapping
from typing import Any

from koco.client.answers import Execution
from koco.client.client import Client


def follow(client: Client, executions: Mapping[str, Execution]) -> Iterator[tuple[str, str]]:
    """Yield `(fid, status)`: the present status of each execution, then each change until the end.

    A status that an execution had before it was looked up is not yielded.
    """
    for fid, execution in executions.items():
        yield fid, execution["status"]
    for fid, seq, status in changes(client, list(executions)):
        if seq > executions[fid]["last_seq"]:
            yield fid, status


def changes(client: Client, fids: list[str]) -> Iterator[tuple[str, int, str]]:
    """Yield `(fid, seq, status)`: each status that the executions have had, and will have."""
    stream = client.stream_many(fids, kinds=("status",), follow=True)
    for arrived in stream:
        for each in arrived:
            event: Any = stream.decode(each.line)
            yield each.fid, event["seq"], str(event["payload"]["status"])
