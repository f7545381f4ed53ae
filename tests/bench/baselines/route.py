"""Bare litestar routes, one that takes JSON and one that does not, under uvicorn as koco's is."""

import socket
import sys
from typing import Any

import uvicorn
from litestar import Litestar, get, post


@post("/flows/{name:path}")
async def answer(name: str, data: dict[str, Any]) -> dict[str, str]:
    """Answer as a launch does, and do nothing."""
    return {"result": name}


@get("/health")
async def look() -> dict[str, str]:
    """Answer with as little as there can be."""
    return {"status": "ok"}


def main() -> None:
    """Serve on a free port; its number is the first line of standard output."""
    # Named as TCP: asyncio turns Nagle off for such sockets only.
    listener = socket.socket(proto=socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    app = Litestar([answer, look], openapi_config=None, logging_config=None)
    config = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="off", server_header=False
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    sys.exit(main())
