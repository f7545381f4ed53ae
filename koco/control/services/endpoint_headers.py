"""The headers that pass between callers and services' own endpoints, in both directions."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from koco.cluster.serve import prefix_of
from koco.sdk.endpoint.headers import HOP, may_pass
from koco.store.model import Release

if TYPE_CHECKING:
    import httpx

#: Headers of an answer that are not passed on to the caller. Some affect our whole origin and not
#: only the service's part of it: cookies, logins, certificates, access by other origins. The others
#: are set by us.
_DROPPED = (HOP - {"content-length"}) | {
    *("set-cookie", "set-cookie2", "clear-site-data", "www-authenticate", "authentication-info"),
    *("strict-transport-security", "public-key-pins", "expect-ct", "alt-svc", "nel", "report-to"),
    *("service-worker-allowed", "x-content-type-options", "date", "server", "x-request-id"),
    # These would make a proxy in front of us send its own files, or change how it treats us.
    *("x-accel-redirect", "x-accel-expires", "x-accel-charset", "x-accel-limit-rate"),
    *("x-sendfile", "x-lighttpd-send-file", "x-reproxy-url", "surrogate-control"),
}
#: The caller's headers that describe a body and how to answer.
_BODY = {"accept-encoding", "content-type", "content-encoding", "content-language", "range"}
_DROPPED_PREFIXES = ("x-koco-", "koco-", "access-control-")

#: A service's page comes from our origin. The sandbox gives it a separate origin, so its scripts
#: run but can neither use a user's session here nor read our answers.
_POLICY = "content-security-policy"
_SANDBOX = "sandbox allow-scripts allow-forms allow-modals allow-popups allow-downloads"


def for_service(headers: Mapping[str, str], *, media: str = "") -> dict[str, str]:
    """Return the caller's headers that are passed on to the service.

    `media` is the type of a body that is not the caller's. Then the answer is for us, too.
    """
    sent = join_headers((name.lower(), value) for name, value in headers.items())
    hop = _connection_headers(sent)
    passed = {
        name: value for name, value in sent.items() if name not in hop and may_pass(name, value)
    }
    if not media:
        return passed
    kept = {name: value for name, value in passed.items() if name not in _BODY}
    return {**kept, "content-type": media}


def for_caller(
    headers: "httpx.Headers", base: str, release: Release, *, url: str = ""
) -> dict[str, str]:
    """Return the answer's headers that are passed on to the caller, each name once.

    `base` is Serve's URL of the release, `url` the control plane's own.
    """
    given = join_headers(headers.multi_items())  # httpx returns the names in lower case
    if "location" in given:
        given["location"] = _translate_redirect(given["location"], base, release, url)
    hop = _connection_headers(given)
    kept = {
        name: value
        for name, value in given.items()
        if name not in _DROPPED | hop and not name.startswith(_DROPPED_PREFIXES)
    }
    # Browsers enforce every policy in the list, so a service can tighten ours but not loosen it.
    policy = join_headers([*((n, v) for n, v in kept.items() if n == _POLICY), (_POLICY, _SANDBOX)])
    return {**kept, **policy, "x-content-type-options": "nosniff"}


def _connection_headers(headers: Mapping[str, str]) -> set[str]:
    """Return the names of hop-by-hop headers listed in `connection` (RFC 9110, 7.6.1)."""
    return {each.strip().lower() for each in headers.get("connection", "").split(",")}


def join_headers(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return headers by name. Headers of the same name are joined with commas, as HTTP allows."""
    found: dict[str, str] = {}
    for name, value in headers:
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def _translate_redirect(location: str, base: str, release: Release, url: str) -> str:
    """Translate a redirect into Serve to our own path, because callers cannot reach Serve.

    A redirect to our own URL becomes a path, too, because a caller may reach us by another name.
    """
    if url and f"{location}/".startswith(f"{url}/v1/services/{release.service}/app/"):
        return f"{urlsplit(url).path}{location[len(url) :]}"
    for where in (base, prefix_of(release.service, release.number)):
        if f"{location}/".startswith(f"{where}/"):
            return f"/v1/services/{release.service}/app{location[len(where) :]}"
    return location
