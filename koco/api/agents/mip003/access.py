"""Who may use a flow over MIP-003: whoever has a key for it, and for a public flow everyone.

MIP-003 knows no keys: its clients identify themselves by paying. So a flow that its author calls
`public` is open to callers without a key. They act as the key that an admin names in the setting
`mip003_key`, and do no more than that key may. It must be limited to flows and may have no other
scope than `launch` and `read`, so that a manifest opens nothing that its control plane's admin has
not opened.
"""

import logging
from collections.abc import Awaitable, Callable

from koco.api.http import auth, cors
from koco.api.http.auth import Connection
from koco.api.http.request import Request
from koco.control.access.caller import Caller
from koco.control.container import Parts
from koco.control.services.catalog import Catalog
from koco.errors import KocoError, NotFoundError, UnauthorizedError
from koco.manifest.for_agents import Mip003

log = logging.getLogger(__name__)

#: The header with which Kodosumi's clients send a key.
_HEADER = "KODOSUMI_API_KEY"
#: What the key of the public may do at most.
_SCOPES = frozenset({"read", "launch"})
#: Where a request notes that it has no key.
_HERE = "koco.mip003.public"

#: Returns the full name of the flow that a request is about, or None if it is about several.
Flow = Callable[[Connection], Awaitable[str | None]]


async def named_flow(connection: Connection) -> str | None:
    """Return the flow that a path names."""
    names = connection.path_params
    return f"{names['service']}/{names.get('flow', '')}"


def requires(scope: str, flow: Flow = named_flow) -> auth.Guard:
    """Return a guard that admits keys with a scope, and everyone if the flow is public."""

    async def open_to(connection: Connection) -> Caller | None:
        parts: Parts = connection.app.state.parts
        if _read_secret(connection) or not await _is_open(parts, flow, connection):
            return None
        public = await _find_public(parts)
        if public is None or not public.may(scope):
            return None
        # No key says that who asks means to: a page that somebody happens to visit could.
        cors.refuse_others(connection)
        connection.scope.update({_HERE: True})  # type: ignore[misc]
        return public

    return auth.requires_unless(open_to, scope, read=_read_secret)


def may_see(request: Request, flow: str) -> bool:
    """Whether a request may see a flow: with a key, or if it is public."""
    return not is_keyless(request) or is_public(request.parts.catalog, flow)


def is_keyless(request: Request) -> bool:
    """Whether a request has no key, and so acts as the one that all such callers share."""
    return _HERE in request.scope


def terms(catalog: Catalog, flow: str) -> Mip003 | None:
    """Return what the manifest of a live release says of a flow for Masumi, if anything."""
    service, _, name = flow.partition("/")
    try:
        manifest = catalog.release(service).manifest
    except KocoError:
        return None
    return next((each for each in manifest.mip003 if each.flow == name), None)


def is_public(catalog: Catalog, flow: str) -> bool:
    """Whether a flow is for callers without a key, too."""
    found = terms(catalog, flow)
    return found is not None and found.public


def _read_secret(connection: Connection) -> str:
    return connection.headers.get(_HEADER, "").strip() or auth.read_secret(connection)


async def _is_open(parts: Parts, flow: Flow, connection: Connection) -> bool:
    name = await flow(connection)
    return name is None or is_public(parts.catalog, name)


async def _find_public(parts: Parts) -> Caller | None:
    """Return the caller as whom requests without a key act, or None if there is none."""
    name = parts.settings.mip003_key
    if not name:
        return None
    try:
        caller = await parts.keys.named(name)
    except (NotFoundError, UnauthorizedError) as exc:
        # Callers without a key are not told which one it is.
        log.warning("the setting mip003_key names a key that is not valid: %s", exc.message)
        return None
    if not caller.flows or not caller.scopes <= _SCOPES or caller.sees_all:
        log.warning(
            "the key %r of the setting mip003_key is not used: it must be limited to flows, and"
            " may have no other scope than `launch` and `read`",
            name,
        )
        return None
    return caller
