"""Fetch the values of a release's secrets into its processes.

The control plane stores an `Access` in the key-value store of Ray's head: the URL to ask, and the
release's own token. A process reads it there and asks over HTTP. Both work before the process can
call an actor. The token is in no environment, argument or log, and Ray's dashboard does not show
the key-value store.

Standard library and msgspec only, because every process with secrets imports this as it starts.
"""

import http.client
import time
from typing import Any
from urllib.parse import urlsplit

import msgspec

from koco.errors import KocoError, UnreachableError

#: The path of the values, below the URL of an `Access`.
PATH = "/v1/values"

_NAMESPACE = b"koco"
#: How long the key-value store may take for one answer (seconds).
_STORE_S = 5.0
#: How long the control plane may take for one answer (seconds).
_ANSWER_S = 10.0
#: How long the control plane may be away before a process gives up (seconds): as long as
#: `koco.sdk.process.control_client.GONE_S`, which is not imported because that would also import
#: asyncio.
GONE_S = 60.0
#: Pauses between two tries (seconds); the last one stays.
_PAUSES_S = (0.05, 0.1, 0.2, 0.5, 1.0)


class Access(msgspec.Struct, frozen=True):
    """The URL at which a release's processes ask for its secrets, and the token that they send."""

    url: str
    token: str


class _AwayError(Exception):
    """The key-value store or the control plane cannot be reached just now."""


def publish(service: str, release: int, access: Access) -> None:
    """Store the access of a release's processes; blocks."""
    _store().internal_kv_put(
        _key(service, release), msgspec.json.encode(access), True, _NAMESPACE, timeout=_STORE_S
    )


def forget(service: str, release: int) -> None:
    """Remove a release's access; blocks."""
    _store().internal_kv_del(_key(service, release), False, _NAMESPACE, timeout=_STORE_S)


def list_published() -> list[tuple[str, int]]:
    """Return the releases that have a stored access; blocks."""
    keys = _store().internal_kv_keys(_key("", None), _NAMESPACE, timeout=_STORE_S)
    found = (key.decode().split("/")[1:] for key in keys)
    return [(service, int(release)) for service, release in found]


def fetch(service: str, release: int, *, gone_s: float = GONE_S) -> dict[str, str]:
    """Return the values of a release's secrets by name; retry while the control plane is away.

    Raises:
        KocoError: the control plane refuses; the message is its own.
        UnreachableError: there has been no answer for too long.
    """
    deadline = time.monotonic() + gone_s
    tries = 0
    while True:
        try:
            return _ask(_access(service, release))
        except _AwayError as exc:
            if time.monotonic() > deadline:
                raise UnreachableError(
                    f"the secrets of {service!r} could not be fetched for {gone_s:g} s: {exc}",
                    hint="does the control plane run, and can this node reach it?",
                ) from None
        time.sleep(_PAUSES_S[min(tries, len(_PAUSES_S) - 1)])
        tries += 1


def _access(service: str, release: int) -> Access:
    from ray.exceptions import RpcError

    try:
        found = _store().internal_kv_get(_key(service, release), _NAMESPACE, timeout=_STORE_S)
    except RpcError as exc:
        raise _AwayError(f"Ray's head does not answer: {exc}") from None
    if found is None:
        raise KocoError(
            f"release {release} of {service!r} has no access to secrets",
            hint="was it undeployed, or is the control plane older than this koco (`koco up`)?",
        )
    return msgspec.json.decode(found, type=Access)


def _ask(access: Access) -> dict[str, str]:
    to = urlsplit(access.url)
    connection = http.client.HTTPConnection(to.hostname or "", to.port, timeout=_ANSWER_S)
    try:
        connection.request("GET", PATH, headers={"Authorization": f"Bearer {access.token}"})
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as exc:
        raise _AwayError(f"the control plane does not answer at {access.url}: {exc!r}") from None
    finally:
        connection.close()
    try:
        answered = msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError:
        answered = {}  # from a proxy on the way, for example
    status = answer.status
    if status == http.client.OK and "values" in answered:
        values: dict[str, str] = answered["values"]
        return values
    message = answered.get("detail") or f"the control plane answers with {status}"
    if status >= http.client.INTERNAL_SERVER_ERROR or status == http.client.TOO_MANY_REQUESTS:
        raise _AwayError(message)
    raise KocoError(message, hint=answered.get("hint"))


def _store() -> Any:
    import ray

    # Ray's internal client: importing `ray.experimental` would import Ray Client as well.
    return ray._private.worker.global_worker.gcs_client


def _key(service: str, release: int | None) -> bytes:
    return f"secrets/{service}/{release}".encode() if release is not None else b"secrets/"
