"""Forwards signed requests to services' own endpoints and reads their answers.

The answer to a launch request is an order. The endpoint launches nothing itself, so an accepted
launch is either committed here or does not happen.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from koco.cluster.dashboard import ServeError
from koco.cluster.serve import Serve, prefix_of
from koco.control import fair_turns
from koco.control.services import endpoint_headers
from koco.control.services.endpoint_messages import Failure, Form, Order, Refusal, read_as
from koco.errors import (
    EndpointError,
    HandlerRefusal,
    InputsError,
    NotFoundError,
    TimedOutError,
)
from koco.events.line import encode_payload
from koco.forms import json_value_count
from koco.sdk.endpoint import place, signing
from koco.sdk.endpoint.protocol import ANSWER, ERRORS, FAILURE, FORM, INTERNAL, LAUNCH, VALUE
from koco.sizes import format_size
from koco.store.model import Answer, Release

if TYPE_CHECKING:
    import httpx

log = logging.getLogger(__name__)

#: The size limit for an endpoint's answer that is read as a whole (bytes).
_ANSWER_BYTES = 16 * 1024 * 1024
#: How many values such an answer may contain. There is a limit because code that visits each value
#: blocks the loop. It allows as many inputs as a request body by default, plus the list of dates.
_ANSWER_VALUES = 200_000
_JSON, _FORM = "application/json", "application/x-www-form-urlencoded"
#: How long Serve's proxy may take to route to a running application, and how often to check (s).
_ROUTE_S, _LOOK_S = 10.0, 0.2


@dataclass(frozen=True, slots=True)
class Forwarded:
    """The answer of an author's own route. Its body is streamed."""

    status: int
    headers: dict[str, str]
    body: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class Request:
    """A request to forward. `path` is decoded and begins with `/`; `query` is as it was sent."""

    method: str
    path: str
    query: str = ""
    body: bytes = b""
    #: The caller's headers; None if there are none.
    headers: Mapping[str, str] | None = None
    #: The type of the body if the control plane wrote it; empty for a request that is passed on.
    media: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """The parts of a launch request that Kodosumi's handlers see besides its inputs."""

    #: The path, which may be one of several that a flow's route takes.
    path: str
    query: str = ""
    headers: Mapping[str, str] | None = None


