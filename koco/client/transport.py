"""Send requests to one control plane, repeat them if that is safe, and translate errors into ours.

No error of `koco.client.http` leaves this package. They are translated most specific first: a
refused connection, a connection that is not made in time, silence, a broken connection, an error
answer. The server is not trusted: `bounded_body` limits the data that arrives, and `shape_check`
checks the answer against the shape that the caller needs.
"""

import functools
import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict, TypeVar, Unpack
from urllib.parse import urlsplit

from koco import __version__, versions
from koco.client import (
    answers,
    bounded_body,
    known_servers,
    redirects,
    shape_check,
    trace_headers,
)
from koco.client.context_file import Context, key_of_environment
from koco.client.http.failures import (
    BrokenError,
    ConnectError,
    ConnectTimeoutError,
    HttpError,
    ProxyError,
    RequestError,
    SilenceError,
)
from koco.client.http.pace import Pace
from koco.client.http.session import CONNECT_S, Request, Response, Session
from koco.client.http_proxy import proxy_for
from koco.client.memory_budget import Room, TooLargeError, decode
from koco.client.url import redact
from koco.errors import (
    AnswerError,
    KocoError,
    NotAllowedError,
    NotFoundError,
    UnauthorizedError,
    UnreachableError,
    UsageError,
    from_wire,
)

if TYPE_CHECKING:
    import ssl

#: How long a control plane that has answered before may be away, for a request that can be repeated
#: (seconds). A restart takes two, and more on a busy machine.
AWAY_S = 15.0

#: How long to try one that has never answered (seconds), because likely nothing is there.
_FIRST_CONTACT_S = 1.0

#: How long `/health` may take while another request is not answered (seconds).
_LOOK_S = 15.0

#: The wait after which the user is told about it (seconds).
_QUIET_S = 1.0

#: The pause between attempts (seconds): it doubles from the first value up to the second.
_BACKOFF_S = (0.1, 0.8)

_HINT = "is it running? `koco up` starts a local one, `--context` selects another"
_HINT_PROXY = "HTTP_PROXY, HTTPS_PROXY and ALL_PROXY name the proxy, NO_PROXY the hosts without one"
_HINT_GONE = "`koco up` starts both again, with the same store"
_HINT_CA = "`--ca FILE` of `koco login` or `koco up` names certificates to trust, or SSL_CERT_FILE"
#: The path that takes passwords instead of keys.
_LOGIN = "/v1/session"
_HINT_SENT = "the request may have been carried out anyway: see `koco ps -a`"
_HINT_STORAGE = "the files are there; `koco config set blobs_redirect=false` avoids the way"
_HINT_ODD = "does that URL belong to something else?"

#: The maximum number of pages of one list: a server could send pages without end.
_PAGES = 10_000

Query = Mapping[str, str | list[str] | None]

#: The type of an answer; see `answers`.
Kind = TypeVar("Kind")

#: Called with a message and a hint if the control plane's version differs in a way that matters.
OnSkew = Callable[[str, str], object]

#: Called once if a control plane that has answered before does not, with its URL and the seconds
#: left to wait for it.
OnWait = Callable[[str, float], object]

#: Returns whether nothing is left that could bring a control plane back, as after a reboot.
IsGone = Callable[[], bool]


class Options(TypedDict, total=False):
    """How long a transport waits for its control plane, and what it calls meanwhile."""

    #: How long a control plane may be away that has answered before (seconds).
    away_s: float
    #: Whether it is known to be there, though it has not answered yet.
    is_known: bool
    #: Whether answers to earlier processes count, and are noted for later ones.
    remembers: bool
    on_skew: OnSkew | None
    on_wait: OnWait | None
    #: If this returns true, the control plane is not waited for at first contact.
    is_gone: IsGone | None


