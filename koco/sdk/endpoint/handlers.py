"""Call an author's handlers, and turn their results into answers to the control plane, as JSON.

Each of koco's own answers carries a header that says what it is, because an author's other routes
may return anything: the control plane must be able to tell an order to launch from that.
"""

import asyncio
import contextlib
import datetime as dt
import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from koco.errors import DeployError, InputsError, KocoError, UsageError
from koco.events import datetimes, line
from koco.forms import Element, Model
from koco.manifest import agent_rules
from koco.manifest.descriptions import FlowDescription, FlowExample, FlowHints
from koco.sdk.endpoint.launch import Launch
from koco.sdk.endpoint.protocol import ERRORS, FAILURE, FORM, LAUNCH, VALUE, flow_name
from koco.sdk.entrypoints import loader

#: The longest message of a handler's own refusal (characters).
_SAID_LENGTH = 16_384
#: The longest `Retry-After` of a handler that reaches the caller (characters).
_RETRY_LENGTH = 40

#: The metadata of a flow that are texts.
_TEXTS = ("summary", "description", "version", "author", "organization")

#: The metadata of a flow for agents, and their types.
_FOR_AGENTS: dict[str, Any] = {
    **{"output": dict[str, Any], "examples": tuple[FlowExample, ...]},
    **{"hints": FlowHints, "expose": tuple[str, ...]},
}

#: The parameters that each kind of handler may have.
_OFFERS: dict[str, tuple[str, ...]] = {
    "enter": ("request", "inputs"),
    "lock": ("request", "data"),
    "lease": ("request", "inputs", "data"),
}


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to the control plane."""

    kind: str
    body: Any
    status: int = 200


@dataclass(frozen=True, slots=True)
class Handler:
    """An author's function, `def` or `async def`, for an `enter` route, a lock or a lease."""

    role: str
    name: str
    function: Callable[..., Any]

    def __post_init__(self) -> None:
        for parameter in inspect.signature(self.function).parameters.values():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                continue
            is_offered = parameter.name in _OFFERS[self.role]
            if parameter.kind is parameter.POSITIONAL_ONLY or not (
                is_offered or parameter.default is not parameter.empty
            ):
                raise DeployError(
                    f"{self.role} {self.name!r}: {self.function_name} asks for "
                    f"{parameter.name!r}, which koco does not pass",
                    hint=f"its handler may name: {', '.join(_OFFERS[self.role])}",
                )

    @property
    def function_name(self) -> str:
        """The function's name in its module, or else its type's name."""
        return str(getattr(self.function, "__qualname__", type(self.function).__name__))

    async def call(self, **offers: Any) -> Any:
        """Call the function with the offers that it has parameters for; a `def` in a thread."""
        from starlette.concurrency import run_in_threadpool

        parameters = inspect.signature(self.function).parameters
        takes_all = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
        arguments = {name: offers[name] for name in offers if takes_all or name in parameters}
        if loader.is_async(self.function):
            return await self.function(**arguments)
        result = await run_in_threadpool(self.function, **arguments)
        return await result if inspect.isawaitable(result) else result


@dataclass(frozen=True, slots=True)
class Route:
    """An `enter` route; each is a flow."""

    path: str
    handler: Handler
    form: Model | None
    #: The flow's metadata: summary, description, tags, version, author, organization, …
    about: dict[str, Any] = field(default_factory=dict)

    def describe(self, service: str) -> FlowDescription:
        """Describe the flow of this route."""
        return FlowDescription(
            name=flow_name(self.path, service),
            path=self.path,
            entrypoint=f"{self.handler.function.__module__}:{self.handler.function_name}",
            form=None if self.form is None else self.form.to_list(),
            **self.about,
        )

    async def launch(self, request: Any, inputs: Any) -> Launch:
        """Validate inputs, call the handler, and return its launch.

        Raises:
            InputsError: the form or the handler refuses the inputs.
            UsageError: the handler returned something other than a `Launch`.
            DeployError: the entrypoint of the launch does not exist.
        """
        if self.form is not None:
            inputs = await self.form.validate_async(inputs)
        launch = await self.handler.call(request=request, inputs=inputs)
        if not isinstance(launch, Launch):
            raise UsageError(
                f"the handler {self.handler.function_name} returned {_describe_value(launch)}, "
                "not a Launch",
                hint="return Launch(request, 'module:object', inputs=inputs), or raise InputsError",
            )
        # In a thread: its module may not have been imported here yet.
        await asyncio.to_thread(_check_entrypoint, launch.entrypoint)
        return launch

    async def answer(self, request: Any, inputs: Any, service: str) -> Answer:
        """Return the order to launch, or the reason why there is none."""
        try:
            return Answer(LAUNCH, _launch_order(await self.launch(request, inputs), service))
        except InputsError as exc:
            return refusal(exc)
        except Exception as exc:  # noqa: BLE001 - a user's handler may raise anything
            return failure(exc)


@functools.cache
def _check_entrypoint(path: str) -> None:
    """Load an entrypoint, only once: loading a crew's class creates a crew."""
    loader.load(path)