class Endpoints:
    """Calls the endpoints of live releases, and of releases that still have executions."""

    def __init__(self, serve: Serve, *, secret: bytes, url: str = "") -> None:
        """Store the parts. `url` is the control plane's own, which apps make their URLs from."""
        self.serve = serve
        self._url = url.rstrip("/")
        self._secret = secret
        self._connections: httpx.AsyncClient | None = None

    def key(self, service: str, release: int) -> bytes:
        """Return the key that signs the requests to a release."""
        return signing.key_for(self._secret, service, release)

    async def enter(
        self, release: Release, call: Call, *, inputs: Any, user: str, as_form: bool = False
    ) -> Order:
        """Let the endpoint validate inputs and call the handler at a path; return its order.

        The inputs are sent as JSON, or as the form of a page.

        Raises:
            InputsError: The form or the handler refuses the inputs.
            HandlerRefusal: The handler answered with a 4xx status of its own.
            EndpointError: The handler failed.
            TimedOutError: It took longer than the manifest's `endpoint.timeout`.
        """
        media, body = _JSON, encode_payload(inputs)
        if as_form:
            media, body = _FORM, urlencode(_filled(inputs), doseq=True).encode()
        request = Request("POST", call.path, call.query, body, call.headers, media)
        answer = await self._answer(release, request, LAUNCH, user=user, is_page=as_form)
        return read_as(Order, answer, where=_describe_place(release, call.path))

    async def lock_form(
        self, release: Release, name: str, *, data: Any, fid: str, user: str
    ) -> Form | None:
        """Return the form of a lock, or None if the app does not describe this lock.

        Raises the same errors as `enter`.
        """
        if release.app is None or name not in release.app.locks:
            return None
        path = f"{INTERNAL}/locks/{name}"
        request = Request("POST", path, body=encode_payload({"data": data}), media=_JSON)
        body = await self._answer(release, request, FORM, user=user, fid=fid)
        return read_as(Form, body, where=_describe_place(release, request.path))

    async def lease(
        self, release: Release, name: str, *, inputs: Any, data: Any, fid: str, user: str
    ) -> Answer:
        """Let the app validate a person's answer to a lock; return the answer for the flow.

        Raises the same errors as `enter`. An `InputsError` leaves the lock open.
        """
        asked = encode_payload({"inputs": inputs, "data": data})
        request = Request("POST", f"{INTERNAL}/leases/{name}", body=asked, media=_JSON)
        body = await self._answer(release, request, VALUE, user=user, fid=fid)
        return read_as(Answer, body, where=_describe_place(release, request.path))

    async def pass_through(
        self, release: Release, request: Request, *, user: str
    ) -> Forwarded | Order:
        """Forward a request to an author's own route. The body of the answer is streamed.

        If the route returned a `Launch`, the answer is its order, which is not carried out yet.

        Raises:
            NotFoundError: The path leads out of the application.
            EndpointError: The endpoint cannot be reached.
            TimedOutError: It did not begin to answer in time.
        """
        segments = request.path.split("/")
        if ".." in segments or "." in segments or segments[1:2] == [INTERNAL.strip("/")]:
            raise NotFoundError(f"there is nothing at {request.path} of {release.service}")
        async with self._limit(release, request.path):
            answer = await self._send(release, request, user=user, fid="")
            may_launch = any(flow.dialect for flow in release.flows)
            if may_launch and answer.headers.get(ANSWER) == LAUNCH:
                # Such an app may compress all of its answers.
                blob = await self._read_body(release, request.path, answer, answer.aiter_bytes())
                return read_as(Order, blob, where=_describe_place(release, request.path))
        base = f"{await self.serve.base()}{prefix_of(release.service, release.number)}"
        headers = endpoint_headers.for_caller(answer.headers, base, release, url=self._url)
        if answer.status_code == 204:  # it has no body, so a client must not wait for one
            headers.pop("content-length", None)
        return Forwarded(answer.status_code, headers, _Body(answer))

    async def _answer(
        self,
        release: Release,
        request: Request,
        wanted: str,
        *,
        user: str,
        fid: str = "",
        is_page: bool = False,
    ) -> bytes:
        """Return the body of an answer of the wanted kind.

        Raises:
            InputsError: The endpoint refused the inputs.
            HandlerRefusal: The handler answered with a 4xx status of its own.
            EndpointError: The endpoint reported a failure, or its answer is not valid.
        """
        async with self._limit(release, request.path):
            status, kind, blob = await self._read(release, request, user=user, fid=fid)
        where = _describe_place(release, request.path)
        if not kind:
            raise _foreign(release, request.path, status, blob, is_page=is_page)
        if kind == ERRORS:
            raise InputsError(**read_as(Refusal, blob, where=where).errors)
        if kind == FAILURE:
            failure = read_as(Failure, blob, where=where)
            if failure.status >= 400:
                again = {"Retry-After": failure.retry_after} if failure.retry_after else None
                raise HandlerRefusal(failure.message, status=failure.status, headers=again)
            log.warning("%s failed: %s\n%s", where, failure.message, failure.traceback)
            what = f"{failure.type}: {failure.message}" if failure.type else failure.message
            raise EndpointError(
                f"{where} failed: {what}",
                detail=failure.traceback or None,
                hint=failure.hint or "the service's own code raised it: fix it and deploy again",
            )
        if kind != wanted:
            raise EndpointError(f"{where} answered with {kind!r}, not {wanted!r}")
        return blob

    async def _read(
        self, release: Release, request: Request, *, user: str, fid: str
    ) -> tuple[int, str, bytes]:
        answer = await self._send(release, request, user=user, fid=fid)
        blob = await self._read_body(release, request.path, answer, answer.aiter_raw())
        return answer.status_code, answer.headers.get(ANSWER, ""), blob

    async def _read_body(
        self, release: Release, path: str, answer: "httpx.Response", parts: AsyncIterator[bytes]
    ) -> bytes:
        import httpx

        where, blob = _describe_place(release, path), bytearray()
        try:
            async for part in parts:
                blob += part
                if len(blob) > _ANSWER_BYTES:
                    raise EndpointError(
                        f"{where} answers with more than {format_size(_ANSWER_BYTES)}",
                        hint="put large inputs into files",
                    )
        except httpx.HTTPError as exc:  # its replica died in the middle
            raise _unreachable(release, exc) from exc
        finally:
            await answer.aclose()
        if json_value_count.has_more(bytes(blob), _ANSWER_VALUES):
            raise EndpointError(
                f"{where} answers with more than {_ANSWER_VALUES} values",
                hint="put large inputs into files",
            )
        return bytes(blob)

    async def _send(
        self, release: Release, request: Request, *, user: str, fid: str
    ) -> "httpx.Response":
        """Send a signed request; return its answer, with only the headers read so far.

        As long as Serve's proxy does not know the application, the proxy itself answers 404, and
        the request does not reach the application. Wait until it does.
        """
        fair_turns.yield_turn()
        await self.serve.wait_until_up(release.service, release.number)
        loop = asyncio.get_running_loop()
        deadline, was_routed = loop.time() + _ROUTE_S, not _may_be_repeated(request)
        while True:
            answer = await self._send_once(release, request, user=user, fid=fid)
            if not _may_be_the_proxys(answer):
                return answer
            try:
                is_routed = await self._is_routed(release)
            except BaseException:
                await answer.aclose()
                raise
            if is_routed and was_routed:
                return answer
            await answer.aclose()
            if is_routed:  # perhaps only since that answer, so send the request again
                was_routed = True
                continue
            if loop.time() > deadline:
                raise EndpointError(
                    f"the endpoint of {release.service} is not up: Serve does not know it yet",
                    hint="nothing was launched; `koco status` shows whether it is up",
                )
            await asyncio.sleep(_LOOK_S)

    async def _is_routed(self, release: Release) -> bool:
        try:
            return await self.serve.is_routed(release.service, release.number, proxy=self._client())
        except ServeError as exc:
            raise _unreachable(release, exc) from exc

    async def _send_once(
        self, release: Release, request: Request, *, user: str, fid: str
    ) -> "httpx.Response":
        import httpx

        target = f"{request.path}?{request.query}" if request.query else request.path
        headers = {
            # Compressed only if the caller asks for it, because we pass the body on as it comes.
            "accept-encoding": "identity",
            **endpoint_headers.for_service(request.headers or {}, media=request.media),
            **signing.sign(
                self.key(release.service, release.number),
                request.method,
                target,
                body=request.body,
                user=user,
                fid=fid,
            ),
        }
        if self._url:
            headers[place.BASE] = place.base_of(self._url, release.service)
        url = f"{prefix_of(release.service, release.number)}{quote(request.path)}"
        url += f"?{request.query}" if request.query else ""
        # The server decoded the headers as Latin-1, so this sends the same bytes again. File names
        # may be in Latin-1 or UTF-8.
        sent = httpx.Headers(headers, encoding="latin-1")
        for is_last in (False, True):
            try:
                base = await self.serve.base(anew=is_last)
                return await self._client().send(
                    self._client().build_request(
                        request.method, f"{base}{url}", headers=sent, content=request.body
                    ),
                    stream=True,
                )
            except httpx.ConnectError as exc:
                if is_last:  # the first time nothing was sent, so retry: Serve may have moved
                    raise _unreachable(release, exc) from exc
            except (httpx.HTTPError, ServeError) as exc:
                raise _unreachable(release, exc) from exc
        raise AssertionError

    @asynccontextmanager
    async def _limit(self, release: Release, path: str) -> AsyncIterator[None]:
        """Apply the manifest's `endpoint.timeout`. Raises TimedOutError if it is exceeded."""
        timeout_s = release.manifest.endpoint.timeout
        try:
            async with asyncio.timeout(timeout_s):
                yield
        except TimeoutError as exc:
            if self.serve.is_coming(release.service, release.number):
                raise TimedOutError(
                    f"the endpoint of {release.service} is still coming up after {timeout_s:g} s",
                    hint="nothing was launched; `koco status` shows when it is up",
                ) from exc
            raise TimedOutError(
                f"{_describe_place(release, path)} did not answer within {timeout_s:g} s",
                hint="nothing was launched; the manifest's `endpoint.timeout` allows more time",
            ) from exc

    def _client(self) -> "httpx.AsyncClient":
        import httpx

        if self._connections is None:
            self._connections = httpx.AsyncClient(
                timeout=None,
                trust_env=False,
                # Serve closes connections that are idle for 90 s, so we must close them earlier.
                limits=httpx.Limits(max_connections=None, keepalive_expiry=30),
            )
        return self._connections


