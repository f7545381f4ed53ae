"""Routes of an app in Kodosumi's dialect that are flows: `enter` routes, and an author's pages.

Handlers are called as Kodosumi calls them: they get `request`, `inputs` and `data` by name, and
nothing is checked before.
"""

import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from koco.errors import InputsError as NativeInputsError
from koco.errors import UsageError
from koco.events import line
from koco.kodosumi.endpoint import paths
from koco.kodosumi.endpoint.launch import Launch
from koco.kodosumi.error import InputsError
from koco.manifest.descriptions import KODOSUMI, FlowDescription
from koco.sdk.endpoint import handlers, protocol
from koco.sdk.endpoint.handlers import Answer, Handler, Route
from koco.sdk.endpoint.protocol import LAUNCH
from koco.sdk.entrypoints import loader

#: The options of a route that describe its flow, besides those in `openapi_extra`.
_TEXTS = ("summary", "description")
_EXTRA = ("author", "organization", "version")

_NO_LAUNCH = "kodosumi endpoint must return a Launch object or raise an InputsError"


@dataclass(frozen=True, slots=True)
class LooseHandler(Handler):
    """An author's function, which may have any parameters: those unknown keep their defaults."""

    def __post_init__(self) -> None:
        """Accept any function, as Kodosumi does."""

    async def call(self, **offers: Any) -> Any:
        """Call the function with the offers that it has parameters for; a `def` in a thread."""
        signature = inspect.signature(self.function)
        bound = signature.bind_partial()
        known = {name: each for name, each in offers.items() if name in signature.parameters}
        bound.arguments.update(known)
        bound.apply_defaults()
        if loader.is_async(self.function):
            return await self.function(*bound.args, **bound.kwargs)
        result = await run_in_threadpool(self.function, *bound.args, **bound.kwargs)
        return await result if inspect.isawaitable(result) else result


@dataclass(frozen=True, slots=True)
class EnterRoute(Route):
    """An `enter` route with Kodosumi's form. Its `form` is None: `model` has the fields."""

    model: Any = None
    #: The options of the route, as its GET request shows them.
    options: dict[str, Any] = field(default_factory=dict)

    def describe(self, service: str) -> FlowDescription:
        """Describe the flow of this route."""
        return FlowDescription(
            name=protocol.flow_name(self.path, service),
            path=self.path,
            entrypoint=_name_of(self.handler),
            form=[*self._path_inputs(), *self.model.to_list()],
            dialect=KODOSUMI,
            **about_flow(self.options),
        )

    def _path_inputs(self) -> list[dict[str, Any]]:
        """Return a field for each parameter of the path that the form does not ask for."""
        asked = {getattr(each, "name", None) for each in self.model.children}
        about = {"type": "text", "label": f"part of the path {self.path}", "required": True}
        names = paths.parameters(self.path)
        return [{**about, "name": name} for name in names if name not in asked]

    def show(self) -> Response:
        """Return the options and the form, as Kodosumi's clients read them."""
        shown = {**self.options, "elements": self.model.get_model()}
        return JSONResponse(msgspec.json.decode(line.encode_payload(shown)))

    async def launch(self, request: Any, inputs: Any) -> Any:
        """Collect the inputs, call the handler, and return its launch.

        Raises:
            InputsError: the handler refuses the inputs, as koco's own error.
            UsageError: the handler returned something other than a `Launch`.
            Exception: anything else that the handler raises.
        """
        sent = inputs if isinstance(inputs, dict) else {}
        try:
            result = await self.handler.call(request=request, inputs=self.model.collect(sent))
        except InputsError as exc:
            raise to_native(exc) from exc
        if not isinstance(result, Launch):
            raise UsageError(
                f"{_NO_LAUNCH}: {self.handler.function_name} returned a {type(result).__name__}",
                hint="return Launch(request, 'module:object', inputs=inputs)",
            )
        return result

    async def answer(self, request: Any, inputs: Any, service: str) -> Answer:
        """Return the order to launch, or the reason why there is none."""
        try:
            launch = await self.launch(request, inputs)
            launch.is_sent = True
            return Answer(LAUNCH, launch.order)
        except NativeInputsError as exc:
            return handlers.refusal(exc)
        except Exception as exc:  # noqa: BLE001 - a user's handler may raise anything
            return handlers.failure(exc)

    async def post(self, request: Request, service: str) -> Response:
        """Answer a request to launch, as the control plane reads it. A bad body counts as empty."""
        from koco.sdk.endpoint.serve_api import response

        try:
            inputs = json.loads(await request.body() or b"{}")
        except (ValueError, RecursionError):
            inputs = {}
        return response(await self.answer(request, inputs, service))


@dataclass(frozen=True, slots=True)
class Page:
    """An author's own route that is a flow: `@app.get(..., entry=True)` shows a page."""

    path: str
    handler: Handler
    options: dict[str, Any]

    def describe(self, service: str) -> FlowDescription:
        """Describe the flow of this page. As in OpenAPI, its function's name and text are used."""
        function = self.handler.function
        title = getattr(function, "__name__", "").replace("_", " ").title()
        text = inspect.cleandoc(function.__doc__ or "").split("\f")[0]
        found = {"summary": title or None, "description": text, **about_flow(self.options)}
        return FlowDescription(
            name=protocol.flow_name(self.path, service),
            path=self.path,
            entrypoint=_name_of(self.handler),
            form=None,
            dialect=KODOSUMI,
            page=True,
            **found,
        )


def about_flow(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a flow's metadata from the options of its route, as fields of its description."""
    found: dict[str, Any] = {name: str(options[name]) for name in _TEXTS if options.get(name)}
    annotated = options.get("openapi_extra") or {}
    named = {name: annotated.get(f"x-{name}") for name in _EXTRA}
    found |= {name: str(value) for name, value in named.items() if value}
    found["tags"] = tuple(str(getattr(tag, "value", tag)) for tag in options.get("tags") or ())
    if options.get("deprecated") is not None:
        found["more"] = {"deprecated": bool(options["deprecated"])}
    return found


def to_native(error: InputsError) -> NativeInputsError:
    """Return koco's own error with the messages of Kodosumi's, those without a field at the end."""
    found = NativeInputsError()
    for name, messages in error.errors.items():
        texts = messages if isinstance(messages, list | tuple) else [messages]
        found.add(**{str(name): [str(each) for each in texts]})
    if error.args:
        found.add(_global_=[str(each) for each in error.args])
    return found


def _name_of(handler: Handler) -> str:
    return f"{getattr(handler.function, '__module__', '')}:{handler.function_name}"
