"""An endpoint of one's own: a FastAPI application whose `enter` routes are flows.

It answers its control plane and nobody else: every request must be signed
(`koco.sdk.signing`), those to an author's other routes, too; but for the paths that the
manifest opens to the public (`koco.sdk.public`).
"""

import os
import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route as _Path

from koco.errors import DeployError, KocoError, NotFoundError, UsageError
from koco.forms import Model
from koco.sdk import handlers
from koco.sdk.gate import Gate, path_of
from koco.sdk.handlers import ANSWER, INTERNAL, Answer, Handler, Route

F = TypeVar("F", bound=Callable[..., Any])


#: Every application that a module has made, in order: what is bound for Serve does not
#: say which of them it was made from.
_instances: list["ServeAPI"] = []


class ServeAPI(FastAPI):
    """A FastAPI application with `enter` routes, each a flow, and with locks and leases."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.enters: dict[str, Route] = {}
        self.locks: dict[str, Handler] = {}
        self.leases: dict[str, Handler] = {}
        self._module = str(sys._getframe(1).f_globals.get("__name__", ""))
        self._gate = Gate(self.enters)
        _instances.append(self)

    def enter(
        self,
        path: str,
        model: Model | Iterable[Any] | None = None,
        *,
        summary: str | None = None,
        description: str | None = None,
        tags: Iterable[str] | None = None,
        version: str | None = None,
        author: str | None = None,
        organization: str | None = None,
        **more: Any,
    ) -> Callable[[F], F]:
        """Make a flow of a handler: GET on its path describes the form, POST launches.

        Args:
            path: the route, such as `/` or `/reports`.
            model: the form, as a `Model`, as a list of elements, or None where any
                JSON object will do.
            summary: what the flow does, in one line; and so on for the others.
            more: whatever else is to be told of the flow; what only FastAPI knows what to
                do with, such as `response_model`, means nothing here.

        Raises:
            DeployError: the path or what the handler asks for makes no sense.
        """
        form = None if model is None else handlers.model_of(model, f"enter {path!r}")
        given = {
            **more,
            **{"summary": summary, "description": description, "version": version},
            **{"author": author, "organization": organization},
            **{"tags": list(tags) if tags is not None else None},
        }
        about = handlers.about_flow(path, given)
        if path in self.enters:
            raise DeployError(f"enter {path!r} is there twice", hint="each needs its own path")
        if not path.startswith("/") or "{" in path or path.startswith(INTERNAL):
            raise DeployError(
                f"enter {path!r} is no path of a flow",
                hint="begin it with '/', without parameters, and not with '/_koco'",
            )

        def decorate(function: F) -> F:
            route = Route(path, Handler("enter", path, function), form, about)
            self.enters[path] = route
            function.__dict__.setdefault("_koco_paths", []).append(path)
            methods = ["GET", "POST"]
            self.router.routes.append(
                _Path(path, _Endpoint(route), methods=methods, include_in_schema=False)
            )
            return function

        return decorate

    def lock(self, name: str) -> Callable[[F], F]:
        """Say what a person sees at a lock: the handler returns its form."""
        return self._named("lock", name, self.locks)

    def lease(self, name: str) -> Callable[[F], F]:
        """Say what becomes of a person's answer: the handler returns what the flow gets."""
        return self._named("lease", name, self.leases)

    def _named(self, what: str, name: str, known: dict[str, Handler]) -> Callable[[F], F]:
        if name in known:
            raise DeployError(f"{what} {name!r} is there twice", hint="each needs its own name")

        def decorate(function: F) -> F:
            known[name] = Handler(what, name, function)
            return function

        return decorate

    def describe(self, service: str) -> dict[str, Any]:
        """Return `{flows, locks, leases}`: what the control plane must know of it."""
        return {
            "flows": [route.describe(service) for route in self.enters.values()],
            "locks": sorted(self.locks),
            "leases": sorted(self.leases),
        }

    async def submit(self, path: str, inputs: Any, *, user: str = "") -> Any:
        """Return what the handler at a path would launch; for tests, which sign nothing."""
        body = handlers.encode(Answer("", inputs))
        scope = {
            **{"type": "http", "method": "POST", "path": path, "root_path": "", "app": self},
            **{"query_string": b"", "headers": [(b"content-type", b"application/json")]},
            "state": {"user": user, "fid": ""},
        }

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        return await self.enters[path].launch(Request(scope, receive), inputs)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request that is signed by the control plane, or to a public path."""
        if scope["type"] == "lifespan":
            await super().__call__(scope, receive, send)
            return
        if scope["type"] != "http":
            # A websocket: the control plane forwards none, so it is somebody else's.
            await receive()
            await send({"type": "websocket.close", "code": 1008})
            return
        try:
            receive = await self._gate.admit(scope, receive)
            if path_of(scope).startswith(f"{INTERNAL}/"):
                answer = await self._internal(Request(scope, receive))
                await response(answer)(scope, receive, send)
                return
        except KocoError as exc:
            refusal = JSONResponse(exc.to_wire(), status_code=exc.http_status)
            await refusal(scope, receive, send)
            return
        await super().__call__(scope, receive, send)

    async def _internal(self, request: Request) -> Answer:
        """Answer what only the control plane asks: a lock's form, a lease."""
        _, _, kind, name = (*path_of(request.scope).split("/", 3), "", "")[:4]
        asked = handlers.decode(await request.body())
        lock, lease = self.locks.get(name), self.leases.get(name)
        data = asked.get("data")
        if kind == "locks":
            return await handlers.answer_lock(lock, name, request=request, data=data)
        if kind == "leases":
            inputs = asked.get("inputs")
            return await handlers.answer_lease(
                lock, lease, name, request=request, inputs=inputs, data=data
            )
        raise NotFoundError(f"there is nothing at {INTERNAL}/{kind}")


class _Endpoint:
    """An `enter` route's place among the application's routes."""

    def __init__(self, route: Route) -> None:
        self._route = route

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        service = os.environ.get("KOCO_SERVICE", "")
        request = Request(scope, receive)
        if request.method != "POST":
            answer: Response = JSONResponse(self._route.describe(service))
        else:
            try:
                inputs = handlers.decode(await request.body())
                answer = response(await self._route.answer(request, inputs, service))
            except UsageError as exc:
                answer = JSONResponse(exc.to_wire(), status_code=exc.http_status)
        await answer(scope, receive, send)


def response(answer: Answer) -> Response:
    """Return an answer as the control plane reads it."""
    return Response(
        handlers.encode(answer),
        status_code=answer.status,
        headers={ANSWER: answer.kind},
        media_type="application/json",
    )


def instances_of(module: str) -> list[ServeAPI]:
    """Return the applications with `enter` routes that a module made, or else all there are."""
    those = [each for each in _instances if each.enters]
    return [each for each in those if each._module == module] or those
