"""Where the processes of a release get the values of its secrets.

The control plane leaves an `Access` in the key-value store of Ray's head: where to ask, and the
release's own token. A process reads it there and asks over HTTP. Both work before the process
can call an actor. The token stands in no environment, argument or log: the key-value store is not
shown on Ray's dashboard.

Standard library and msgspec only: this is imported at the start of every process with secrets.
"""

import http.client
import time
from typing import Any
from urllib.parse import urlsplit

import msgspec

from koco.errors import KocoError, UnreachableError

#: Where the values are, below the URL of an `Access`.
PATH = "/v1/values"

_NAMESPACE = b"koco"
#: How long the key-value store may take for one answer (seconds).
_STORE_S = 5.0
#: How long the control plane may take for one answer (seconds).
_ANSWER_S = 10.0
#: How long the control plane may be away before a process gives up (seconds): as long as
#: `koco.sdk.control.GONE_S`, which is not imported here because it costs asyncio.
GONE_S = 60.0
#: Pauses between two tries (seconds); the last one stays.
_PAUSES_S = (0.05, 0.1, 0.2, 0.5, 1.0)


class Access(msgspec.Struct, frozen=True):
    """Where a release's processes ask for its secrets, and what they show there."""

    url: str
    token: str


class _AwayError(Exception):
    """It cannot be asked just now."""


def publish(service: str, release: int, access: Access) -> None:
    """Leave an access for a release's processes; blocks."""
    _store().internal_kv_put(
        _key(service, release), msgspec.json.encode(access), True, _NAMESPACE, timeout=_STORE_S
    )


def forget(service: str, release: int) -> None:
    """Remove a release's access; blocks."""
    _store().internal_kv_del(_key(service, release), False, _NAMESPACE, timeout=_STORE_S)


def published() -> list[tuple[str, int]]:
    """Return the releases that have an access; blocks."""
    keys = _store().internal_kv_keys(_key("", None), _NAMESPACE, timeout=_STORE_S)
    found = (key.decode().split("/")[1:] for key in keys)
    return [(service, int(release)) for service, release in found]


def fetch(service: str, release: int, *, gone_s: float = GONE_S) -> dict[str, str]:
    """Return the values of a release's secrets by name; try again while nobody answers.

    Raises:
        KocoError: the control plane refuses, with its own words.
        UnreachableError: nobody has answered for too long.
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
        told = msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError:
        told = {}  # of something between here and there
    if answer.status == http.client.OK and "values" in told:
        values: dict[str, str] = told["values"]
        return values
    return _refused(answer.status, told)


def _refused(status: int, told: dict[str, Any]) -> dict[str, str]:
    message = told.get("detail") or f"the control plane answers with {status}"
    if status >= http.client.INTERNAL_SERVER_ERROR or status == http.client.TOO_MANY_REQUESTS:
        raise _AwayError(message)
    raise KocoError(message, hint=told.get("hint"))


def _store() -> Any:
    import ray

    # Its own client: the one of `ray.experimental` imports Ray's client for other clusters.
    return ray._private.worker.global_worker.gcs_client


def _key(service: str, release: int | None) -> bytes:
    return f"secrets/{service}/{release}".encode() if release is not None else b"secrets/"
