"""Follow a control plane's redirect to the storage of its files.

The URL is signed, and is all that the storage needs. So the request there has neither the key nor
any other header of the control plane's. It is never followed further.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from koco import __version__
from koco.client.http.pace import Pace
from koco.client.http.session import Request, Response, Session
from koco.client.http_proxy import proxy_for
from koco.errors import AnswerError, UnreachableError

if TYPE_CHECKING:
    import ssl

#: The status of the answer that is followed.
STATUS = 307
#: The headers of a request to the storage, besides the range.
_HEADERS = {"User-Agent": f"koco/{__version__}", "Accept-Encoding": "identity"}


def place(location: str, *, of: str) -> str:
    """Return the server that a redirect leads to, without the signature.

    Raises:
        AnswerError: it is not a URL of the web, or leads from TLS to plain HTTP.
    """
    try:
        parts = urlsplit(location)
        _ = parts.port
    except ValueError:
        parts = urlsplit("")
    is_weaker = of.lower().startswith("https:") and parts.scheme != "https"
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise AnswerError(f"{of} redirects to something that is not a URL")
    if is_weaker:
        raise AnswerError(f"{of} redirects to {parts.netloc} without TLS")
    return f"{parts.scheme}://{parts.netloc}"


@contextmanager
def follow(
    location: str,
    *,
    headers: Mapping[str, str],
    pace: Pace,
    trust: Callable[[], "ssl.SSLContext"],
) -> Iterator[Response]:
    """Give the storage's answer, with its body still to be read.

    `headers` may name a range, and nothing else is sent of them.

    Raises:
        UnreachableError: it refuses, perhaps because the signature is too old: ask again.
        AnswerError: it sends something else than that range.
        HttpError: see `Session.send`.
    """
    parts = urlsplit(location)
    server = f"{parts.scheme}://{parts.netloc}"
    session = Session(
        f"{server}{parts.path}", headers=_HEADERS, proxy=proxy_for(server), trust=trust
    )
    wanted = headers.get("Range", "")
    request = Request(
        "GET",
        "",
        query=dict(parse_qsl(parts.query, keep_blank_values=True)),
        headers={"Range": wanted} if wanted else {},
        body=None,
        timeout_s=pace.grace_s,
    )
    pace.restart()
    try:
        with session.send(request, pace) as response:
            if response.status not in (200, 206):
                raise UnreachableError(f"the storage at {server} answers {response.status}")
            _require_range(response, wanted, server)
            yield response
    finally:
        session.close()


def _require_range(response: Response, wanted: str, server: str) -> None:
    """Check that the body begins where the request wants it to."""
    start = wanted.removeprefix("bytes=").partition("-")[0] or "0"
    told = response.headers.get("Content-Range") or ""
    if start != "0" and not told.startswith(f"bytes {start}-"):
        raise AnswerError(f"the storage at {server} sends another part than was asked for")
