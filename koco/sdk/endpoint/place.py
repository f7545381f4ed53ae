"""The place of an app as its callers see it: the control plane's URL, and the app's path there.

Serve gives an application the address of Serve's own port, and a path with the release's number.
Callers can use neither, so URLs that an app makes (`request.url_for`, `/docs`) would not work.
"""

from typing import Any
from urllib.parse import quote, urlsplit

#: The header with the app's URL. It is believed in signed requests only, and the control plane
#: sends its own configured URL there: callers choose no part of it.
BASE = "x-koco-base"

_PORTS = {"http": 80, "https": 443}


def base_of(url: str, service: str) -> str:
    """Return the URL of a service's app at a control plane."""
    return f"{url.rstrip('/')}/v1/services/{service}/app"


def move(scope: Any, base: str, path: str) -> None:
    """Let a request's scope say that an app is at the URL `base`. `path` is the app's own path.

    Requests from control planes before this header have no base; their scope stays as it is.
    """
    if not base:
        return
    parts = urlsplit(base)
    root, scheme = parts.path.rstrip("/"), parts.scheme
    scope["scheme"], scope["root_path"], scope["path"] = scheme, root, f"{root}{path}"
    scope["raw_path"] = quote(f"{root}{path}").encode()
    scope["server"] = (parts.hostname or "", parts.port or _PORTS.get(scheme))
    others = [pair for pair in scope["headers"] if pair[0].lower() != b"host"]
    scope["headers"] = [(b"host", parts.netloc.encode()), *others]