def about_flow(path: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return a flow's metadata from the given options, as fields of its description.

    Options that JSON cannot hold are for FastAPI (`response_model=Answer`, for example). They are
    about the route's answer, which koco itself gives.

    Raises:
        DeployError: there are dependencies, which koco would not call.
    """
    if given.pop("dependencies", None):
        raise DeployError(
            f"enter {path!r} cannot have dependencies",
            hint="call them in its handler, which gets the request",
        )
    plain = {}
    for key, value in given.items():
        with contextlib.suppress(TypeError, RecursionError):
            if value is not None and msgspec.to_builtins(value, str_keys=True) == value:
                plain[key] = value
    about = {key: plain.pop(key) for key in _TEXTS if isinstance(plain.get(key), str)}
    tags = plain.pop("tags", ())
    agents = _facts_for_agents(path, {key: plain.pop(key) for key in _FOR_AGENTS if key in plain})
    return {**about, **agents, "tags": tuple(map(str, tags)), "more": plain}


def _facts_for_agents(path: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return what an author tells agents of a flow, as fields of its description.

    Raises:
        DeployError: a value has the wrong shape.
    """
    try:
        found = {key: msgspec.convert(given[key], _FOR_AGENTS[key]) for key in given}
        for name in found.get("expose", ()):
            agent_rules.check_protocol(name)
        if "output" in found:
            agent_rules.check_json_schema(found["output"])
    except ValueError as exc:
        raise DeployError(f"enter {path!r}: {exc}", hint=getattr(exc, "hint", None)) from exc
    return found


def _launch_order(launch: Launch, service: str) -> dict[str, Any]:
    about = {"summary": launch.summary, "description": launch.description}
    order: dict[str, Any] = {
        "entrypoint": launch.entrypoint,
        "inputs": launch.inputs,
        "moments": datetimes.find(launch.inputs),
        "about": {key: value for key, value in about.items() if value is not None},
    }
    if isinstance(launch.reference, str):
        order["about"]["reference"] = launch.reference
    elif launch.reference is not None:
        referred = getattr(launch.reference, "_koco_paths", None)
        if not referred:
            raise UsageError(
                f"Launch's reference is {_describe_value(launch.reference)}",
                hint="name a handler that `enter` decorates, or give a text",
            )
        order["flow"] = flow_name(referred[0], service)
    return order


async def answer_lock(handler: Handler | None, name: str, *, request: Any, data: Any) -> Answer:
    """Return the form that a lock shows."""
    try:
        if handler is None:
            return Answer(FORM, {"form": None})
        model = await handler.call(request=request, data=data)
        return Answer(FORM, {"form": model_of(model, f"lock {name!r}").to_list()})
    except Exception as exc:  # noqa: BLE001 - a user's handler may raise anything
        return failure(exc)


async def answer_lease(
    lock: Handler | None, lease: Handler | None, name: str, *, request: Any, inputs: Any, data: Any
) -> Answer:
    """Validate an answer with the lock's form, and return the result of the lease."""
    hidden: tuple[str, ...] = ()
    try:
        if lock is not None:
            model = model_of(await lock.call(request=request, data=data), f"lock {name!r}")
            inputs, hidden = await model.validate_async(inputs), model.hidden
        if lease is not None:
            # The result is the lease's own, so the form's hidden fields do not apply to it.
            inputs, hidden = await lease.call(request=request, inputs=inputs, data=data), ()
        return Answer(VALUE, {"value": inputs, "moments": datetimes.find(inputs), "hidden": hidden})
    except InputsError as exc:
        return refusal(exc)
    except Exception as exc:  # noqa: BLE001 - as above
        return failure(exc)


def refusal(exc: InputsError) -> Answer:
    """Return the answer for refused inputs."""
    return Answer(ERRORS, exc.to_wire(), exc.http_status)


def failure(exc: Exception) -> Answer:
    """Return the answer for a failed handler; its traceback is for the service's owner."""
    from starlette.exceptions import HTTPException

    from koco.sdk.process.tracebacks import describe

    if isinstance(exc, HTTPException):  # intended by the author, so no traceback
        if 400 <= exc.status_code < 500:  # for the caller
            return Answer(FAILURE, _refuse(exc), 500)
        said = f"answered {exc.status_code}: {exc.detail}"
        return Answer(FAILURE, {"type": "", "message": said, "traceback": ""}, 500)
    body = {**describe(exc), "hint": getattr(exc, "hint", None)}
    if isinstance(exc, KocoError):
        body = {**body, "type": "", "message": exc.message}
    return Answer(FAILURE, body, 500)


def _refuse(exc: Any) -> dict[str, Any]:
    """Return the message of an `HTTPException` with a 4xx status, which reaches the caller."""
    from koco.sdk.process import secrets

    detail = exc.detail
    said = detail if isinstance(detail, str) else line.encode_payload(detail).decode()
    sent = {name.lower(): str(value) for name, value in (exc.headers or {}).items()}
    again = sent.get("retry-after", "")
    return {
        **{"type": "", "message": secrets.mask(said[:_SAID_LENGTH]), "traceback": ""},
        "status": exc.status_code,
        "retry_after": again
        if len(again) <= _RETRY_LENGTH and again.isascii() and again.isprintable()
        else "",
    }


def model_of(given: Any, where: str) -> Model:
    """Return a form from a `Model`, or from a list of elements (objects or dicts)."""
    if isinstance(given, Model):
        return given
    if isinstance(given, list | tuple):
        if all(isinstance(each, Element) for each in given):
            return Model(*given)
        data = [each.to_dict() if isinstance(each, Element) else each for each in given]
        return Model.from_list(data)
    raise UsageError(
        f"{where} has {_describe_value(given)} for a form",
        hint="give a forms.Model or a list of elements",
    )


def _describe_value(value: Any) -> str:
    if value is None:
        return "None"
    if isinstance(value, str | int | float | bool | dt.date):
        return repr(value)[:80]
    return f"a {type(value).__name__}"


def encode(answer: Answer) -> bytes:
    """Return an answer's body. Values that are not JSON are kept as their `repr`."""
    return line.encode_payload(answer.body)
