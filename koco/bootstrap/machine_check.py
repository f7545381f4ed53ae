"""What a control plane needs of the machine that it is to run on, looked at before it starts."""

import contextlib
import errno
import socket
import ssl
import tempfile
from pathlib import Path

from koco.client import context_file
from koco.client.url import is_loopback
from koco.errors import UsageError

_EVERYWHERE = ("0.0.0.0", "::")


def folder(named: str | None) -> str:
    """Return the data directory, made where it is missing; `~/.koco/cluster` if none is named.

    Raises:
        UsageError: it cannot be written to.
    """
    path = context_file.expanded(named) if named else context_file.home() / "cluster"
    hint = "`--data-dir` names another"
    if not path.is_absolute():
        raise UsageError(f"the data directory {str(path)!r} is no absolute path", hint=hint)
    try:
        # One by one: `mode` does not reach the parents that mkdir makes.
        for each in (path.parent, path):
            each.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as exc:
        what = f"cannot write to the data directory {path} on {socket.gethostname()}"
        raise UsageError(f"{what}: {exc.strerror}", hint=hint) from exc
    return str(path)


def tls(cert: str | None, key: str | None) -> tuple[str, str] | tuple[None, None]:
    """Return the paths of a certificate and its key, which fit; or twice nothing.

    Raises:
        UsageError: one of them is missing, cannot be read or does not fit the other.
    """
    if not cert and not key:
        return None, None
    if not cert or not key:
        missing = "--tls-key" if cert else "--tls-cert"
        raise UsageError(f"TLS needs a certificate and its key: {missing} is missing")
    paths = [str(context_file.expanded(path)) for path in (cert, key)]
    for path in paths:
        try:
            Path(path).read_bytes()
        except OSError as exc:
            where = f"{path} on {socket.gethostname()}"
            raise UsageError(f"cannot read {where}: {exc.strerror}") from exc
    try:
        # With a password, which none has: OpenSSL would ask for one at the terminal.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(paths[0], paths[1], password="")
    except (ssl.SSLError, ValueError) as exc:
        hint = "both are PEM files, the key has no password, and belongs to the certificate"
        raise UsageError(f"{paths[0]} and {paths[1]} are no pair: {exc}", hint=hint) from exc
    return paths[0], paths[1]


def require_free(host: str, port: int) -> None:
    """Refuse an address that is not this machine's, and a port that something else has.

    Raises:
        UsageError: for either.
    """
    try:
        _bind(host, port)
    except OSError as exc:
        if exc.errno == errno.EADDRINUSE:
            what = f"port {port} of {host} on the head is taken by something else"
            raise UsageError(what, hint="`--port` names another") from exc
        what = f"cannot listen on {host}:{port} on the head: {exc.strerror or exc}"
        hint = "`--host` wants one of the head's own addresses, or 0.0.0.0 for all of them"
        raise UsageError(what, hint=hint) from exc


def for_nodes(host: str, port: int, *, node: str, is_encrypted: bool) -> tuple[str, bool]:
    """Return the URL at which nodes reach what is theirs, and whether it needs a listener apart.

    `node` is the head's address among the nodes. They could be made to trust a
    certificate only one by one, and a loopback address is another machine to each.
    """
    is_everywhere = host in _EVERYWHERE
    is_near = is_everywhere or host == node or (is_loopback(host) and is_loopback(node))
    if is_near and not is_encrypted:
        return f"http://{_in_url(node if is_everywhere else host)}:{port}", False
    # Another address may have the same port; where it is the same address, the next is tried.
    wanted = port + 1 if is_near else port
    with contextlib.suppress(OSError, OverflowError):
        _bind(node, wanted)
        return f"http://{_in_url(node)}:{wanted}", True
    return f"http://{_in_url(node)}:{_bind(node, 0)}", True


def _bind(host: str, port: int) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        found: int = probe.getsockname()[1]
        return found


def _in_url(address: str) -> str:
    return f"[{address}]" if ":" in address else address
