"""Sign requests, so that a service's own endpoint can verify that its control plane sent them.

Serve's port has no access control, so any process that reaches it could claim to be any user. The
control plane signs the requests that it forwards. The key is derived from a secret in its store,
is different for each release, and reaches replicas only through Ray.

The signature covers method, path, query, user, fid, the body's SHA-256, the time
and a nonce. Standard library only.
"""

import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass

from koco.errors import UnauthorizedError

#: How far the two clocks may be apart, including the request's travel time (seconds).
SKEW_S = 60.0

USER = "x-koco-user"
FID = "x-koco-fid"
TIME = "x-koco-time"
NONCE = "x-koco-nonce"
DIGEST = "x-koco-digest"
SIGNATURE = "x-koco-signature"

#: All headers of a signed request. A caller's own must never pass for one of them.
HEADERS = frozenset({USER, FID, TIME, NONCE, DIGEST, SIGNATURE})

_HINT = (
    "ask through the control plane: `koco run`, or its API; in tests, `koco.testing.submit` calls"
    " handlers"
)


class WrongSignature(UnauthorizedError):  # noqa: N818 - a fact about a request
    """The request was signed with another key, or was changed on its way."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The claims of a signed request: its user, its execution, and the digest of its body."""

    user: str = ""
    fid: str = ""
    digest: str = ""


def key_for(secret: bytes, service: str, release: int) -> bytes:
    """Derive a release's key from the store's secret."""
    return hmac.new(secret, f"{service}/{release}".encode(), hashlib.sha256).digest()


def digest_of(body: bytes) -> str:
    """Return a body's digest in the form of the header."""
    return hashlib.sha256(body).hexdigest()


def sign(
    key: bytes, method: str, target: str, *, body: bytes, user: str = "", fid: str = ""
) -> dict[str, str]:
    """Return the headers of a signed request.

    `target` is the path that the application sees, decoded, without the prefix that Serve strips.
    If there is a query, `?` and the query as it is sent follow.
    """
    headers = {
        # Headers are ASCII, but a user's name need not be.
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
    """Verifies requests with one key, and remembers their nonces until their time has passed."""

    def __init__(self, key: bytes) -> None:
        self.key = key
        self._seen: dict[str, float] = {}

    def verify(self, method: str, target: str, headers: Mapping[str, str]) -> Claim:
        """Return the claims of a request. The caller must still compare its body with `digest`.

        Raises `UnauthorizedError` if it is unsigned, signed with another key, too old, from a clock
        that is too far ahead, or was sent before.
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
                f"{SKEW_S:g} s, including a request's travel time",
            )
        # Kept as long as the time stamp would be accepted, whichever clock is ahead.
        while self._seen and next(iter(self._seen.values())) < now:
            del self._seen[next(iter(self._seen))]
        if nonce in self._seen:
            raise UnauthorizedError("the request was already sent before", hint=_HINT)
        self._seen[nonce] = now + 2 * SKEW_S


def _signature(key: bytes, method: str, target: str, headers: Mapping[str, str]) -> str:
    fields = (headers[name] for name in (USER, FID, TIME, NONCE, DIGEST))
    text = "\n".join([method.upper(), target, *fields])
    return hmac.new(key, text.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()
