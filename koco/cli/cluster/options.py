"""What `koco up` can ask of a control plane, here and on a cluster elsewhere."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from koco.client import context_file, url
from koco.errors import UsageError

#: Under which name the context remembers what; the port has always been called `api` there.
_KEPT = {
    "host": "host",
    "port": "api",
    "url": "public_url",
    "data_dir": "data_dir",
    "tls_cert": "tls_cert",
    "tls_key": "tls_key",
}

#: What moves the URL, unless that is told.
_MOVES = ("host", "port", "tls_cert", "tls_key", "url")

_EVERYWHERE = ("", "0.0.0.0", "::")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Options of the control plane; `koco.bootstrap.driver.Order` has `asked` and `defaults`."""

    asked: dict[str, Any]
    defaults: dict[str, Any]
    #: What the context is to remember.
    kept: dict[str, Any]

    @property
    def all(self) -> dict[str, Any]:
        """Everything that a new one would start with."""
        return {**self.defaults, **self.asked}


def checked(options: Mapping[str, Any], *, is_here: bool) -> dict[str, Any]:
    """Return what was asked of a control plane; paths become whole ones where `is_here`.

    Raises:
        UsageError: something makes no sense.
    """
    asked = {name: value for name, value in options.items() if value is not None}
    if not 1 <= asked.get("port", 1) <= 65535:
        raise UsageError(f"{asked['port']} is no port", hint="one of 1 to 65535")
    if asked.get("url"):
        asked["url"] = url.checked(asked["url"], "--public-url")
    if asked.get("tls_cert") == "":
        asked.setdefault("tls_key", "")  # the two come and go together
    for name in ("data_dir", "tls_cert", "tls_key"):
        if is_here and asked.get(name):
            asked[name] = str(context_file.expanded(asked[name]).absolute())
    return asked


def checked_ca(path: str | None) -> str | None:
    """Return the whole path of a file with certificates.

    Raises:
        UsageError: it is none.
    """
    import ssl

    if not path:
        return path
    whole = str(context_file.expanded(path).absolute())
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(whole)
    except (ssl.SSLError, OSError) as exc:
        what = exc.strerror or str(exc)
        raise UsageError(f"--ca: {whole} holds no certificates: {what}", hint="a PEM file") from exc
    return whole


def refuse(options: Mapping[str, Any], *, without: str) -> None:
    """Refuse options that mean something only together with another."""
    if given := [name for name, value in options.items() if value is not None]:
        raise UsageError(f"{given[0]} means something with {without} only")


def differs(asked: Mapping[str, Any], here: Mapping[str, Any]) -> bool:
    """Say whether something was asked that the context does not remember; "" is none."""
    return any((here.get(_KEPT[name]) or "") != value for name, value in asked.items())


def wanted(
    asked: Mapping[str, Any],
    here: Mapping[str, Any],
    defaults: Mapping[str, Any],
    *,
    reached_at: str,
) -> Wanted:
    """Put together what is asked, what the context remembers (`here`), and the defaults.

    `reached_at` is the host in the URL where neither a URL nor a host is told.
    """
    remembered = {name: here[kept] for name, kept in _KEPT.items() if here.get(kept)}
    remembered.pop("port", None)  # in the defaults, for it may be taken
    # An empty value takes back what was asked before.
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


def remembered(start: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the context is to remember of a control plane that runs: where its store is.

    Whoever asked for it, from wherever: the next `koco up` must not begin another one.
    """
    names = ("port", "data_dir", "tls_cert", "tls_key")
    return {_KEPT[name]: start[name] for name in names if start.get(name)}


def _url(every: Mapping[str, Any], reached_at: str) -> str:
    host = every.get("host") or ""
    host = reached_at if host in _EVERYWHERE else host
    scheme = "https" if every.get("tls_cert") else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{every['port']}"


def digest(key: str) -> str:
    """Return what a control plane is told of a key."""
    return hashlib.sha256(key.encode()).hexdigest()
