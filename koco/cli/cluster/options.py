"""Options that `koco up` passes to a control plane, on this machine or on a cluster elsewhere."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from koco import tokens
from koco.client import context_file, url
from koco.client.context_file import Context
from koco.errors import UsageError
from koco.store import address

#: Option -> its name in the context. The port has always been called `api` there.
_KEPT = {
    "host": "host",
    "port": "api",
    "url": "public_url",
    "data_dir": "data_dir",
    "store": "store",
    "blobs": "blobs",
    "api": "processes",
    "api_on": "processes_on",
    "tls_cert": "tls_cert",
    "tls_key": "tls_key",
}

#: Options that change the URL, unless the URL is given.
_MOVES = ("host", "port", "tls_cert", "tls_key", "url")

#: The most processes of a control plane. Each needs up to twelve connections to PostgreSQL.
MOST_PROCESSES = 16

_EVERYWHERE = ("", "0.0.0.0", "::")
#: The names of Ray's resources that can be asked for: no `node:…`, which is one node only.
_RESOURCE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Options of the control plane; `koco.bootstrap.driver.Order` has `asked` and `defaults`."""

    asked: dict[str, Any]
    defaults: dict[str, Any]
    #: The options that the context keeps.
    kept: dict[str, Any]

    @property
    def all(self) -> dict[str, Any]:
        """All options that a new control plane would start with."""
        return {**self.defaults, **self.asked}


def check(options: Mapping[str, Any], *, is_here: bool) -> dict[str, Any]:
    """Return the requested options of a control plane. Paths become absolute if `is_here`.

    Raises:
        UsageError: an option is not valid.
    """
    asked = {name: value for name, value in options.items() if value is not None}
    if not 1 <= asked.get("port", 1) <= 65535:
        raise UsageError(
            f"{asked['port']} is not a port", hint="a port is a number from 1 to 65535"
        )
    if not 1 <= asked.get("api", 1) <= MOST_PROCESSES:
        raise UsageError(f"--api is a number of processes, from 1 to {MOST_PROCESSES}")
    if (on := asked.get("api_on")) and not _RESOURCE.fullmatch(on):
        raise UsageError(
            f"--api-on {on!r} is not the name of a resource",
            hint="a name as koco-api in `ray start --resources '{\"koco-api\": 1}'`",
        )
    if asked.get("url"):
        asked["url"] = url.check(asked["url"], "--public-url")
    if asked.get("store"):
        asked["store"] = address.check(asked["store"])
    if asked.get("blobs"):
        asked["blobs"] = _check_blobs(asked["blobs"], is_here=is_here)
    if asked.get("tls_cert") == "":
        asked.setdefault("tls_key", "")  # the two are set and unset together
    for name in ("data_dir", "tls_cert", "tls_key"):
        if is_here and asked.get(name):
            asked[name] = str(context_file.expand_path(asked[name]).absolute())
    return asked


def _check_blobs(place: str, *, is_here: bool) -> str:
    if "://" in place:
        from koco.control.storage.blob_stores import address as blobs_address  # few need it

        return blobs_address.check(place)
    return str(context_file.expand_path(place).absolute()) if is_here else place


def check_ca(path: str | None) -> str | None:
    """Return the absolute path of a file with certificates.

    Raises:
        UsageError: it is not one.
    """
    import ssl  # 15 ms, and few users give `--ca`

    if not path:
        return path
    whole = str(context_file.expand_path(path).absolute())
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(whole)
    except (ssl.SSLError, OSError) as exc:
        what = exc.strerror or str(exc)
        raise UsageError(
            f"--ca: {whole} has no certificates: {what}", hint="it must be a PEM file"
        ) from exc
    return whole


def refuse(options: Mapping[str, Any], *, without: str) -> None:
    """Refuse options that are valid only together with another."""
    if given := [name for name, value in options.items() if value is not None]:
        raise UsageError(f"{given[0]} needs {without}")


def differs(asked: Mapping[str, Any], here: Mapping[str, Any]) -> bool:
    """Return whether an option was requested that differs from the context's; "" means unset."""
    return any((here.get(_KEPT[name]) or "") != value for name, value in asked.items())


def combine(
    asked: Mapping[str, Any],
    here: Mapping[str, Any],
    defaults: Mapping[str, Any],
    *,
    reached_at: str,
) -> Wanted:
    """Combine the requested options, those that the context keeps (`here`), and the defaults.

    `reached_at` is the URL's host if neither a URL nor a host is given.
    """
    remembered = {name: here[kept] for name, kept in _KEPT.items() if here.get(kept)}
    remembered.pop("port", None)  # in the defaults, because it may be taken
    # An empty value resets an earlier option.
    told = {name: value or defaults.get(name) for name, value in asked.items()}
    defaults = {**defaults, **remembered}
    every = {**defaults, **told}
    if not every.get("url"):
        place = told if any(name in asked for name in _MOVES) else defaults
        place["url"] = _url(every, reached_at)
    kept = {**remembered, **asked, "port": every["port"]}
    return Wanted(
        asked=told,
        defaults=defaults,
        kept={_KEPT[name]: value for name, value in kept.items() if value},
    )


def options_to_keep(start: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that the context keeps of a running control plane: the places of its store
    and its blobs.

    They are kept even if somebody else requested them, because the next `koco up` must not begin
    another store.
    """
    names = ("port", "data_dir", "store", "blobs", "api", "api_on", "tls_cert", "tls_key")
    return {_KEPT[name]: start[name] for name in names if start.get(name)}


def _url(every: Mapping[str, Any], reached_at: str) -> str:
    host = every.get("host") or ""
    host = reached_at if host in _EVERYWHERE else host
    scheme = "https" if every.get("tls_cert") else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{every['port']}"


def admin_key(known: Context | None, *, recover: bool = False) -> str:
    """Return the admin key: that of KOCO_ADMIN_KEY, else of the known context, else a new one."""
    if given := context_file.admin_key_of_environment():
        return given
    return known.key if known and known.key and not recover else tokens.new()


def is_other_key(known: Context | None) -> bool:
    """Return whether KOCO_ADMIN_KEY names another key than the known context has."""
    given = context_file.admin_key_of_environment()
    return bool(given) and known is not None and known.key != given


def digest(key: str) -> str:
    """Return the digest of a key that a control plane gets instead of the key."""
    return hashlib.sha256(key.encode()).hexdigest()
