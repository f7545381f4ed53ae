"""What nodes and flows fetch, on a listener of its own: bundles by signature, files by token.

Where the API is encrypted, or on this machine only, the cluster's nodes reach it
at the head's address, in clear as all that Ray itself sends. No key is taken there.
"""

from typing import Any

from koco import tokens


def only_for_nodes(app: Any) -> Any:
    """Return an ASGI application that lets through what nodes may ask of another."""

    async def serve(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http" and _may(scope):
            await app(scope, receive, send)
        elif scope["type"] == "http":
            # Without a word of what there would be: who should see it asks the API.
            headers = [(b"content-length", b"0")]
            await send({"type": "http.response.start", "status": 404, "headers": headers})
            await send({"type": "http.response.body", "body": b""})

    return serve


def _may(scope: dict[str, Any]) -> bool:
    if scope["method"] == "GET" and scope["path"].startswith("/bundles/"):
        return True
    shown = dict(scope["headers"]).get(b"authorization", b"")
    return bool(shown.partition(b" ")[2].strip().startswith(tokens.FLOW.encode()))
