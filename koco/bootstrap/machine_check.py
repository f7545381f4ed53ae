"""Check a machine before a control plane starts on it: data directory, TLS files, ports."""

import errno
import importlib.util
import socket
import ssl
import tempfile
from pathlib import Path

from koco.client import context_file
from koco.control.members import places
from koco.errors import UsageError
from koco.store import address


def folder(named: str | None) -> str:
    """Return the data directory, and create it if it is missing. The default is `~/.koco/cluster`.

    Raises:
        UsageError: the path is not absolute, or the directory cannot be written to.
    """
    path = context_file.expand_path(named) if named else context_file.home() / "cluster"
    hint = "use another one with `--data-dir`"
    if not path.is_absolute():
        raise UsageError(f"the data directory {str(path)!r} is not an absolute path", hint=hint)
    try:
        # One by one, because mkdir does not apply `mode` to the parents that it creates.
        for each in (path.parent, path):
            each.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as exc:
        what = f"cannot write to the data directory {path} on {socket.gethostname()}"
        raise UsageError(f"{what}: {exc.strerror}", hint=hint) from exc
    return str(path)


def store(url: str | None) -> str:
    """Return the URL of the store's database, or nothing if it is a file.

    Raises:
        UsageError: it is not such a URL, or this Python cannot connect to it.
    """
    if not url:
        return ""
    if importlib.util.find_spec("psycopg") is None:
        raise UsageError(
            f"a store in PostgreSQL needs psycopg, which is missing on {socket.gethostname()}",
            hint="install koco with its extra `postgresql`: pip install 'koco-deploy[postgresql]'",
        )
    return address.check(url)


def processes(api: object, store: str, *, asked_on: str | None = None) -> int:
    """Return how many processes the control plane has, with this database, or "" for a file.

    `asked_on` is the resource that was asked for the nodes of further ones.

    Raises:
        UsageError: several need a database, or there are no further ones.
    """
    count = int(str(api or 1))  # the number that the command has checked
    if count > 1 and not store:
        raise UsageError(
            f"a store in a file has one process, not {count}",
            hint="`--store postgresql://…` names a database that several can use; `--api 1`"
            " returns to one",
        )
    if count == 1 and asked_on:
        raise UsageError(
            f"--api-on {asked_on} places further processes, and there is only one",
            hint="`--api 3` starts three; they need a store in PostgreSQL",
        )
    return count


def tls(cert: str | None, key: str | None) -> tuple[str, str] | tuple[None, None]:
    """Return the checked paths of a certificate and its key, or `(None, None)` if none is given.

    Raises:
        UsageError: one of them is missing or cannot be read, or they do not match.
    """
    if not cert and not key:
        return None, None
    if not cert or not key:
        missing = "--tls-key" if cert else "--tls-cert"
        raise UsageError(f"TLS needs a certificate and its key: {missing} is missing")
    paths = [str(context_file.expand_path(path)) for path in (cert, key)]
    for path in paths:
        try:
            Path(path).read_bytes()
        except OSError as exc:
            where = f"{path} on {socket.gethostname()}"
            raise UsageError(f"cannot read {where}: {exc.strerror}") from exc
    try:
        # The empty password keeps OpenSSL from asking at the terminal if the key is encrypted.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(paths[0], paths[1], password="")
    except (ssl.SSLError, ValueError) as exc:
        hint = "both must be PEM files, and the key must match and have no password"
        raise UsageError(f"{paths[0]} and {paths[1]} do not match: {exc}", hint=hint) from exc
    return paths[0], paths[1]


def require_free(host: str, port: int) -> None:
    """Check that the control plane can listen on a host and port.

    Raises:
        UsageError: the address is not this machine's, or the port is in use.
    """
    try:
        places.bind(host, port)
    except OSError as exc:
        if exc.errno == errno.EADDRINUSE:
            what = f"port {port} of {host} on the head is in use"
            raise UsageError(what, hint="use another one with `--port`") from exc
        what = f"cannot listen on {host}:{port} on the head: {exc.strerror or exc}"
        hint = "`--host` must be an address of the head, or 0.0.0.0 for all"
        raise UsageError(what, hint=hint) from exc
