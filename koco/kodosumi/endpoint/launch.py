"""The result of a handler that wants an execution, as Kodosumi's handlers make it.

In Kodosumi, `Launch` starts the execution and returns a response with its id. Here it is an order:
the control plane, which called the handler, carries it out if the handler returns it. It is a
response, so any route may return it.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from starlette.responses import JSONResponse

from koco.kodosumi.const import KODOSUMI_EXTRA
from koco.kodosumi.endpoint import pickles
from koco.manifest.descriptions import KODOSUMI
from koco.sdk.endpoint import handlers
from koco.sdk.endpoint.handlers import Answer
from koco.sdk.endpoint.protocol import ANSWER, LAUNCH

#: The details of a route that its executions show.
_ABOUT = ("summary", "description", "deprecated")
_EXTRA = ("author", "organization", "version")

#: The key of a request's scope under which its launches are.
_MADE = "koco.launches"


class Launch(JSONResponse):
    """An order to run an entrypoint with inputs.

    Args:
        request: the request that the handler received.
        entry_point: `module:object` or `module.object`, or any callable or crew.
        inputs: any value that can be pickled.
        reference: the handler whose route describes the execution; by default the one that is
            running.
        summary: a summary of this execution, in place of the route's.
        description: a description, in place of the route's.
        extra: further data for the execution's `meta` event, under `extra`.

    Raises:
        UsageError: the entrypoint or the inputs cannot be sent to a runner.
    """

    def __init__(
        self,
        request: Any,
        entry_point: str | Callable[..., Any],
        inputs: Any = None,
        reference: Callable[..., Any] | None = None,
        summary: str | None = None,
        description: str | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        self.request = request
        self.entry_point = entry_point
        self.inputs = inputs
        running = _running_handler(request)
        self.reference = reference if reference is not None else running
        about = _lookup(request, self.reference)
        hidden = {*_hidden(about), *_hidden(_lookup(request, running))}
        self.order = {
            **_transport(entry_point, inputs, tuple(sorted(hidden))),
            "about": _about(about, summary, description, _extra(request, extra)),
            "flow": None if reference is None else _flow(request, reference),
            "dialect": KODOSUMI,
        }
        #: Whether the control plane has got the order.
        self.is_sent = False
        getattr(request, "scope", {}).setdefault(_MADE, []).append(self)
        super().__init__(self.order, headers={ANSWER: LAUNCH})

    @property
    def entrypoint(self) -> str:
        """The entrypoint as the control plane knows it: `module:object`, or a name to show."""
        return str(self.order["entrypoint"])

    def __repr__(self) -> str:
        return f"Launch({self.entrypoint!r})"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send the order to the control plane."""
        self.is_sent = True
        await super().__call__(scope, receive, send)

    def render(self, content: Any) -> bytes:
        """Return the order as the control plane reads it."""
        return handlers.encode(Answer(LAUNCH, content))


def unsent(scope: Any) -> list[Launch]:
    """Return the launches that the handler of a request has made and not returned."""
    return [each for each in scope.get(_MADE, ()) if not each.is_sent]


def _transport(entry_point: Any, inputs: Any, hidden: tuple[str, ...]) -> dict[str, Any]:
    """Return the entrypoint and the inputs by name and as JSON, and pickled if they need it."""
    path = entry_point if isinstance(entry_point, str) else pickles.import_path(entry_point)
    if path is not None and pickles.is_json(inputs, hidden):
        return {"entrypoint": path, "inputs": inputs}
    return {
        "entrypoint": path or pickles.describe(entry_point),
        "inputs": pickles.to_display(inputs, hidden),
        "pickled": pickles.dump(path or entry_point, inputs),
    }


def _running_handler(request: Any) -> Any:
    """Return the innermost handler of the app that is running, or None.

    Kodosumi finds it like this, so a `Launch` in a function that a handler calls finds it as well.
    """
    known: Mapping[Any, Any] = getattr(getattr(request, "app", None), "_code_lookup", {})
    frame = sys._getframe(1) if known else None
    while frame is not None:
        if (found := known.get(frame.f_code)) is not None:
            return found
        frame = frame.f_back
    return None


def _lookup(request: Any, handler: Any) -> Mapping[str, Any]:
    """Return the options of a handler's route; none if it has no route."""
    known = getattr(getattr(request, "app", None), "_method_lookup", None) or {}
    try:
        return known.get(handler) or {}
    except TypeError:  # not hashable, so no handler
        return {}


def _hidden(about: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(getattr(about.get("model"), "hidden", ()))


def _about(
    route: Mapping[str, Any],
    summary: str | None,
    description: str | None,
    extra: dict[str, Any] | None,
) -> dict[str, Any]:
    """Return the details of the execution that differ from none."""
    annotated = route.get("openapi_extra") or {}
    found = {name: route.get(name) for name in _ABOUT}
    found |= {name: annotated.get(f"x-{name}") for name in _EXTRA}
    if summary is not None:
        found["summary"] = summary
    if description is not None:
        found["description"] = description
    found["extra"] = extra
    return {name: value for name, value in found.items() if value is not None}


def _extra(request: Any, given: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the further data, together with those in the request's header."""
    headers: Mapping[str, str] = getattr(request, "headers", {})
    text = headers.get(KODOSUMI_EXTRA)
    if not text:
        return given
    return {**(given or {}), **json.loads(text)}


def _flow(request: Any, reference: Any) -> str | None:
    """Return the name of the flow that a handler belongs to; None if it has none."""
    find = getattr(getattr(request, "app", None), "flow_of", None)
    return None if find is None else find(reference, os.environ.get("KOCO_SERVICE", ""))
