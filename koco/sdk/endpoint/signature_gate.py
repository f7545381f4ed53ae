"""The gate of a service's own endpoint: admits requests that its control plane has signed.

Unsigned requests pass only to paths that the manifest makes public, and then without a user.
"""

import json
import os
import time
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from koco.errors import UnauthorizedError, UsageError
from koco.events.questions import EndpointKey
from koco.sdk.endpoint import headers as passing
from koco.sdk.endpoint import place, public
from koco.sdk.endpoint.signing import (
    SIGNATURE,
    Claim,
    Verifier,
    WrongSignature,
    digest_of,
    refuse_unsigned,
)

#: The largest accepted body (bytes); the control plane does not forward larger ones.
BODY_BYTES = 16 * 1024 * 1024
#: A wrong signature makes the gate fetch the key again, but not more often than this (seconds).
_FETCH_S = 5.0


def path_of(scope: Any) -> str:
    """Return the path as the application's routes see it."""
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    return path[len(root) :] if root and f"{path}/".startswith(f"{root}/") else path


class Gate:
    """Admits signed requests. It fetches the key from the control plane at the first request."""

    def __init__(self, flows: Collection[str]) -> None:
        """`flows` are the paths that launch something; they are never public."""
        self._flows = flows
        self._verifier: Verifier | None = None
        self._fetched = 0.0
        #: Fetches the key; None asks the control plane through Ray.
        self.key: Callable[[], Awaitable[bytes]] | None = None

    def __getstate__(self) -> dict[str, Any]:
        # Serve pickles an application; the nonces seen so far belong to this process.
        return {"_flows": self._flows, "_verifier": None, "_fetched": 0.0, "key": self.key}

    async def admit(self, scope: Any, receive: Any) -> Any:
        """Return a new source of the request's body; record the caller in the request's state.

        Other claims about the caller are removed from the request's headers. The scope of a signed
        request gets the place of the app as its caller sees it.

        Raises:
            UnauthorizedError: the control plane has not signed it, and its path is not public.
        """
        # If a header occurs several times the first counts, as everywhere in Starlette.
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1")
            for name, value in reversed(scope["headers"])
        }
        claim, path = None, path_of(scope)
        target = path
        named = json.loads(os.environ.get(public.VARIABLE) or "[]")
        is_public = target not in self._flows and public.is_public(target, named)
        if SIGNATURE in headers or not is_public:
            if query := scope.get("query_string", b"").decode("latin-1"):
                target = f"{target}?{query}"
            claim = await self._verify(scope["method"], target, headers)
        receive = await _read_body(receive, claim)
        scope["headers"] = passing.without_claims(scope["headers"])
        user, fid = (claim.user, claim.fid) if claim else ("", "")
        scope.setdefault("state", {}).update(user=user, fid=fid)
        if claim is not None:
            place.move(scope, headers.get(place.BASE, ""), path)
        return receive

    async def _verify(self, method: str, target: str, headers: dict[str, str]) -> Claim:
        refuse_unsigned(headers)  # first, because fetching the key costs a call
        if self._verifier is None:
            await self._fetch()
        assert self._verifier is not None
        try:
            return self._verifier.verify(method, target, headers)
        except WrongSignature:
            # Another store has other keys. Limit the rate, because anybody may send signatures.
            if time.monotonic() - self._fetched < _FETCH_S or not await self._fetch():
                raise
            return self._verifier.verify(method, target, headers)

    async def _fetch(self) -> bool:
        """Fetch the key; return whether it has changed."""
        self._fetched = time.monotonic()
        key = await (self.key or _ask_for_key)()
        if self._verifier is not None and self._verifier.key == key:
            return False
        self._verifier = Verifier(key)
        return True


async def _read_body(receive: Any, claim: Claim | None) -> Any:
    """Read a body and compare it with its signed digest; return a source that repeats it."""
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise UsageError("the request ended before its body was complete")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        more = message.get("more_body", False)
        if size > BODY_BYTES:
            raise UsageError(f"the body is larger than {BODY_BYTES >> 20} MiB")
    body = b"".join(parts)
    if claim is not None and digest_of(body) != claim.digest:
        raise UnauthorizedError("the request's body is not the one that was signed")
    given = False

    async def repeat() -> Any:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return repeat


async def _ask_for_key() -> bytes:
    from koco.sdk.process import control_client

    service, release = os.environ.get("KOCO_SERVICE"), os.environ.get("KOCO_RELEASE")
    if not service or not release:
        raise UnauthorizedError(
            "this endpoint runs outside koco and has no control plane to answer",
            hint="`koco deploy` deploys it; `koco.testing.submit` tries it without Ray",
        )
    question = EndpointKey(service=service, release=int(release))
    return bytes.fromhex(await control_client.ask(question))