def _filled(inputs: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a page's form that have a value. A form has no other empty ones."""
    return {name: value for name, value in inputs.items() if value is not None}


def _may_be_the_proxys(answer: "httpx.Response") -> bool:
    """Return True if an answer looks like the 404 of Serve's proxy for an unknown path."""
    kind = answer.headers.get("content-type", "")
    return answer.status_code == 404 and kind.startswith("text/plain")


def _may_be_repeated(request: Request) -> bool:
    """Return True if a request can be sent again after a 404 that may be the proxy's.

    This includes our own requests, because the endpoint marks its answers to them.
    """
    return bool(request.media) or request.method in ("GET", "HEAD")


def _unreachable(release: Release, exc: Exception) -> EndpointError:
    return EndpointError(
        f"the endpoint of {release.service} cannot be reached: {exc!r}",
        hint="nothing was launched; `koco status` shows whether it is up",
    )


def _foreign(
    release: Release, path: str, status: int, body: bytes, *, is_page: bool
) -> EndpointError:
    """Return the error for an answer that is none of koco's own."""
    said = f"answered {status}: {body[:200].decode(errors='replace').strip()}"
    if not is_page or status in (502, 503, 504):
        return EndpointError(
            f"{_describe_place(release, path)} {said}",
            hint=f"`koco status` shows whether {release.service} is up",
        )
    return EndpointError(
        f"{path} of {release.service} is a page, and launched nothing: POST with its form {said}",
        hint=f"GET /v1/services/{release.service}/app{path} shows it; it launches if the route for"
        " POST at this path, or another one that its form names, returns a Launch",
    )


def _describe_place(release: Release, path: str) -> str:
    for kind, what in (("locks", "lock"), ("leases", "lease")):
        if path.startswith(f"{INTERNAL}/{kind}/"):
            return f"the {what} {path.rpartition('/')[2]!r} of {release.service}"
    where = f"{path} of {release.service}" if path.strip("/") else f"of {release.service}"
    return f"the endpoint {where}"


class _Body:
    """The stream of an answer's body. `aclose` frees the connection, even if nothing was read."""

    def __init__(self, answer: "httpx.Response") -> None:
        self._answer = answer
        self._parts = answer.aiter_raw()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        return await anext(self._parts)

    async def aclose(self) -> None:
        await self._answer.aclose()
