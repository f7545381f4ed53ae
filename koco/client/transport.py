"""Send requests to one control plane, and repeat them if that is safe.

No error of `koco.client.http` leaves this package: see `exchange.translation`.
"""

import functools
import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypedDict, TypeVar, Unpack
from urllib.parse import urlsplit

from koco import __version__, versions
from koco.client import answers, known_servers
from koco.client.context_file import Context
from koco.client.exchange import bounded_body, opening, redirects, shape_check, trace_headers
from koco.client.exchange.answer import Answer, Incoming
from koco.client.exchange.attempts import Attempts
from koco.client.exchange.memory_budget import Room, decode
from koco.client.exchange.translation import HINT, translated
from koco.client.http.failures import ConnectError, HttpError, SilenceError
from koco.client.http.pace import Pace
from koco.client.http.session import Request, Response
from koco.client.http_proxy import proxy_for
from koco.errors import (
    AnswerError,
    KocoError,
    NotAllowedError,
    NotFoundError,
    UnauthorizedError,
    UnreachableError,
    from_wire,
)

#: How long a control plane that has answered before may be away, for a request that can be repeated
#: (seconds). A restart takes two, and more on a busy machine.
AWAY_S = 15.0

#: How long to try one that has never answered (seconds), because likely nothing is there.
_FIRST_CONTACT_S = 1.0

#: How long `/health` may take while another request is not answered (seconds).
_LOOK_S = 15.0

_HINT_GONE = "`koco up` starts both again, with the same store"
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
        self._login_hint = opening.login_hint(context)
        self._on_skew = options.get("on_skew")
        self._on_wait = options.get("on_wait")
        self._remembers = options.get("remembers", False)
        self._version = ""
        self._proxy = proxy_for(context.url)
        self._http = opening.open_session(context, self._proxy)
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

    def decode(self, answer: Answer, room: Room | None = None) -> Any:
        """Return the value of an answer's JSON; raises AnswerError if it is not JSON."""
        try:
            with self._translating():
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
    ) -> Answer:
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
                with self._translating(hint=HINT if repeatable else _HINT_SENT):
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

    def _answer(self, request: Request, timeout_s: float, room: Room) -> Answer:
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
    ) -> Iterator[Incoming]:
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
        with self._translating(), self._http.send(request, pace) as response:
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
        trust = functools.partial(opening.make_ssl_context, self._ca)
        with translated(server, proxy=self._proxy, hint=_HINT_STORAGE):
            with redirects.follow(location, headers=headers, pace=pace, trust=trust) as found:
                yield found

    def attempts(self, patience_s: float) -> Attempts:
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

    def _translating(self, *, hint: str = HINT) -> AbstractContextManager[None]:
        return translated(self.url, proxy=self._proxy, hint=hint)

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

    def _make_error(self, answer: Answer) -> KocoError:
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
        if code >= 500 and versions.HEADER in answer.headers:
            return UnreachableError(
                f"{self.url} answers {code}: its control plane runs, but cannot do this now",
                hint="`koco status` says whether its store answers, and `koco doctor` whether all"
                " else does: this answer has no reason in it",
            )
        if code >= 500:
            return UnreachableError(f"{self.url} answers {code}: it is not ready", hint=HINT)
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


def _is_hopeless(exc: BaseException | None) -> bool:
    """Return whether a restart cannot explain the failure: an unknown host, or no trust."""
    import ssl  # 15 ms, and plain HTTP does not need it

    while exc is not None:
        if isinstance(exc, socket.gaierror | ssl.SSLCertVerificationError):
            return True
        exc = exc.__cause__ or exc.__context__
    return False