class Transport:
    """The connection to a control plane, as its context describes it."""

    def __init__(self, context: Context, **options: Unpack[Options]) -> None:
        self.url = context.url
        self._ca = context.ca
        self._is_gone = options.get("is_gone")
        self._login_hint = _login_hint(context)
        self._on_skew = options.get("on_skew")
        self._on_wait = options.get("on_wait")
        self._remembers = options.get("remembers", False)
        self._version = ""
        self._proxy = proxy_for(context.url)
        self._http = _open(context, self._proxy)
        #: Whether it has answered this process, or is known to be there.
        self.has_answered = options.get("is_known", False)
        self._away_s = options.get("away_s", AWAY_S)

    def close(self) -> None:
        """Close the connections of this process."""
        self._http.close()

    def json(
        self, method: str, path: str, kind: type[Kind], *, room: Room | None = None, **options: Any
    ) -> Kind:
        """Return the value in the answer to a request (see `call`), checked to be of that `kind`.

        Raises:
            AnswerError: the answer is of another kind, or does not fit in the room.
        """
        room = room or Room()
        answer = self.call(method, path, room=room, **options)
        found: Kind = self.check(self.decode(answer, room), kind)
        return found

    def text(self, method: str, path: str, *, headers: dict[str, str], room: Room) -> str:
        """Return the text in the answer to a request for the media type of its `Accept`.

        Raises:
            AnswerError: the answer has another type, or does not fit in the room.
        """
        answer = self.call(method, path, headers=headers, room=room)
        if not (answer.headers.get("Content-Type") or "").startswith(headers["Accept"]):
            raise self._not_koco(answer.status)
        return answer.body.decode("utf-8", "replace")

    def items(self, path: str, kind: type[Kind], query: Query | None = None) -> list[Kind]:
        """Return all items of a list, each of a `kind`, from as many pages as that takes.

        Raises:
            AnswerError: the pages have no end.
        """
        items: list[Kind] = []
        cursor: str | None = None
        room = Room()
        for _ in range(_PAGES):
            part = {**(query or {}), "cursor": cursor}
            page = self.json("GET", path, answers.Page[kind], room=room, query=part)  # type: ignore[valid-type]
            items += page["items"]
            former, cursor = cursor, page["next"]
            if not cursor:
                return items
            if cursor == former:
                break
        raise AnswerError(f"{self.url} returns a list that has no end", hint=_HINT_ODD)

    def check(self, value: Any, kind: Any) -> Any:
        """Return a value after checking that it is of a `kind` (see `answers`).

        Raises:
            AnswerError: it is not; the message names the server and the wrong part.
        """
        if (part := shape_check.misfit(value, kind)) is None:
            return value
        what = f"{self.url} does not answer as a control plane does"
        detail = f": `{part[:200]}` is missing or wrong" if part else ""
        raise AnswerError(f"{what}{detail}", hint=_HINT_ODD)

    def decode(self, answer: "Answer", room: Room | None = None) -> Any:
        """Return the value of an answer's JSON; raises AnswerError if it is not JSON."""
        try:
            with self._translating_errors():
                return decode(answer.body, room or Room())
        except ValueError:
            raise self._not_koco(answer.status) from None

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: dict[str, Any] | None = None,
        content: Callable[[], Iterator[bytes]] | None = None,
        headers: dict[str, str] | None = None,
        timeout_s: float = 30.0,
        repeatable: bool = True,
        accept: tuple[int, ...] = (),
        room: Room | None = None,
    ) -> "Answer":
        """Make a request. Repeat it if that is safe and the control plane is briefly away.

        `content` gives a new body for each attempt. A status in `accept` is not an error. The
        answer takes some of `room`.

        Raises:
            UnreachableError: it did not answer.
            AnswerError: the answer is too large or not valid.
            KocoError: it refused, with the error that it named.
        """
        attempts: Attempts | None = None
        while True:
            began = time.monotonic()
            request = self._request(
                method,
                path,
                query=query,
                headers=headers,
                body=content() if content else body,
                timeout_s=timeout_s,
            )
            try:
                with self._translating_errors(hint=_HINT if repeatable else _HINT_SENT):
                    answer = self._answer(request, timeout_s, room or Room())
                if not answer.is_success and answer.status not in accept:
                    raise self._make_error(answer)
                self.has_answered = True
                return answer
            except UnreachableError as exc:
                if not repeatable and not self._was_refused(exc):
                    raise
                if attempts is None:
                    attempts = self.attempts(self._away_s)
                    if self._was_refused(exc):
                        attempts.reset(began)
                # If a connection was made and then broke or timed out, a control plane was there.
                self.has_answered = self.has_answered or not self._is_absent(exc)
                attempts.pause(exc, patience_s=self.patience_s(exc, of_silence_s=0.0))

    def _answer(self, request: Request, timeout_s: float, room: Room) -> "Answer":
        with self._http.send(request, Pace(timeout_s, self._look)) as response:
            self._check_version(response)
            return Answer.of(response, room)

    def _look(self) -> None:
        """Look whether anybody is there who may still answer another request.

        A program that accepts connections and is silent would be waited for as long as a service's
        own endpoint may take, which is an hour.

        Raises:
            SilenceError: nobody answers.
        """
        request = self._request(
            "GET", "/health", query=None, headers=None, body=None, timeout_s=_LOOK_S
        )
        try:
            with self._http.send(request, Pace(_LOOK_S)):
                return
        except HttpError as exc:
            # Never as a refused connection, after which the other request would be sent again.
            raise SilenceError(f"nobody is there: {exc}") from exc

    @contextmanager
    def stream(
        self,
        path: str,
        *,
        query: Query,
        silence_s: float,
        headers: dict[str, str] | None = None,
        method: str = "GET",
        content: bytes | None = None,
        takes_refusals: str | None = None,
        follows: bool = False,
    ) -> Iterator["Incoming"]:
        """Give the answer to one request, with its body still to be read. Never repeats it.

        A refusal is an answer, too, if its media type is `takes_refusals`: then another protocol
        than koco's own is spoken. If it `follows` redirects, the body may come from the storage of
        files: see `redirects`.

        Raises:
            UnreachableError: now or while the body is read: the caller may try again.
            AnswerError: a line has no end.
            KocoError: it refused.
        """
        headers = {"Accept": "application/x-ndjson", **(headers or {})}
        request = self._request(
            method, path, query=query, headers=headers, body=content, timeout_s=silence_s
        )
        pace = Pace(silence_s, self._look)
        with self._translating_errors(), self._http.send(request, pace) as response:
            self._check_version(response)
            kind = (response.headers.get("Content-Type") or "").partition(";")[0]
            location = response.headers.get("Location")
            if follows and response.status == redirects.STATUS and location:
                self.has_answered = True
                with self._follow(location, headers, pace) as found:
                    bounded_body.require_plain(found)
                    yield Incoming(found, pace, response.headers)
                return
            if not 200 <= response.status < 300 and kind != takes_refusals:
                raise self._make_error(Answer.of(response, Room()))
            bounded_body.require_plain(response)
            self.has_answered = True
            yield Incoming(response, pace)

    @contextmanager
    def _follow(self, location: str, headers: Mapping[str, str], pace: Pace) -> Iterator[Response]:
        server = redirects.place(location, of=self.url)
        trust = functools.partial(make_ssl_context, self._ca)
        with self._translating_errors(url=server, hint=_HINT_STORAGE):
            with redirects.follow(location, headers=headers, pace=pace, trust=trust) as found:
                yield found

    def attempts(self, patience_s: float) -> "Attempts":
        """Return the schedule of attempts for at most `patience_s`."""
        # No notice if it has answered this process, because the process itself shows its progress.
        tell = None if self.has_answered else self._on_wait
        on_wait = None if tell is None else functools.partial(tell, self.url)
        return Attempts(patience_s, on_wait=on_wait)

    def patience_s(
        self, exc: UnreachableError, *, of_silence_s: float | None = None
    ) -> float | None:
        """Return how long to try again after an error; None leaves it to the caller.

        `of_silence_s` is the result if the request was sent and no answer came in time.

        Raises:
            UnreachableError: nothing is left that could bring the control plane back.
        """
        if not self._is_absent(exc):
            is_silence = isinstance(exc.__cause__, SilenceError)
            return of_silence_s if is_silence else None
        if self.has_answered:
            return None
        if not _is_hopeless(exc) and self._remembers and known_servers.before(self.url):
            if self._is_gone is not None and self._is_gone():
                what = f"the control plane at {self.url} no longer runs, and neither does its Ray"
                raise UnreachableError(what, hint=_HINT_GONE) from exc
            return self._away_s
        return min(_FIRST_CONTACT_S, self._away_s)

    def _is_absent(self, exc: UnreachableError) -> bool:
        """Return whether no control plane was there: no server, or a proxy reports that (a 502)."""
        return self._was_refused(exc) or exc.__cause__ is None

    def _was_refused(self, exc: UnreachableError) -> bool:
        """Return whether no connection was made, so the request cannot have taken effect."""
        return isinstance(exc.__cause__, ConnectError)

    def _request(
        self,
        method: str,
        path: str,
        *,
        query: Query | None,
        headers: dict[str, str] | None,
        body: dict[str, Any] | Iterator[bytes] | bytes | None,
        timeout_s: float,
    ) -> Request:
        # A new id for each attempt, because the control plane's log and errors contain it.
        given = {"X-Request-ID": os.urandom(8).hex()}
        if method == "POST":  # it may launch something
            given |= trace_headers.current()
        if isinstance(body, dict):
            given["Content-Type"] = "application/json"
            text = json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
            body = text.encode()
        return Request(
            method,
            path,
            query={key: value for key, value in (query or {}).items() if value},
            headers={**given, **(headers or {})},
            body=body,
            timeout_s=timeout_s,
        )

    @contextmanager
    def _translating_errors(self, *, hint: str = _HINT, url: str = "") -> Iterator[None]:
        url = url or self.url
        try:
            yield
        except ProxyError as exc:
            what = f"{self._through()} does not connect to {url}: {exc}"
            raise UnreachableError(what, hint=_HINT_PROXY) from exc
        except ConnectTimeoutError as exc:
            what = f"no connection to {self._through() or url} within {CONNECT_S:g} s"
            raise UnreachableError(what, hint=_HINT_PROXY if self._proxy else _HINT) from exc
        except SilenceError as exc:
            raise UnreachableError(f"{url} does not answer in time", hint=hint) from exc
        except ConnectError as exc:
            by = f", or {self._through()} does not answer" if self._proxy else ""
            what = f"no control plane answers at {url}{by}: {exc}"
            hint = _HINT_PROXY if self._proxy else _HINT
            is_strange = "CERTIFICATE_VERIFY_FAILED" in what
            raise UnreachableError(what, hint=_HINT_CA if is_strange else hint) from exc
        except BrokenError as exc:
            raise UnreachableError(f"the connection to {url} broke: {exc}", hint=hint) from exc
        except RequestError as exc:
            raise UsageError(f"cannot ask {url}: {exc}") from exc
        except TooLargeError as exc:
            raise AnswerError(f"{url} sends {exc}", hint=exc.hint) from exc

    def _through(self) -> str:
        return f"the proxy {redact(self._proxy)}" if self._proxy else ""

    def _check_version(self, response: Response) -> None:
        """Read the server's koco version, and report it once if the difference matters."""
        if self._version:
            return
        self._version = response.headers.get(versions.HEADER) or ""
        if not self._version:
            return  # another server answers, for now
        self.has_answered = True
        if self._remembers:
            known_servers.remember(self.url)
        warning = versions.warning(__version__, self._version, url=self.url)
        if warning and self._on_skew:
            self._on_skew(*warning)

    def _make_error(self, answer: "Answer") -> KocoError:
        """Return the error that an answer stands for."""
        code, path = answer.status, answer.path
        try:
            body = self.decode(answer)
        except AnswerError:
            body = None
        if any(shape_check.misfit(body, kind) is None for kind in (answers.Error, answers.Problem)):
            self.has_answered = True
            error = from_wire(body)
            if error.message == f"there is nothing at {path}":
                if below := urlsplit(self.url).path.rstrip("/"):
                    return self._path_error(below)
                if self._is_older():
                    error.hint = f"koco {self._version} runs there: `koco up` upgrades it"
            if code == UnauthorizedError.http_status and not path.endswith(_LOGIN):
                error.hint = self._login_hint or error.hint
            return error
        # An answer to HEAD has no body, and a proxy's answer does not have our form.
        bare: dict[int, KocoError] = {
            401: UnauthorizedError(f"{self.url} does not know the key"),
            403: NotAllowedError(f"{self.url} does not allow that"),
        }
        if code in bare:
            return bare[code]
        if code == NotFoundError.http_status and versions.HEADER in answer.headers:
            return NotFoundError(f"there is nothing at {self.url}{path}")
        if code >= 500:
            return UnreachableError(f"{self.url} answers {code}: it is not ready", hint=_HINT)
        return self._not_koco(code)

    def _is_older(self) -> bool:
        return bool(self._version) and versions.is_newer(__version__, self._version)

    def _path_error(self, below: str) -> KocoError:
        """Return the error for a URL that has a path, because no proxy strips it."""
        whole = self.url.rstrip("/").removesuffix(below)
        what = f"a control plane answers at {whole}, but not at {below}"
        return AnswerError(what, hint=f"is its URL {whole}?")

    def _not_koco(self, code: int) -> KocoError:
        what = f"{self.url} answers {code}, but not as a control plane does"
        return AnswerError(what, hint=_HINT_ODD)


