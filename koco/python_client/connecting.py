"""Choose the control plane that a program talks to, as the command line does."""

from koco.client import context_file
from koco.client.client import Client
from koco.client.context_file import Context, key_of_environment
from koco.client.transport import AWAY_S
from koco.client.url import check, host
from koco.errors import UsageError


def connect(name: str | None, *, url: str | None, key: str | None, away_s: float | None) -> Client:
    """Return a client of a context's control plane, or of the one at a URL.

    Raises:
        NotFoundError: there is no such context.
        UsageError: name and URL are both given, or a key without a URL.
    """
    if url is not None and name is not None:
        raise UsageError("a context has a URL of its own", hint="give `context` or `url`")
    if url is None and key is not None:
        raise UsageError("a key needs a URL", hint="give `url` as well")
    if url is None:
        context = context_file.current() if name is None else context_file.find(name)
    else:
        address = check(url, "url")
        context = Context(host(address), address, key_of_environment() if key is None else key)
    if away_s is None:
        away_s = context_file.restart_wait_s()
    return Client(context, away_s=AWAY_S if away_s is None else away_s, remembers=True)
