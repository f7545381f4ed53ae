"""Annotations of routes, for the OpenAPI document and for the middleware that depends on them.

`koco.api.openapi.generator` explains how a route sets them.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute
from litestar.typing import FieldDefinition

from koco.api.openapi import parameters, schemas

JSON = "application/json"
PROBLEM = "application/problem+json"
#: Arguments of handlers that are not parameters of requests.
OWN = {"request", "state", "scope", "data"}
#: Media types whose shape is that of one line or event.
STREAMS = ("application/x-ndjson", "text/event-stream")


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a status comes with: shapes by media type, headers by name, and when."""

    media: Mapping[str, Any] = {}
    headers: Sequence[str] = ()
    about: str = ""


class Body(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent: shapes by media type."""

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
    """Yield a route's arguments from path, query and headers, by name."""
    for name, field in handler.parsed_fn_signature.parameters.items():
        if name not in OWN:
            yield name, field


@lru_cache(maxsize=256)
def query(handler: HTTPRouteHandler) -> frozenset[str] | None:
    """Return the names that a request's query may have, or None if it may have any."""
    if scope_of(handler) is None or "default" in handler.opt.get("answers", {}):
        return None  # for everyone, or for another application
    found = {"fields"} if "GET" in handler.http_methods and members(handler)[0] else set()
    for name, field in parameters_of(handler):
        how = field.kwarg_definition
        is_in_path = any(f"{{{name}:" in path for path in handler.paths)
        if not is_in_path and getattr(how, "header", None) is None:
            found.add(getattr(how, "query", None) or name)
    return frozenset(found)


def takes_json(handler: HTTPRouteHandler) -> bool:
    """Whether a route takes a body, and only as JSON."""
    shape = handler.opt.get("body")
    if isinstance(shape, Body):
        return set(shape.media) == {JSON}
    return shape is not None or "data" in handler.parsed_fn_signature.parameters


def members(handler: HTTPRouteHandler) -> tuple[tuple[str, ...], bool]:
    """Return the members of a route's answer that `fields` may name, and whether it is a list."""
    shape = handler.opt.get("answers", {}).get(200)
    if isinstance(shape, Answer):
        shape = shape.media.get(JSON)
    if get_origin(shape) is schemas.Page:
        return tuple(_names(get_args(shape)[0])), True
    names = _names(shape)
    # A list may have members of its own in addition to those of a page.
    is_list = {"items", "next"} <= names.keys()
    return tuple(_names(get_args(names["items"])[0]) if is_list else names), is_list


def _names(shape: Any) -> dict[str, Any]:
    """Return a shape's members with their types. For several shapes, those of all together."""
    if isinstance(shape, type) and issubclass(shape, msgspec.Struct):
        return {field.name: field.type for field in msgspec.structs.fields(shape)}
    if isinstance(shape, type) and hasattr(shape, "__required_keys__"):
        return get_type_hints(shape)
    is_union = get_origin(shape) in (Union, UnionType)
    several = [_names(each) for each in get_args(shape)] if is_union else []
    return {name: kind for each in several for name, kind in each.items()}


def is_conditional(handler: HTTPRouteHandler) -> bool:
    """Whether a route's answer has an ETag: see `koco.api.middleware.etag`."""
    answer = handler.opt.get("answers", {}).get(200)
    if isinstance(answer, Answer):
        return "GET" in handler.http_methods and (JSON in answer.media or "ETag" in answer.headers)
    return "GET" in handler.http_methods and answer is not None


def read(handler: HTTPRouteHandler) -> list[str]:
    """Return the request headers that a route's answer depends on."""
    names = list(handler.opt.get("headers", ()))
    if is_conditional(handler) and "If-None-Match" not in names:
        names.append("If-None-Match")
    return names


def security(handler: HTTPRouteHandler, scope: str | None) -> list[dict[str, list[str]]]:
    """Return the accepted ways to authenticate, any one of which is enough. Empty if none is
    needed.
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
