"""The gate of an endpoint of one's own: what its control plane has signed passes, and the public.

The public passes where the manifest names the path, and is nobody there.
"""

import json
import os
import time
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from koco.errors import UnauthorizedError, UsageError
from koco.sdk import headers as passing
from koco.sdk import public
from koco.sdk.signing import (
    SIGNATURE,
    Claim,
    Verifier,
    WrongSignature,
    digest_of,
    refuse_unsigned,
)

#: The largest body that is taken (bytes); the control plane forwards no larger one.
BODY_BYTES = 16 * 1024 * 1024
#: How long a key is taken for the right one before a wrong signature has it asked for anew (s).
_FETCH_S = 5.0


def path_of(scope: Any) -> str:
    """Return the path that the application's routes see."""
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    return path[len(root) :] if root and f"{path}/".startswith(f"{root}/") else path


class Gate:
    """Lets signed requests pass. The key comes with the first one, from the control plane."""

    def __init__(self, flows: Collection[str]) -> None:
        """`flows` are the paths where something is launched, which are nobody's."""
        self._flows = flows
        self._verifier: Verifier | None = None
        self._fetched = 0.0
        #: Where the key comes from; None asks the control plane through Ray.
        self.key: Callable[[], Awaitable[bytes]] | None = None

    def __getstate__(self) -> dict[str, Any]:
        # Serve pickles an application; the numbers that were seen are this process's.
        return {"_flows": self._flows, "_verifier": None, "_fetched": 0.0, "key": self.key}

    async def admit(self, scope: Any, receive: Any) -> Any:
        """Return where a request's body comes from; say in its state who asks.

        What else says who asks is taken out of its headers.

        Raises:
            UnauthorizedError: it is not signed by the control plane, and its path not public.
        """
        # Of several of one name the first counts, as everywhere in Starlette.
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1")
            for name, value in reversed(scope["headers"])
        }
        claim = None
        if SIGNATURE in headers or not self._is_public(path_of(scope)):
            claim = await self._verified(scope["method"], _target(scope), headers)
        receive = await _whole(receive, claim)
        scope["headers"] = passing.harmless(scope["headers"])
        user, fid = (claim.user, claim.fid) if claim else ("", "")
        scope.setdefault("state", {}).update(user=user, fid=fid)
        return receive

    def _is_public(self, path: str) -> bool:
        named = json.loads(os.environ.get(public.VARIABLE) or "[]")
        return path not in self._flows and public.is_public(path, named)

    async def _verified(self, method: str, target: str, headers: dict[str, str]) -> Claim:
        refuse_unsigned(headers)  # asking for the key costs a call
        if self._verifier is None:
            await self._fetch()
        assert self._verifier is not None
        try:
            return self._verifier.verify(method, target, headers)
        except WrongSignature:
            # Another store has other keys; whoever only guesses does not make us ask each time.
            if time.monotonic() - self._fetched < _FETCH_S or not await self._fetch():
                raise
            return self._verifier.verify(method, target, headers)

    async def _fetch(self) -> bool:
        """Ask for the key; say whether it is another than before."""
        self._fetched = time.monotonic()
        key = await (self.key or _ask_for_key)()
        if self._verifier is not None and self._verifier.key == key:
            return False
        self._verifier = Verifier(key)
        return True


def _target(scope: Any) -> str:
    query = scope.get("query_string", b"").decode("latin-1")
    return f"{path_of(scope)}?{query}" if query else path_of(scope)


async def _whole(receive: Any, claim: Claim | None) -> Any:
    """Read a body and hold it against what was signed; return what gives it once more."""
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise UsageError("the request ended before its body did")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        more = message.get("more_body", False)
        if size > BODY_BYTES:
            raise UsageError(f"the body is larger than {BODY_BYTES >> 20} MiB")
    body = b"".join(parts)
    if claim is not None and digest_of(body) != claim.digest:
        raise UnauthorizedError("the request's body is not the one that was signed")
    given = False

    async def again() -> Any:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def _ask_for_key() -> bytes:
    """Ask the control plane for this release's key."""
    from koco.sdk import control

    service, release = os.environ.get("KOCO_SERVICE"), os.environ.get("KOCO_RELEASE")
    if not service or not release:
        raise UnauthorizedError(
            "this endpoint runs outside koco and has no control plane to answer",
            hint="`koco deploy` deploys it; `koco.testing.submit` tries it without Ray",
        )
    arguments = {"service": service, "release": int(release)}
    return bytes.fromhex(await control.ask("endpoints.key", arguments))
