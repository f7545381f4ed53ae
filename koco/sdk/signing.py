"""Signed requests: how a service's own endpoint knows that its control plane asks.

Serve's port has no access control, so whoever reaches it could ask in anybody's
name. The control plane signs what it forwards; the key is made of a secret in
its store, one for each release, and given to replicas through Ray alone.

The signature covers method, path, query, user, fid, the body's SHA-256, the time
and a number that is used once. Standard library only.
"""

import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass

from koco.errors import UnauthorizedError

#: How far the two clocks may be apart, the way of the request included (seconds).
SKEW_S = 60.0

USER = "x-koco-user"
FID = "x-koco-fid"
TIME = "x-koco-time"
NONCE = "x-koco-nonce"
DIGEST = "x-koco-digest"
SIGNATURE = "x-koco-signature"

#: Every header of a signed request: no caller's own may pass for one.
HEADERS = frozenset({USER, FID, TIME, NONCE, DIGEST, SIGNATURE})

_HINT = "ask through the control plane: `koco run`, or its API"


class WrongSignature(UnauthorizedError):  # noqa: N818 - a fact about a request
    """The request was signed with another key, or changed on its way."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a signed request says of itself: on whose behalf, about which execution."""

    user: str = ""
    fid: str = ""
    digest: str = ""


def key_for(secret: bytes, service: str, release: int) -> bytes:
    """Return the key of one release, made of the store's secret."""
    return hmac.new(secret, f"{service}/{release}".encode(), hashlib.sha256).digest()


def digest_of(body: bytes) -> str:
    """Return a body's digest, as the header has it."""
    return hashlib.sha256(body).hexdigest()


def sign(
    key: bytes, method: str, target: str, *, body: bytes, user: str = "", fid: str = ""
) -> dict[str, str]:
    """Return the headers that make a request a signed one.

    `target` is the path that the application sees, decoded, without what Serve
    strips; with `?` and the query as it is sent where there is one.
    """
    headers = {
        # Headers are ASCII; a user may be called otherwise.
        USER: user.encode().hex(),
        FID: fid,
        TIME: f"{time.time():.3f}",
        NONCE: secrets.token_hex(12),
        DIGEST: digest_of(body),
    }
    return {**headers, SIGNATURE: _signature(key, method, target, headers)}


def refuse_unsigned(headers: Mapping[str, str]) -> None:
    """Raise `UnauthorizedError` for a request without a signature."""
    if not headers.get(SIGNATURE):
        raise UnauthorizedError("the request is not signed", hint=_HINT)


class Verifier:
    """Checks requests with one key; remembers their numbers while their time is right."""

    def __init__(self, key: bytes) -> None:
        self.key = key
        self._seen: dict[str, float] = {}

    def verify(self, method: str, target: str, headers: Mapping[str, str]) -> Claim:
        """Return what a request claims; the body is still to be held against `digest`.

        Raises:
            UnauthorizedError: it is unsigned, or not signed with this key, too old or
                from a clock that is too far ahead, or was there before.
        """
        refuse_unsigned(headers)
        given = {name: headers.get(name, "") for name in HEADERS}
        expected = _signature(self.key, method, target, given)
        if not hmac.compare_digest(expected.encode(), given[SIGNATURE].encode()):
            raise WrongSignature("the request's signature is wrong", hint=_HINT)
        self._check_time(given[TIME], given[NONCE])
        user = bytes.fromhex(given[USER]).decode()
        return Claim(user=user, fid=given[FID], digest=given[DIGEST])

    def _check_time(self, stamp: str, nonce: str) -> None:
        now = time.time()
        off_s = now - float(stamp)
        if abs(off_s) > SKEW_S:
            raise UnauthorizedError(
                f"the request's signature is {abs(off_s):.0f} s "
                f"{'old' if off_s > 0 else 'ahead of this clock'}",
                hint="do the clocks of the nodes agree? They may differ by "
                f"{SKEW_S:g} s, the way of a request included",
            )
        # Kept as long as the time stamp would still be taken, whichever clock is ahead.
        while self._seen and next(iter(self._seen.values())) < now:
            del self._seen[next(iter(self._seen))]
        if nonce in self._seen:
            raise UnauthorizedError("the request was there before", hint=_HINT)
        self._seen[nonce] = now + 2 * SKEW_S


def _signature(key: bytes, method: str, target: str, headers: Mapping[str, str]) -> str:
    fields = (headers[name] for name in (USER, FID, TIME, NONCE, DIGEST))
    text = "\n".join([method.upper(), target, *fields])
    return hmac.new(key, text.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()
