"""The listener for nodes and flows: bundles by signature, files and secrets by token.

If the API is encrypted, or open to this machine only, the cluster's nodes reach this listener at
the head's address. It is unencrypted, as is all of Ray's own traffic. It accepts no keys.
"""

from typing import Annotated, Any

from litestar import get
from msgspec import Meta

from koco import tokens
from koco.api.http import auth
from koco.api.http.request import Request
from koco.api.openapi.shapes import Shape
from koco.control.services import secrets
from koco.errors import NotAllowedError, NotFoundError, TooManyError, UnauthorizedError
from koco.sdk.process import release_secrets


class Values(Shape):
    """The values of a release's secrets by name, for its own processes."""

    values: Annotated[dict[str, str], Meta(examples=[{"OPENAI_API_KEY": "…"}])]


@get(
    release_secrets.PATH,
    errors=[UnauthorizedError, NotAllowedError, NotFoundError, TooManyError, secrets.SecretError],
)
async def show_values(request: Request) -> Values:
    """Return the values of a release's secrets to its processes, by the release's own token.

    Keys are not accepted here, and a token shows no other release's secrets.
    """
    parts = request.parts
    caller, service, number = auth.authenticate_release(request)
    request.scope["auth"] = caller
    return Values(await parts.vault.values_of(service, number, parts.supervisor.pools))


ROUTES = (show_values,)


def only_for_nodes(app: Any) -> Any:
    """Wrap an ASGI application so that only requests that nodes may make pass."""

    async def serve(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http" and _may(scope):
            await app(scope, receive, send)
        elif scope["type"] == "http":
            # The 404 has no body and reveals nothing. Clients of the API use its own listener.
            headers = [(b"content-length", b"0")]
            await send({"type": "http.response.start", "status": 404, "headers": headers})
            await send({"type": "http.response.body", "body": b""})

    return serve


def _may(scope: dict[str, Any]) -> bool:
    path = scope["path"]
    # The route checks the token, as it checks the signature. Here it only has to look like one.
    if scope["method"] == "GET" and (path.startswith("/bundles/") or path == release_secrets.PATH):
        return True
    shown = dict(scope["headers"]).get(b"authorization", b"")
    return bool(shown.partition(b" ")[2].strip().startswith(tokens.FLOW.encode()))
