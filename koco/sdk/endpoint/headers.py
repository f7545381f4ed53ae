"""Select the headers that reach a service: no claims about the caller, and no credentials.

The caller's identity comes from koco only: `request.state.user`.
"""

import re
from collections.abc import Iterable

#: Valid only between two neighbours (RFC 9110, 7.6.1), or written anew for the next one.
HOP = frozenset(
    {
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization"),
        *("proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "host"),
        *("content-length", "expect"),
    }
)

#: Credentials and keys that a caller sends to koco.
_SHOWN = frozenset({"authorization", "cookie", "cookie2", "idempotency-key", "kodosumi-api-key"})

#: Headers by which proxies and gateways tell an application who calls, and from where.
_IDENTITY = frozenset(
    {
        *("forwarded", "via", "from", "remote-user", "remote-addr", "remote-host"),
        *("true-client-ip", "x-real-ip", "x-client-ip", "x-cluster-client-ip"),
        *("x-client-cert", "x-user", "x-username", "x-email", "x-groups", "x-roles"),
        *("x-proxy-user", "x-host", "x-rewrite-url", "x-kodosumi"),
    }
)
_IDENTITY_PREFIXES = (
    *("x-koco-", "koco-", "x-forwarded", "x-original-", "x-remote-", "x-auth-request-"),
    *("x-authenticated-", "x-webauth-", "x-user-", "x-envoy-", "x-ms-client-principal"),
    *("x-amzn-oidc-", "x-goog-authenticated-user-", "x-goog-iap-", "cf-access-"),
    *("cf-connecting-", "x-ssl-", "ssl-client-", "x-tls-", "remote-user", "tailscale-user-"),
    "x-kodosumi-",
)

#: The only header of Kodosumi's that callers set: further data of a launch.
_GIVEN = "x-kodosumi-extra"

#: The beginning of koco's own keys, sessions and tokens, which a caller may send by mistake.
_OURS = re.compile(r"koco[a-z]?_[A-Za-z0-9_~-]{16}")


def may_pass(name: str, value: str = "") -> bool:
    """Return whether a caller's header may reach a service."""
    # Servers that turn headers into variables read `X_Koco_User` as `X-Koco-User`.
    name = name.lower().replace("_", "-").strip()
    if name in HOP or name in _SHOWN or name in _IDENTITY:
        return False
    if name.startswith(_IDENTITY_PREFIXES) and name != _GIVEN:
        return False
    return _OURS.search(value) is None


def without_claims(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return a request's headers without claims about the caller; the body's length stays."""
    return [
        (name, value)
        for name, value in headers
        if name.lower() in (b"host", b"content-length")
        or may_pass(name.decode("latin-1"), value.decode("latin-1"))
    ]
