"""URLs of the web that users give: checked, made ASCII, and joined with redirects."""

from urllib.parse import quote, unquote, urljoin, urlsplit

from koco import file_paths
from koco.errors import KocoError, PathError

#: The longest URL (characters).
LONGEST = 4096

#: The characters that need no encoding in a path and a query; `%` begins one that has it already.
_IN_PATH = "!$%&'()*+,/:;=@~"
_IN_QUERY = _IN_PATH + "?[]|"


class DownloadError(KocoError):
    """A URL cannot be fetched; the message says why, without its host's answer."""


def is_url(value: object) -> bool:
    """Whether a value looks like the URL of a file."""
    return isinstance(value, str) and value.lower().startswith(("http://", "https://"))


def check(url: str) -> None:
    """Refuse what cannot be fetched.

    Raises:
        DownloadError: it is no URL of the web, is too long, or has a name or a password.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as exc:
        raise DownloadError("it is not a valid URL") from exc
    if not is_url(url) or not parts.hostname or len(url) > LONGEST or not url.isprintable():
        raise DownloadError(f"it is not a URL of the web with {LONGEST} characters at most")
    if parts.username is not None or parts.password is not None:
        raise DownloadError("a URL with a name or a password is not fetched")


def encode(url: str) -> str:
    """Return a checked URL in ASCII, without its fragment.

    Raises:
        DownloadError: its host is no valid name.
    """
    parts = urlsplit(url)
    host = _encoded_host(parts.hostname or "")
    place = f"[{host}]" if ":" in host else host
    if parts.port is not None:
        place += f":{parts.port}"
    query = f"?{quote(parts.query, safe=_IN_QUERY)}" if parts.query else ""
    return f"{parts.scheme}://{place}{quote(parts.path or '/', safe=_IN_PATH)}{query}"


def _encoded_host(host: str) -> str:
    if host.isascii():
        if any(each in host for each in " \\^`{|}<>\"'"):
            raise DownloadError("it is not a valid URL")
        return host
    import idna  # comes with httpx; few hosts need it

    try:
        return idna.encode(host, uts46=True).decode()
    except (idna.IDNAError, UnicodeError) as exc:
        raise DownloadError("it is not a valid URL") from exc


def join(url: str, target: str) -> str:
    """Return the URL that a redirect leads to.

    Raises:
        DownloadError: it is invalid, or leads from https to http.
    """
    try:
        joined = urljoin(url, target)
    except ValueError as exc:
        raise DownloadError("it is redirected to an invalid URL") from exc
    if url.lower().startswith("https:") and not joined.lower().startswith("https:"):
        raise DownloadError("it is redirected from https to an unencrypted URL")
    return joined


def file_name(*urls: str) -> str:
    """Return a file's name: the last part of the first URL that has one."""
    for url in urls:
        name = unquote(urlsplit(url).path).rpartition("/")[2]
        try:
            if name and file_paths.path(f"in/{name}") == f"in/{name}":
                return name
        except PathError:
            continue
    return "download"
