"""Translate the errors of `koco.client.http` into koco's, most specific first.

A refused connection, a connection that is not made in time, silence, a broken connection.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from koco.client.exchange.memory_budget import TooLargeError
from koco.client.http.failures import (
    BrokenError,
    ConnectError,
    ConnectTimeoutError,
    ProxyError,
    RequestError,
    SilenceError,
)
from koco.client.http.session import CONNECT_S
from koco.client.url import redact
from koco.errors import AnswerError, UnreachableError, UsageError

#: The hint if nothing answers.
HINT = "is it running? `koco up` starts a local one, `--context` selects another"
_HINT_PROXY = "HTTP_PROXY, HTTPS_PROXY and ALL_PROXY name the proxy, NO_PROXY the hosts without one"
_HINT_CA = "`--ca FILE` of `koco login` or `koco up` names certificates to trust, or SSL_CERT_FILE"


@contextmanager
def translated(url: str, *, proxy: str | None, hint: str = HINT) -> Iterator[None]:
    """Translate the errors of an exchange with a URL, directly or through a proxy.

    Raises:
        UnreachableError: there was no answer, or only a part. The error of `koco.client.http` is
            its cause, and tells which of these it was.
        AnswerError: the answer is too large.
        UsageError: there can be no such request.
    """
    through = f"the proxy {redact(proxy)}" if proxy else ""
    try:
        yield
    except ProxyError as exc:
        what = f"{through} does not connect to {url}: {exc}"
        raise UnreachableError(what, hint=_HINT_PROXY) from exc
    except ConnectTimeoutError as exc:
        what = f"no connection to {through or url} within {CONNECT_S:g} s"
        raise UnreachableError(what, hint=_HINT_PROXY if proxy else HINT) from exc
    except SilenceError as exc:
        raise UnreachableError(f"{url} does not answer in time", hint=hint) from exc
    except ConnectError as exc:
        by = f", or {through} does not answer" if proxy else ""
        what = f"no control plane answers at {url}{by}: {exc}"
        hint = _HINT_PROXY if proxy else HINT
        is_strange = "CERTIFICATE_VERIFY_FAILED" in what
        raise UnreachableError(what, hint=_HINT_CA if is_strange else hint) from exc
    except BrokenError as exc:
        raise UnreachableError(f"the connection to {url} broke: {exc}", hint=hint) from exc
    except RequestError as exc:
        raise UsageError(f"cannot ask {url}: {exc}") from exc
    except TooLargeError as exc:
        raise AnswerError(f"{url} sends {exc}", hint=exc.hint) from exc
