"""An asynchronous client of the REST API of Ray's dashboard."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from typing import TYPE_CHECKING, Any

from koco.errors import KocoError

if TYPE_CHECKING:
    import httpx

#: Time limit of one request (seconds).
_REQUEST_S = 60.0

#: The maximum number of entries in a list. This is the limit of Ray's dashboard.
_LISTED = 10_000

_HINT = "an app needs Ray's dashboard: start Ray with `ray[default,serve]` installed"


class ServeError(KocoError):
    """Serve could not be asked, or said no."""

    code = "serve_failed"


class Dashboard:
    """The dashboard of this process's cluster. Finds it again if it has moved."""

    def __init__(self, find: Callable[[], str] | None = None) -> None:
        self._find = find or _dashboard
        self._client: httpx.AsyncClient | None = None

    async def close(self) -> None:
        """Close the connections. The next request makes new ones."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def ask(self, method: str, path: str, **more: Any) -> bytes:
        """Send a request and return the body of the response.

        Raises:
            ServeError: the dashboard does not answer, or answers with an error.
        """
        import httpx

        try:
            if self._client is None:
                self._client = await self._connected()
            answer = await self._client.request(method, path, **more)
        except httpx.HTTPError as exc:
            await self.close()  # the dashboard may have moved
            raise _silent(exc) from exc
        if answer.status_code != httpx.codes.OK:
            raise _refused(answer)
        return answer.content

    async def stream(self, path: str, *, params: dict[str, str]) -> AsyncIterator[bytes]:
        """Send a GET and yield the body of the response as it comes, until it ends.

        Raises:
            ServeError: the dashboard does not answer, or answers with an error.
        """
        import httpx

        # A client of its own, because it is open for long.
        async with await self._connected() as client:
            try:
                async with client.stream("GET", path, params=params, timeout=None) as answer:
                    if answer.status_code != httpx.codes.OK:
                        await answer.aread()
                        raise _refused(answer)
                    async for piece in answer.aiter_raw():
                        yield piece
            except httpx.HTTPError as exc:
                raise _silent(exc) from exc

    async def listed(
        self, kind: str, filters: Iterable[tuple[str, str, str]]
    ) -> list[dict[str, Any]]:
        """Return the `actors`, `tasks` or `workers` that match all filters: `(key, "=", value)`.

        The list comes from Ray's state API, which is about a second behind.

        Raises:
            ServeError: the dashboard does not answer, or returns no list.
        """
        query: list[tuple[str, str]] = [("limit", str(_LISTED)), ("detail", "1")]
        for key, predicate, value in filters:
            query += [("filter_keys", key), ("filter_predicates", predicate)]
            query += [("filter_values", value)]
        answer = json.loads(await self.ask("GET", f"/api/v0/{kind}", params=query))
        try:
            found: list[dict[str, Any]] = answer["data"]["result"]["result"]
        except (KeyError, TypeError) as exc:
            raise ServeError(f"Ray's dashboard did not list its {kind}") from exc
        return found

    async def _connected(self) -> "httpx.AsyncClient":
        import httpx

        def look() -> tuple[str, dict[str, str]]:
            return self._find(), _token()

        url, headers = await asyncio.to_thread(look)
        # The dashboard replaces values by `<redacted>` if the client looks like a browser.
        headers = {**headers, "User-Agent": "koco"}
        return httpx.AsyncClient(base_url=url, headers=headers, timeout=_REQUEST_S, trust_env=False)


def _silent(exc: Exception) -> ServeError:
    return ServeError(f"Ray's dashboard does not answer: {exc!r}", hint=_HINT)


def _refused(answer: "httpx.Response") -> ServeError:
    """Return the error about an answer whose body was read."""
    text = answer.text.strip()[:2000]
    return ServeError(f"Ray's dashboard answered {answer.status_code}: {text}", hint=_HINT)


def _dashboard() -> str:
    from ray.experimental.internal_kv import _internal_kv_get

    address = _internal_kv_get("dashboard", namespace="dashboard")
    if not address:
        raise ServeError("this Ray has no dashboard", hint=_HINT)
    text = str(address.decode())
    return text if "://" in text else f"http://{text}"


def _token() -> dict[str, str]:
    """Return the header with Ray's token, or nothing if Ray does not ask for one."""
    from ray._private.authentication.http_token_authentication import (
        get_auth_headers_if_auth_enabled,
    )

    headers: dict[str, str] = get_auth_headers_if_auth_enabled({})
    return headers
