"""The paths of flows in Kodosumi's form: `/-/localhost/8001/<service>/-/<path>`.

In Kodosumi, host and port are those of Ray Serve, and the route prefix follows. Here they mean
nothing: any host and port are accepted, so URLs in scripts stay valid if the service has the name
of its former prefix.
"""

import hashlib
import re

from koco.control.services.catalog import Entry

#: The result of Kodosumi's default settings.
_ORIGIN = "/-/localhost/8001"

_FORM = re.compile(r"/[^/]+/[0-9]+/(?P<prefix>.+?)/-(?P<path>/.*)?")


def url_of(entry: Entry) -> str:
    """Return the path at which a flow is shown and launched."""
    return f"{app_url(entry.service)}{_path_of(entry).lstrip('/')}"


def app_url(service: str) -> str:
    """Return the beginning of the paths of a service's flows."""
    return f"{_ORIGIN}/{service}/-/"


def uid_of(url: str) -> str:
    """Return the id that Kodosumi gives to a flow at a URL."""
    return hashlib.md5(url.encode(), usedforsecurity=False).hexdigest()


def split(path: str) -> tuple[str, str] | None:
    """Return the service and the path in it for a path below `/-`; None if it has another form.

    A prefix of several names, or with other characters, means the service whose name is made from
    it, as `koco init --from` does.
    """
    found = _FORM.fullmatch(path if path.endswith("/") else f"{path}/")
    if found is None:
        return None
    service = re.sub(r"[^a-z0-9]+", "-", found["prefix"].lower()).strip("-")
    return service, _normalize(found["path"] or "/")


def is_at(entry: Entry, path: str) -> bool:
    """Return whether a flow is at a path of its service."""
    return _normalize(_path_of(entry)) == path


def _path_of(entry: Entry) -> str:
    return entry.path if entry.path is not None else f"/{entry.flow.name}"


def _normalize(path: str) -> str:
    return path.rstrip("/") or "/"
