"""Annotations of routes, for the OpenAPI document and for the middleware that depends on them.

`koco.api.openapi.generator` explains how a route sets them.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from types import NoneType
from typing import Any, get_args, get_origin

import msgspec
from litestar import Litestar, Response
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute
from litestar.typing import FieldDefinition

from koco.api.openapi import parameters

JSON = "application/json"
PROBLEM = "application/problem+json"
NDJSON = "application/x-ndjson"
EVENT_STREAM = "text/event-stream"
#: Media types whose shape is that of one line or event.
STREAMS = (NDJSON, EVENT_STREAM)
#: Arguments of handlers that are not parameters of requests.
NOT_PARAMETERS = {"request", "data"}


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer with one status: its shapes by media type, its headers, and a description.

    One that `is_streamed` is never whole here, so it has neither an ETag nor chosen fields.
    """

    media: Mapping[str, Any] = {}
    headers: Sequence[str] = ()
    about: str = ""
    is_streamed: bool = False


class Body(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a request: its shapes by media type."""

    media: Mapping[str, Any]
    required: bool = True


def operations(app: Litestar) -> Iterator[tuple[str, str, HTTPRouteHandler]]:
    """Yield path, method and handler of each documented route."""
    for route in app.routes:
        if not isinstance(route, HTTPRoute):
            continue
        for method, (handler, _) in route.route_handler_map.items():
            if method != "OPTIONS" and handler.resolve_include_in_schema():
                yield route.path_format, str(method), handler


def parameters_of(handler: HTTPRouteHandler) -> Iterator[tuple[str, FieldDefinition]]:
    """Yield a route's arguments from path, query and headers, by name.

    An argument that a dependency provides is replaced by the dependency's own arguments.
    """
    provided = handler.resolve_dependencies()
    for name, field in handler.parsed_fn_signature.parameters.items():
        if name in provided:
            yield from provided[name].parsed_fn_signature.parameters.items()
        elif name not in NOT_PARAMETERS:
            yield name, field


@lru_cache(maxsize=256)
def query_names(handler: HTTPRouteHandler) -> frozenset[str] | None:
    """Return the names that a request's query may have, or None if it may have any."""
    if scope_of(handler) is None or "default" in answers(handler):
        return None  # for everyone, or for another application
    found = {"fields"} if takes_fields(handler) else set()
    for name, field in parameters_of(handler):
        how = field.kwarg_definition
        is_in_path = any(f"{{{name}:" in path for path in handler.paths)
        if not is_in_path and getattr(how, "header", None) is None:
            found.add(getattr(how, "query", None) or name)
    return frozenset(found)


def body(handler: HTTPRouteHandler) -> Body | None:
    """Return the body that a route takes: that of `body=`, or its parameter `data`."""
    shape = handler.opt.get("body")
    if (data := handler.parsed_fn_signature.parameters.get("data")) is not None:
        shape = data.annotation
    return shape if shape is None or isinstance(shape, Body) else Body(media={JSON: shape})


def takes_json(handler: HTTPRouteHandler) -> bool:
    """Whether a route takes a body, and only as JSON."""
    taken = body(handler)
    return taken is not None and set(taken.media) == {JSON}


@lru_cache(maxsize=256)
def answers(handler: HTTPRouteHandler) -> Mapping[int | str, Answer]:
    """Return a route's answers by status: those of `answers=`, or the one of its return type."""
    given = handler.opt.get("answers")
    if given is None:
        shape = handler.parsed_fn_signature.return_type.raw
        [shape] = get_args(shape) if get_origin(shape) is Response else [shape]
        given = {handler.status_code: Answer() if shape in (None, NoneType) else shape}
    return {
        status: each if isinstance(each, Answer) else Answer(media={JSON: each})
        for status, each in given.items()
    }


@lru_cache(maxsize=256)
def members(handler: HTTPRouteHandler) -> tuple[tuple[str, ...], bool]:
    """Return the members of a route's answer that `fields` may name, and whether it is a list."""
    answer = answers(handler).get(200, Answer())
    names = {} if answer.is_streamed else _members(answer.media.get(JSON))
    # A list may have members of its own in addition to those of a page.
    is_list = {"items", "next"} <= names.keys()
    return tuple(_members(get_args(names["items"])[0]) if is_list else names), is_list


def _members(shape: Any) -> dict[str, Any]:
    """Return the members of a struct with their types. Other shapes have none."""
    if not isinstance(get_origin(shape) or shape, msgspec.StructMeta):
        return {}
    return {field.name: field.type for field in msgspec.structs.fields(shape)}


def takes_fields(handler: HTTPRouteHandler) -> bool:
    """Whether a request for a route may have `fields`: see `koco.api.middleware.sparse_fields`."""
    return "GET" in handler.http_methods and bool(members(handler)[0])


def is_conditional(handler: HTTPRouteHandler) -> bool:
    """Whether a route's answer has an ETag: see `koco.api.middleware.etag`."""
    answer = answers(handler).get(200, Answer())
    has_tag = (JSON in answer.media and not answer.is_streamed) or "ETag" in answer.headers
    return "GET" in handler.http_methods and has_tag


def headers(handler: HTTPRouteHandler) -> list[str]:
    """Return the request headers that a route's answer depends on."""
    names = list(handler.opt.get("headers", ()))
    if is_conditional(handler) and "If-None-Match" not in names:
        names.append("If-None-Match")
    return names


def security(handler: HTTPRouteHandler, scope: str | None) -> list[dict[str, list[str]]]:
    """Return the accepted ways to authenticate, any one of which is enough.

    The list is empty if none is needed.
    """
    ways = [{each: [scope]} for each in parameters.SECURITY] if scope else []
    # Such a route answers some requests without authentication.
    is_open = any(getattr(guard, "is_open", False) for guard in handler.resolve_guards())
    return [*ways, {}] if is_open else ways


def scope_of(handler: HTTPRouteHandler) -> str | None:
    """Return the scope that a route needs, or None if it takes no key."""
    found = [getattr(guard, "scope", None) for guard in handler.resolve_guards()]
    return next((str(each) for each in found if each), None)


def id_of(path: str, method: str, handler: HTTPRouteHandler) -> str:
    """Return an operation's id: the name of its function, made unique if the path has several."""
    parts = [handler.handler_name]
    if len(handler.http_methods) > 1:
        parts.append(method.lower())
    if len(handler.paths) > 1:
        parts.append(path.rpartition("/")[2].strip("{}"))
    return "_".join(parts)
