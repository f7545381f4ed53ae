"""Many requests at once, from a process of its own: `python -m tests.support.burst URL KEY …`.

Each has a connection of its own. All are opened before the first request is sent, which the line
`ready` says. The last line is `[{status: count}, number of fids, some of them]` as JSON.
"""

import asyncio
import json
import resource
import sys
from collections import Counter
from urllib.parse import urlsplit

#: Connections that are being opened at once: the server's backlog is no part of this.
_OPENING = 100
#: How many of the fids are told.
_TOLD = 20


async def _main(url: str, key: str, path: str, content: str, count: int) -> None:
    where, opening = urlsplit(url), asyncio.Semaphore(_OPENING)
    body, method = content.encode(), "POST" if content else "GET"
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: {where.netloc}\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()

    async def opened() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with opening:
            return await asyncio.open_connection(where.hostname, where.port)

    async def answered(reader: asyncio.StreamReader) -> tuple[int, str]:
        answer = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = answer.partition("content-length:")[2].partition("\r\n")[0]
        content = await reader.readexactly(int(length or 0))
        status = int(answer.split()[1])
        return status, json.loads(content)["result"] if status == 201 else ""

    connections = await asyncio.gather(*(opened() for _ in range(count)))
    print("ready", flush=True)
    for _, writer in connections:
        writer.write(head + body)
    answers = await asyncio.gather(*(answered(reader) for reader, _ in connections))
    statuses = Counter(status for status, _ in answers)
    fids = sorted({fid for _, fid in answers if fid})
    print(json.dumps([statuses, len(fids), fids[:_TOLD]]), flush=True)


if __name__ == "__main__":
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    asyncio.run(_main(*sys.argv[1:5], int(sys.argv[5])))
