"""An app in Kodosumi's dialect: a FastAPI application with `enter` routes, pages, locks and leases.

It is koco's own `ServeAPI`, so the same gate protects it, and the control plane describes and asks
it in the same way. Forms and handlers follow Kodosumi's rules.
"""

import inspect
import logging
import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from koco.errors import DeployError, InputsError, NotFoundError
from koco.kodosumi import error
from koco.kodosumi.const import KODOSUMI_API, KODOSUMI_BASE, KODOSUMI_USER
from koco.kodosumi.endpoint import paths, routes
from koco.kodosumi.endpoint.launch import unsent
from koco.kodosumi.endpoint.paths import FlowPaths
from koco.kodosumi.endpoint.routes import EnterRoute, LooseHandler, Page
from koco.kodosumi.forms import Model
from koco.manifest.descriptions import AppDescription
from koco.sdk.endpoint import handlers, protocol, serve_api
from koco.sdk.endpoint.handlers import Answer, Handler
from koco.sdk.endpoint.protocol import FORM, INTERNAL, VALUE
from koco.sdk.endpoint.signature_gate import Gate, path_of

log = logging.getLogger(__name__)

F = TypeVar("F", bound=Callable[..., Any])

#: The user of requests that the control plane has not signed. They come to public paths only.
NOBODY = "_annon_"

#: Headers with Kodosumi's claims about the caller. Only this app sets them.
_CLAIMS = (KODOSUMI_USER.encode(), KODOSUMI_BASE.encode())


