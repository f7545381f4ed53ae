"""Test the connection to a control plane step by step. The first step that fails is the cause.

Each step has a deadline that holds whatever the other side does: names that do not resolve, ports
that accept data and never answer, answers that never end.
"""

import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

from koco.client import answers
from koco.client.context_file import Context
from koco.client.exchange.opening import make_ssl_context
from koco.client.http_proxy import proxy_for
from koco.client.transport import Transport
from koco.client.url import is_clear, redact
from koco.errors import AnswerError, KocoError, TimedOutError, UsageError

T = TypeVar("T")

#: Timeout of one step (seconds).
STEP_S = 5.0
#: Warn about a certificate that expires sooner than this (seconds).
_CERTIFICATE_S = 14 * 86_400
#: A larger difference means a wrong clock, not just a delayed reading (seconds).
_SKEW_S = 5.0

OK, WARNING, FAILED = "ok", "warning", "failed"

#: The name of the last step's finding.
LAST = "clock"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a step; `status` is ok, warning or failed, and the hint says what to do."""

    name: str
    status: str
    message: str
    hint: str | None = None


class _Stop(Exception):  # noqa: N818 - not an error: the way ends here
    """No further step makes sense after this finding."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.message)
        self.finding = finding


def way(context: Context) -> Iterator[Finding]:
    """Yield the findings on the way to a control plane, up to the first step that fails.

    The last finding is named `LAST` if the control plane can be reached.
    """
    try:
        if is_clear(context.url):
            what = f"{context.url} is not encrypted: the key travels in clear"
            hint = "use https://: `koco up --tls-cert --tls-key` gives it a certificate"
            yield Finding("encryption", WARNING, what, hint)
        if proxy := proxy_for(context.url):
            # The proxy may reach hosts that this machine cannot.
            yield Finding("proxy", OK, f"through {redact(proxy)}")
        else:
            yield from _connection(context)
        yield from _answer(context)
    except _Stop as stop:
        yield stop.finding


def within(seconds: float, call: Callable[[], T]) -> T:
    """Return or raise the outcome of a call; raises TimedOutError if it takes longer.

    It runs in a thread that is abandoned on timeout, because a hanging resolver cannot be stopped.
    """
    answers: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue()

    def work() -> None:
        try:
            answers.put((call(), None))
        except BaseException as exc:  # noqa: BLE001 - raised where it was asked for
            answers.put((None, exc))

    threading.Thread(target=work, daemon=True).start()
    try:
        value, error = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimedOutError(f"no answer within {seconds:g} s") from None
    if error is not None:
        raise error
    found: T = value
    return found


def _connection(context: Context) -> Iterator[Finding]:
    parts = urlsplit(context.url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    try:
        found = within(STEP_S, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except (OSError, UnicodeError, TimedOutError) as exc:
        hint = "is the host in the context's URL right, and does this machine have a network?"
        raise _Stop(Finding("dns", FAILED, f"{host} has no address: {exc}", hint)) from exc
    addresses = ", ".join(dict.fromkeys(str(each[4][0]) for each in found))
    if addresses != host:
        yield Finding("dns", OK, f"{host} is {addresses}")
    try:
        connection = within(STEP_S, lambda: socket.create_connection((host, port), STEP_S))
    except (OSError, TimedOutError) as exc:
        hint = (
            "is it running (`koco up` starts a local one), behind a firewall, or at another port?"
        )
        what = f"no connection to port {port} of {host}: {exc}"
        raise _Stop(Finding("tcp", FAILED, what, hint)) from exc
    with connection:
        yield Finding("tcp", OK, f"port {port} accepts connections")
        if parts.scheme == "https":
            yield within(STEP_S, lambda: _tls(connection, host, context.ca))


def _tls(connection: socket.socket, host: str, ca: str) -> Finding:
    try:
        trusted = make_ssl_context(ca)
        connection.settimeout(STEP_S)
        with trusted.wrap_socket(connection, server_hostname=host) as secured:
            certificate, version = secured.getpeercert() or {}, secured.version()
    except ssl.SSLCertVerificationError as exc:
        hint = "if it is yours: `koco login --ca FILE` or SSL_CERT_FILE names certificates to trust"
        what = f"the certificate is not trusted: {exc.verify_message}"
        raise _Stop(Finding("tls", FAILED, what, hint)) from exc
    except UsageError as exc:
        raise _Stop(Finding("tls", FAILED, exc.message, exc.hint)) from exc
    except OSError as exc:
        hint = "does the server speak TLS on that port? If not, the URL begins with http://"
        raise _Stop(Finding("tls", FAILED, f"no TLS: {exc}", hint)) from exc
    ends = str(certificate.get("notAfter", ""))
    what = f"{version}, certificate until {ends}"
    if ends and ssl.cert_time_to_seconds(ends) - time.time() < _CERTIFICATE_S:
        return Finding("tls", WARNING, what, "renew it: it expires soon")
    return Finding("tls", OK, what)


def _answer(context: Context) -> Iterator[Finding]:
    """Request `/health`, which needs no key."""

    def ask() -> tuple[str, str | None]:
        # Sent without the key, because the server is not verified yet.
        transport = Transport(context._replace(key=""), away_s=0.0)
        answer = transport.call("GET", "/health", accept=(503,), timeout_s=STEP_S)
        health = transport.check(transport.decode(answer), answers.Health)
        return health["status"], answer.headers.get("Date")

    try:
        status, date = within(STEP_S, ask)
    except AnswerError as exc:
        raise _Stop(_stranger(context.url)) from exc
    except KocoError as exc:
        hint = (
            exc.hint or "does it hang, or a proxy before it? See its log, then run `koco up` again"
        )
        raise _Stop(Finding("http", FAILED, exc.message, hint)) from exc
    if status == "ok":
        yield Finding("http", OK, "a control plane answers, and executions can run")
    else:
        hint = "the findings below or `koco status` say why"
        yield Finding("http", FAILED, "a control plane answers, but its status is degraded", hint)
    yield _clock(date)


def _stranger(url: str) -> Finding:
    what = f"{url} answers, but is not a control plane"
    return Finding("http", FAILED, what, "does that URL belong to something else?")


def _clock(date: str | None) -> Finding:
    try:
        theirs = parsedate_to_datetime(date or "").timestamp() + 0.5  # the header has whole seconds
    except (ValueError, TypeError, OverflowError):
        return Finding(LAST, OK, "the server does not send its time")
    ahead_s = time.time() - theirs
    if abs(ahead_s) <= _SKEW_S:
        return Finding(LAST, OK, "this machine and the control plane agree")
    what = f"this machine's clock is {abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'}"
    hint = "correct the wrong one: times, timeouts and signatures depend on them"
    return Finding(LAST, WARNING, f"{what} the control plane's", hint)
