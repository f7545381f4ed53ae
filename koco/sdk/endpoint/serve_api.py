"""A service's own endpoint: a FastAPI application whose `enter` routes are flows.

It answers only its control plane: every request must be signed (`koco.sdk.endpoint.signing`),
including those to an author's other routes. The exceptions are paths that the manifest makes public
(`koco.sdk.endpoint.public`).
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
from koco.manifest.descriptions import AppDescription, AppHandlers
from koco.sdk.endpoint import handlers, protocol
from koco.sdk.endpoint.handlers import Answer, Handler, Route
from koco.sdk.endpoint.protocol import ANSWER, INTERNAL
from koco.sdk.endpoint.signature_gate import Gate, path_of

F = TypeVar("F", bound=Callable[..., Any])


#: All applications so far, in order. An object that is bound for Serve does not show which of
#: them it was made from.
_instances: list["ServeAPI"] = []


class ServeAPI(FastAPI):
    """A FastAPI application with `enter` routes (each is a flow), locks and leases."""

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
            model: the form, as a `Model` or a list of elements; None takes any JSON object.
            summary: a one-line summary of the flow; the following ones are metadata as well.
            more: further metadata of the flow. Options that only FastAPI understands, such as
                `response_model`, have no effect.

        Raises:
            DeployError: the path or a parameter of the handler is invalid.
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
                f"enter {path!r} is not a valid path for a flow",
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
        """Define the form that a person sees at a lock: the handler returns it."""
        return self._named("lock", name, self.locks)

    def lease(self, name: str) -> Callable[[F], F]:
        """Process a person's answer: the flow gets the handler's result."""
        return self._named("lease", name, self.leases)

    def _named(self, what: str, name: str, known: dict[str, Handler]) -> Callable[[F], F]:
        if name in known:
            raise DeployError(f"{what} {name!r} is there twice", hint="each needs its own name")

        def decorate(function: F) -> F:
            known[name] = Handler(what, name, function)
            return function

        return decorate

    @property
    def flow_handlers(self) -> dict[str, Handler]:
        """The handlers of all flows by path."""
        return {path: route.handler for path, route in self.enters.items()}

    def describe(self, service: str) -> AppDescription:
        """Return the flows, locks and leases, which the control plane needs to know."""
        return AppDescription(
            flows=tuple(route.describe(service) for route in self.enters.values()),
            handlers=AppHandlers(
                locks=tuple(sorted(self.locks)), leases=tuple(sorted(self.leases))
            ),
        )

    async def submit(self, path: str, inputs: Any, *, user: str = "") -> Any:
        """Return the launch of the handler at a path. For tests, which sign nothing."""
        return await self.enters[path].launch(self._request(path, inputs, user=user), inputs)

    async def answer(
        self, lock: str, *, inputs: Any, data: Any, user: str = "", fid: str = ""
    ) -> Answer:
        """Return the answer to a lock, as the control plane gets it. For tests, as `submit`."""
        asked = {"inputs": inputs, "data": data}
        request = self._request(f"{INTERNAL}/leases/{lock}", asked, user=user, fid=fid)
        return await self._internal(request)

    async def ask(self, lock: str, *, data: Any, user: str = "", fid: str = "") -> Answer:
        """Return the form of a lock, as the control plane gets it. For tests, as `submit`."""
        request = self._request(f"{INTERNAL}/locks/{lock}", {"data": data}, user=user, fid=fid)
        return await self._internal(request)

    def _request(self, path: str, sent: Any, *, user: str, fid: str = "") -> Request:
        """Return an admitted request that nobody has signed."""
        body = handlers.encode(Answer("", sent))
        scope = {
            **{"type": "http", "method": "POST", "path": path, "root_path": "", "app": self},
            **{"query_string": b"", "headers": [(b"content-type", b"application/json")]},
            "state": {"user": user, "fid": fid},
        }

        self._admit(scope)

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        return Request(scope, receive)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request that the control plane has signed, or that is to a public path."""
        if scope["type"] == "lifespan":
            await super().__call__(scope, receive, send)
            return
        if scope["type"] != "http":
            # A websocket: the control plane never forwards one, so this is another caller.
            await receive()
            await send({"type": "websocket.close", "code": 1008})
            return
        try:
            receive = await self._gate.admit(scope, receive)
            self._admit(scope)
            if path_of(scope).startswith(f"{INTERNAL}/"):
                answer = await self._internal(Request(scope, receive))
                await response(answer)(scope, receive, send)
                return
        except KocoError as exc:
            refusal = JSONResponse(exc.to_wire(), status_code=exc.http_status)
            await refusal(scope, receive, send)
            return
        await super().__call__(scope, receive, send)

    def _admit(self, scope: Any) -> None:
        """Called with each request that the gate has admitted. For other programming models."""

    async def _internal(self, request: Request) -> Answer:
        """Answer the control plane's own questions: for a lock's form, and for a lease."""
        _, _, kind, name = (*path_of(request.scope).split("/", 3), "", "")[:4]
        asked = protocol.decode(await request.body())
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
    """The ASGI application of an `enter` route."""

    def __init__(self, route: Route) -> None:
        self._route = route

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        service = os.environ.get("KOCO_SERVICE", "")
        request = Request(scope, receive)
        if request.method != "POST":
            answer: Response = JSONResponse(self._route.describe(service).to_wire())
        else:
            try:
                inputs = protocol.decode(await request.body())
                answer = response(await self._route.answer(request, inputs, service))
            except UsageError as exc:
                answer = JSONResponse(exc.to_wire(), status_code=exc.http_status)
        await answer(scope, receive, send)


def response(answer: Answer) -> Response:
    """Return an answer in the form that the control plane reads."""
    return Response(
        handlers.encode(answer),
        status_code=answer.status,
        headers={ANSWER: answer.kind},
        media_type="application/json",
    )


def instances_of(module: str) -> list[ServeAPI]:
    """Return a module's applications with flows; if it has none, those of all modules."""
    those = [each for each in _instances if each.flow_handlers]
    return [each for each in those if each._module == module] or those