class ServeAPI(serve_api.ServeAPI):
    """A FastAPI application with Kodosumi's `enter` routes, pages, locks and leases."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._module = str(sys._getframe(1).f_globals.get("__name__", ""))
        self.pages: dict[str, Page] = {}
        self._flow_paths = FlowPaths()
        self._gate = Gate(self._flow_paths)
        #: The options of each handler's route, and the handlers by route and by code.
        self._method_lookup: dict[Any, dict[str, Any]] = {}
        self._route_lookup: dict[tuple[str, str], Any] = {}
        self._code_lookup: dict[Any, Any] = {}
        self._flow_lookup: dict[Any, str] = {}

    # flows

    def enter(self, path: str, model: Any = None, *args: Any, **kwargs: Any) -> Callable[[F], F]:
        """Make a flow of a handler: GET on its path returns the form, POST launches.

        Args:
            path: the route. It may have parameters, which the handler finds in
                `request.path_params`.
            model: the form, a `forms.Model`.
            args: ignored.
            kwargs: `author`, `organization`, `version`, and the options of FastAPI's routes.

        Raises:
            DeployError: the path or the form is not valid.
        """
        if not isinstance(model, Model):
            raise DeployError(
                f"enter {path!r} has a {type(model).__name__} for a form",
                hint="give a Model of kodosumi.core.forms",
            )
        if not path.startswith("/") or path.startswith(INTERNAL):
            raise DeployError(
                f"enter {path!r} is not a valid path for a flow",
                hint="begin it with '/', and not with '/_koco'",
            )
        options = _annotate(kwargs, is_flow=True)

        def decorate(function: F) -> F:
            route = EnterRoute(
                path, LooseHandler("enter", path, function), None, model=model, options=options
            )
            self._add_enter(route)
            return function

        return decorate

    def _add_enter(self, route: EnterRoute) -> None:
        path, function, options = route.path, route.handler.function, route.options

        async def show_form() -> Response:
            return route.show()

        async def launch(request: Request) -> Response:
            return await route.post(request, os.environ.get("KOCO_SERVICE", ""))

        not_listed = {**options["openapi_extra"], KODOSUMI_API: False}
        self.add_api_route(path, show_form, methods=["GET"], **options)
        self.add_api_route(
            path, launch, methods=["POST"], **{**options, "openapi_extra": not_listed}
        )
        self.enters.setdefault(path, route)  # FastAPI asks the first, too
        details = {"path": path, "model": route.model, "method": "GET", **options}
        self._remember(function, ("get", "post"), path, details)
        self._add_flow(function, path)

    def _add_flow(self, function: Any, path: str) -> None:
        self._flow_paths.add(path)
        self._flow_lookup.setdefault(function, path)

    def _remember(
        self, function: Any, methods: tuple[str, ...], path: str, details: dict[str, Any]
    ) -> None:
        self._method_lookup[function] = details
        for method in methods:
            self._route_lookup[method, path] = function
        code = getattr(inspect.unwrap(function), "__code__", None)
        if code is not None:
            self._code_lookup[code] = function

    # an author's own routes, which may be flows

    def get(self, path: str, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
        """Add a route for GET. With `entry=True` it is a flow that shows a page."""
        return self._process_route("get", path, *args, **kwargs)

    def post(self, path: str, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
        """Add a route for POST; see `get`."""
        return self._process_route("post", path, *args, **kwargs)

    def put(self, path: str, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
        """Add a route for PUT; see `get`."""
        return self._process_route("put", path, *args, **kwargs)

    def delete(self, path: str, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
        """Add a route for DELETE; see `get`."""
        return self._process_route("delete", path, *args, **kwargs)

    def patch(self, path: str, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
        """Add a route for PATCH; see `get`."""
        return self._process_route("patch", path, *args, **kwargs)

    def options(self, path: str, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
        """Add a route for OPTIONS; see `get`."""
        return self._process_route("options", path, *args, **kwargs)

    def head(self, path: str, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
        """Add a route for HEAD; see `get`."""
        return self._process_route("head", path, *args, **kwargs)

    def _process_route(
        self, method: str, path: str, *args: Any, **kwargs: Any
    ) -> Callable[[Any], Any]:
        is_flow = bool(kwargs.pop("entry", None))
        options = _annotate(kwargs, is_flow=is_flow)
        original = getattr(super(), method)(path, *args, **options)

        def decorate(function: Any) -> Any:
            self._remember(function, (method,), path, options)
            if is_flow and path not in self.enters and (method == "get" or path not in self.pages):
                self.pages[path] = Page(path, LooseHandler(method, path, function), options)
                self._add_flow(function, path)
            return original(function)

        return decorate

    @property
    def flow_handlers(self) -> dict[str, Handler]:
        """The handlers of all flows by path: `enter` routes, then pages."""
        pages = {path: page.handler for path, page in self.pages.items()}
        return {**pages, **super().flow_handlers}

    def flow_of(self, handler: Any, service: str) -> str | None:
        """Return the name of a handler's flow; None if it has none."""
        try:
            path = self._flow_lookup.get(handler)
        except TypeError:  # not hashable, so no handler
            return None
        return None if path is None else paths.names(self._flow_paths, service)[path]

    def describe(self, service: str) -> AppDescription:
        """Return the flows, locks and leases, which the control plane needs to know."""
        known: dict[str, Any] = {**self.pages, **self.enters}
        named = paths.names(self._flow_paths, service)
        flows = tuple(
            msgspec.structs.replace(known[path].describe(service), name=name)
            for path, name in named.items()
        )
        return AppDescription(flows=flows, handlers=super().describe(service).handlers)

    # locks and leases

    def lock(self, name: str, **kwargs: Any) -> Callable[[F], F]:
        """Define the form that a person sees at a lock: the handler returns it."""

        def decorate(function: F) -> F:
            self.locks[name] = LooseHandler("lock", name, function)
            return function

        return decorate

    def lease(self, name: str, **kwargs: Any) -> Callable[[F], F]:
        """Process a person's answer: the flow gets the handler's result."""

        def decorate(function: F) -> F:
            self.leases[name] = LooseHandler("lease", name, function)
            return function

        return decorate

    # requests

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request that the control plane has signed, or that is to a public path."""
        await super().__call__(scope, receive, send)
        for launch in unsent(scope):
            log.warning("%r was not returned by its handler, so it launches nothing", launch)

    def _admit(self, scope: Any) -> None:
        """Put Kodosumi's facts about the caller into an admitted request."""
        service = os.environ.get("KOCO_SERVICE", "")
        state = scope["state"]
        state["user"] = state["user"] or NOBODY
        state["prefix"] = f"/v1/services/{service}/app"
        facts = (state["user"].encode(), state["prefix"].encode())
        headers = [each for each in scope["headers"] if each[0].lower() not in _CLAIMS]
        scope["headers"] = [*headers, *zip(_CLAIMS, facts, strict=True)]

    async def _internal(self, request: Request) -> Answer:
        _, _, kind, name = (*path_of(request.scope).split("/", 3), "", "")[:4]
        asked = protocol.decode(await request.body())
        try:
            if kind == "locks":
                return Answer(FORM, await self._lock_form(request, name, asked.get("data")))
            if kind == "leases":
                return Answer(VALUE, await self._lease(request, name, asked))
        except error.InputsError as exc:
            return handlers.refusal(routes.to_native(exc))
        except InputsError as exc:
            return handlers.refusal(exc)
        except Exception as exc:  # noqa: BLE001 - a user's handler may raise anything
            return handlers.failure(exc)
        raise NotFoundError(f"there is nothing at {INTERNAL}/{kind}")

    async def _lock_form(self, request: Request, name: str, data: Any) -> dict[str, Any]:
        if name not in self.locks:
            return {"form": None}
        model = await self.locks[name].call(request=request, data=data)
        return {"form": model.to_list(), "elements": model.get_model()}

    async def _lease(self, request: Request, name: str, asked: dict[str, Any]) -> dict[str, Any]:
        """Return the result of a lease. Dates in it are text, because Kodosumi sends it as JSON."""
        hidden: tuple[str, ...] = ()
        data, inputs = asked.get("data"), asked.get("inputs")
        if name in self.locks:
            model = await self.locks[name].call(request=request, data=data)
            hidden = model.hidden
            inputs = model.collect(inputs if isinstance(inputs, dict) else {}, keep_unknown=True)
        if name in self.leases:
            inputs = await self.leases[name].call(request=request, inputs=inputs, data=data)
            hidden = ()  # the result is the lease's own
        return {"value": inputs, "hidden": hidden}


def _annotate(options: dict[str, Any], *, is_flow: bool) -> dict[str, Any]:
    """Return a route's options with Kodosumi's own among `openapi_extra`."""
    found = {**options}
    annotated = {**(found.pop("openapi_extra", None) or {})}
    if is_flow:
        annotated[KODOSUMI_API] = True
    for name in ("author", "organization", "version"):
        if value := found.pop(name, None):
            annotated[f"x-{name}"] = value
    return {**found, "openapi_extra": annotated}
