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
    stream = client.stream_many(list(executions), kinds=("status",), follow=True)
    for arrived in stream:
        for each in arrived:
            event: Any = stream.decode(each.line)
            if event["seq"] > executions[each.fid]["last_seq"]:
                yield each.fid, str(event["payload"]["status"])
