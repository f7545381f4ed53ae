"""The place of a store, as users give it: a file, or the URL of a database without a password."""

from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from koco.errors import UsageError

_SCHEMES = ("postgresql", "postgres")
_PASSWORDS = (
    *("password", "sslpassword", "oauth_client_secret"),
    *("scram_client_key", "scram_server_key"),
)
_HINT = "such as postgresql://koco@db.example.com/koco"


def is_one(place: str) -> bool:
    """Whether a place for a store is a URL of PostgreSQL, and not a file."""
    return place.partition("://")[0] in _SCHEMES


def place(text: str) -> Path | str:
    """Return the place of a store that exists or is to be made: a file, or a URL of a database.

    Raises:
        UsageError: it is a URL, and not of a database.
    """
    return check(text) if "://" in text else Path(text).expanduser().absolute()


def check(url: str) -> str:
    """Return a URL of a database.

    Raises:
        UsageError: it is not one, or it has a password: other users of the machine would see it.
    """
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - it is checked
        options = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
    except ValueError as exc:
        raise UsageError(f"not a URL of a database: {exc}", hint=_HINT) from exc
    if parts.scheme not in _SCHEMES or parts.fragment:
        raise UsageError("not a URL of a PostgreSQL database", hint=_HINT)
    if parts.password is not None or any(name in options for name in _PASSWORDS):
        raise UsageError(
            "the URL of a store cannot have a password",
            hint="put it in ~/.pgpass on the head, mode 0600, as HOST:PORT:DATABASE:USER:PASSWORD;"
            " `?passfile=FILE` in the URL names another file",
        )
    if not (parts.path.strip("/") or options.get("dbname")):
        raise UsageError(f"{url} names no database", hint=_HINT)
    return url
