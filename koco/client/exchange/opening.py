"""Open the HTTP session that a context describes: its proxy, the trusted certificates, its key."""

import functools
import os
from typing import TYPE_CHECKING

from koco import __version__, versions
from koco.client.context_file import Context, key_of_environment
from koco.client.http.session import Session
from koco.errors import UsageError

if TYPE_CHECKING:
    import ssl


def open_session(context: Context, proxy: str | None) -> Session:
    """Return a session with the control plane of a context, directly or through a proxy.

    Raises:
        UsageError: the proxy, the certificates or the key are not valid.
    """
    try:
        return Session(
            context.url,
            headers=_headers(context),
            proxy=proxy,
            trust=functools.partial(make_ssl_context, context.ca),
        )
    except (OSError, ValueError) as exc:
        # The proxy's scheme is not supported, or the certificates file is invalid.
        raise UsageError(
            f"cannot ask {context.url}: {exc}",
            hint="check HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, SSL_CERT_FILE and SSL_CERT_DIR",
        ) from exc


def make_ssl_context(path: str) -> "ssl.SSLContext":
    """Return an SSL context that trusts a file's certificates in addition to this machine's.

    Without a file, it trusts those of certifi, or those that SSL_CERT_FILE or SSL_CERT_DIR name.
    This includes loopback, because a tunnel may end there.
    """
    import ssl  # as above

    if not path:
        file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
        if not file and not folder:
            import certifi  # only here

            file = certifi.where()
        return ssl.create_default_context(cafile=file or None, capath=folder or None)
    trusted = ssl.create_default_context()
    try:
        trusted.load_verify_locations(path)
    except (OSError, ssl.SSLError) as exc:
        what = f"cannot read the context's certificates in {path}: {exc}"
        raise UsageError(what, hint="`koco login --ca FILE` names others") from exc
    return trusted


def login_hint(context: Context) -> str:
    """Return a hint for a refused context; empty for a key, which may just be wrong."""
    if context.is_session or (context.user and not context.key):
        return f"log in again: `{context.login}`"
    return "" if context.key else f"set KOCO_KEY, or save a key with `koco login {context.url}`"


def _headers(context: Context) -> dict[str, str]:
    if not all("!" <= character <= "~" for character in context.key):
        # Checked here because the hint helps, and nothing may show the key.
        is_ours = key_of_environment() == context.key
        owner = "KOCO_KEY" if is_ours else f"the key of the context {context.name!r}"
        raise UsageError(
            f"{owner} has characters that no key has",
            hint="was white space, or more than the key, copied with it?",
        )
    # No compression: a kilobyte might become a gigabyte, and events would wait for a full block.
    headers = {versions.HEADER: __version__, "User-Agent": f"koco/{__version__}"}
    headers["Accept-Encoding"] = "identity"
    return {**headers, "Authorization": f"Bearer {context.key}"} if context.key else headers