class Answer(NamedTuple):
    """A complete answer. Header names are case-insensitive."""

    status: int
    path: str
    headers: Mapping[str, str]
    body: bytearray

    @classmethod
    def of(cls, response: Response, room: Room) -> "Answer":
        """Read a response."""
        body = bounded_body.whole(response, room)
        return cls(response.status, response.path, response.headers, body)

    @property
    def is_success(self) -> bool:
        """Whether the request succeeded."""
        return 200 <= self.status < 300


class Incoming(NamedTuple):
    """An answer with its body still to be read."""

    response: Response
    pace: Pace
    #: The headers of the control plane's answer, if the body comes from elsewhere.
    told: Mapping[str, str] | None = None

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of the control plane; names are case-insensitive."""
        return self.response.headers if self.told is None else self.told

    def lines(self) -> Iterator[list[bytes]]:
        """Yield the complete lines as they arrive. A heartbeat is an empty list.

        Raises:
            UnreachableError: the last line is incomplete, although the answer ends in good order: a
                server between here and the control plane cut it.
        """
        return bounded_body.lines(self.response.pieces(), self.pace)

    def pieces(self, size_bytes: int) -> Iterator[bytes]:
        """Yield the body in pieces of that size; the last one may be shorter."""
        return self.response.pieces(size_bytes)


class Attempts:
    """The times of further attempts: soon, then less often, until patience ends."""

    def __init__(
        self, patience_s: float, *, on_wait: Callable[[float], object] | None = None
    ) -> None:
        self._patience_s = patience_s
        self._on_wait = on_wait
        self.reset()

    def reset(self, began: float | None = None) -> None:
        """Start over because there was contact, at a time (monotonic seconds) or now."""
        self._began = time.monotonic() if began is None else began
        self._next_s = _BACKOFF_S[0]

    def pause(self, exc: UnreachableError, *, patience_s: float | None = None) -> None:
        """Wait until the next attempt, or raise `exc` if the patience is used up."""
        patience_s = self._patience_s if patience_s is None else patience_s
        now = time.monotonic()
        if now + self._next_s > self._began + patience_s:
            raise exc
        if self._on_wait is not None and now + self._next_s > self._began + _QUIET_S:
            self._on_wait(self._began + patience_s - now)
            self._on_wait = None
        time.sleep(self._next_s)
        self._next_s = min(2 * self._next_s, _BACKOFF_S[1])


def _is_hopeless(exc: BaseException | None) -> bool:
    """Return whether a restart cannot explain the failure: an unknown host, or no trust."""
    import ssl  # 15 ms, and plain HTTP does not need it

    while exc is not None:
        if isinstance(exc, socket.gaierror | ssl.SSLCertVerificationError):
            return True
        exc = exc.__cause__ or exc.__context__
    return False


def _open(context: Context, proxy: str | None) -> Session:
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


def _login_hint(context: Context) -> str:
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
