"""Make the API's description in OpenAPI 3.1 from the routes themselves.

A route's decorator adds the facts that its signature does not show, with
`koco.api.openapi.annotations`:

    @get(
        "/v1/executions/{fid:str}/result",
        guards=[requires("read")],
        answers={200: shapes.Result},         # by status: a shape, or an `Answer`
        errors=[ConflictError],               # beyond those that follow from the route
        headers=["If-None-Match"],            # request headers that it reads (`HEADERS`)
    )

- **Shapes** (`koco.api.openapi.schemas`) are `TypedDict`s, structs, or any type that msgspec
  describes. They match the real answers: the unit tests check each answer against this document.
  `Page[Shape]` is a list. Examples are made from those of the fields' types.
- **An `Answer`** adds media types, headers, a reason. A body that is not JSON is a text. For
  `application/x-ndjson` and `text/event-stream` the shape is that of one line or event.
- **`body=`** names the shape of a body that the route reads by hand (a `Body` has more options).
  A parameter `data` describes itself.
- **Errors that follow**: a guard adds 401, 403 and 429; a parameter in the path 404; any parameter
  or body 400, a body 413; every route 500 and 503. `errors=` adds classes of `KocoError`, whose
  status and code are used. Headers add their own: `If-None-Match` adds 304, and so on.
- **GET** that answers JSON at once gets an ETag, `If-None-Match` and 304 automatically, and
  `fields` if its shape has names (`koco.api.middleware.etag`). Every GET has a HEAD. A HEAD is
  documented only if it differs.
- Summary and description are the docstring, the operation's id is the function's name, the tag
  is the file's. Parameters are explained in `koco.api.openapi.parameters`, by their names.

litestar's own generator is not used, because it knows one media type and no headers for an answer,
no bodies or headers that a route reads by hand, and only its own errors. Using the rest of it
would save half of this file. Making the document takes some 70 ms, at the first request for it.
"""

import inspect
from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.typing import FieldDefinition

from koco import __version__, errors
from koco.api.openapi import annotations, parameters, schemas
from koco.api.openapi.annotations import JSON, PROBLEM, STREAMS, Answer, Body
from koco.errors import KocoError
from koco.store.errors import DamagedError, StoreError

_SCHEMAS = "#/components/schemas/"


def make(app: Litestar, *, url: str = "/") -> dict[str, Any]:
    """Return the OpenAPI document of an application that is served at a URL."""
    return _Document(url).of(app)


class _Document:
    """A document in the making. It collects components as they are named."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._schemas: dict[str, Any] = {}
        self._responses: dict[str, Any] = {}

    def of(self, app: Litestar) -> dict[str, Any]:
        paths: dict[str, dict[str, Any]] = {}
        tags: dict[str, str] = {}
        for path, method, handler in sorted(annotations.operations(app), key=lambda each: each[:2]):
            module = inspect.getmodule(handler.fn)
            tag = handler.fn.__module__.rpartition(".")[2]
            tags[tag] = inspect.getdoc(module) or ""
            paths.setdefault(path, {})[method.lower()] = self._operation(path, method, handler, tag)
        return {
            "openapi": "3.1.1",
            "info": {"title": "koco", "version": __version__, "description": parameters.ABOUT},
            "servers": [{"url": self._url}],
            "tags": [{"name": name, "description": tags[name]} for name in sorted(tags)],
            "paths": paths,
            "components": {
                "schemas": dict(sorted(self._schemas.items())),
                "responses": dict(sorted(self._responses.items())),
                "headers": parameters.ANSWERED,
                "securitySchemes": parameters.SECURITY,
            },
        }

    def _operation(
        self, path: str, method: str, handler: HTTPRouteHandler, tag: str
    ) -> dict[str, Any]:
        summary, _, more = (inspect.getdoc(handler.fn) or "").partition("\n\n")
        scope = annotations.scope_of(handler)
        takes = f"Takes the scope `{scope}`." if scope else "Takes no key."
        told: dict[str, Any] = {
            "operationId": annotations.id_of(path, method, handler),
            "summary": " ".join(summary.split()),
            "description": "\n\n".join([*([more] if more else []), takes]),
            "tags": [tag],
            "security": annotations.security(handler, scope),
        }
        found = [*self._in_path(path), *self._in_query(path, handler)]
        names = annotations.read(handler)
        found += [{"name": name, "in": "header", **parameters.HEADERS[name]} for name in names]
        if found:
            told["parameters"] = [{"required": False, **each} for each in found]
        body = self._body(handler) if method not in ("GET", "HEAD", "DELETE") else None
        if body:
            told["requestBody"] = body
        told["responses"] = self._answers(method, handler)
        for status, name in self._refusals(handler, scope, path, has_body=body is not None):
            refusal = {"$ref": f"#/components/responses/{name}"}
            if "default" in told["responses"]:
                # A forwarded answer may have any status, too.
                anything = {**self._responses[name]["content"], "*/*": {"example": None}}
                told["responses"][status] = {**self._responses[name], "content": anything}
            elif (answer := told["responses"].get(status)) is None:
                told["responses"][status] = refusal
            else:
                answer["content"] |= self._responses[name]["content"]
        told["responses"] = dict(sorted(told["responses"].items()))
        return told

    def _in_path(self, path: str) -> Iterator[dict[str, Any]]:
        for part in path.split("/"):
            if part.startswith("{"):
                name = part.strip("{}")
                yield {"name": name, "in": "path", "required": True, **parameters.PATH[name]}

    def _in_query(self, path: str, handler: HTTPRouteHandler) -> Iterator[dict[str, Any]]:
        for name, field in annotations.parameters_of(handler):
            if f"{{{name}}}" in path:
                continue
            how = field.kwarg_definition
            header = getattr(how, "header", None)
            query = getattr(how, "query", None) or name
            known = dict(parameters.HEADERS[header] if header else parameters.QUERY.get(query, {}))
            if description := getattr(how, "description", None):
                known["description"] = description
            schema = {**self._parameter(field), **known.get("schema", {}), **_bounds(how)}
            if field.has_default and field.default is not None:
                schema["default"] = msgspec.to_builtins(field.default)
            place = {"name": header or query, "in": "header" if header else "query"}
            yield {**place, "required": not field.has_default, **known, "schema": schema}
        if "GET" in handler.http_methods and annotations.members(handler)[0]:
            yield {"name": "fields", "in": "query", "required": False, **parameters.QUERY["fields"]}

    def _parameter(self, field: FieldDefinition) -> dict[str, Any]:
        """Return the schema of a parameter, which is absent rather than null."""
        schema = self._schema(field.annotation)
        kinds = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
        return kinds[0] if len(kinds) == 1 else schema

    def _body(self, handler: HTTPRouteHandler) -> dict[str, Any] | None:
        shape = handler.opt.get("body")
        if (data := handler.parsed_fn_signature.parameters.get("data")) is not None:
            shape = data.annotation
        if shape is None:
            return None
        body = shape if isinstance(shape, Body) else Body(media={JSON: shape})
        return {"required": body.required, "content": self._content(body.media)}

    def _answers(self, method: str, handler: HTTPRouteHandler) -> dict[str, Any]:
        told: dict[str, Any] = {}
        for status, given in handler.opt.get("answers", {}).items():
            answer = given if isinstance(given, Answer) else Answer(media={JSON: given})
            # `default` stands for all statuses that are not named.
            told[str(status)] = self._answer(status, answer, bodiless=method == "HEAD")
        if annotations.is_conditional(handler):
            told["304"] = self._answer(304, Answer(headers=["ETag"]))
            told["200"]["headers"]["ETag"] = {"$ref": "#/components/headers/ETag"}
            if annotations.members(handler)[0]:
                media = told["200"]["content"][JSON]
                media["schema"] = {"anyOf": [media["schema"], self._some_of(media["schema"])]}
        return told

    def _some_of(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Return an answer's schema after `fields` was applied: no member is required."""
        name = schema["$ref"].removeprefix(_SCHEMAS)
        whole = self._schemas[name]
        some = dict(whole)
        if "items" in whole["properties"]:
            items = self._some_of(whole["properties"]["items"]["items"])
            some["properties"] = {**whole["properties"], "items": {"type": "array", "items": items}}
        else:
            some.pop("required", None)
            some["description"] = f"Those members of `{name}` that `fields` asks for."
        self._schemas[f"Some{name}"] = some | {"title": f"Some{name}"}
        return {"$ref": f"{_SCHEMAS}Some{name}"}

    def _answer(
        self, status: int | str, answer: Answer, *, bodiless: bool = False
    ) -> dict[str, Any]:
        told: dict[str, Any] = {"description": answer.about or HTTPStatus(int(status)).phrase}
        names = [*answer.headers, *parameters.ALWAYS]
        told["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
        if answer.media and not bodiless:
            told["content"] = self._content(answer.media)
        return told

    def _content(self, media: Mapping[str, Any]) -> dict[str, Any]:
        content: dict[str, Any] = {}
        for kind, shape in media.items():
            # The body may be anything, so the schema is empty.
            schema = self._schema(shape) if kind != "*/*" else {}
            example = self._example(schema)
            if kind in STREAMS:
                # OpenAPI 3.2 calls it `itemSchema`.
                content[kind] = {"schema": {"type": "string"}, "x-itemSchema": schema}
                content[kind]["example"] = _streamed(kind, example)
            else:
                content[kind] = {"schema": schema, "example": example}
        return content

    def _refusals(
        self, handler: HTTPRouteHandler, scope: str | None, path: str, *, has_body: bool
    ) -> Iterator[tuple[str, str]]:
        """Yield statuses, each with the name of its problem response."""
        kinds: list[type[KocoError]] = [KocoError, DamagedError, StoreError]
        takes = set(handler.parsed_fn_signature.parameters) - (annotations.OWN - {"data"})
        if scope:
            kinds += [errors.UnauthorizedError, errors.NotAllowedError, errors.TooManyError]
        if "{" in path:
            kinds += [errors.NotFoundError]
        if "{fid}" in path:  # a prefix may fit several
            kinds += [errors.ConflictError]
        if has_body:
            kinds += [errors.LimitError]
        if has_body and annotations.takes_json(handler):
            kinds += [errors.MediaTypeError]
        if takes or has_body or handler.opt.get("headers") or annotations.members(handler)[0]:
            kinds += [errors.UsageError]
        by_status: dict[int, set[str]] = {}
        for kind in [*kinds, *handler.opt.get("errors", ())]:
            by_status.setdefault(kind.http_status, set()).add(kind.code)
        for status, codes in by_status.items():
            yield str(status), self._refusal(status, codes)

    def _refusal(self, status: int, codes: Iterable[str]) -> str:
        """Return the name of the problem response for some error codes."""
        known = sorted(codes)
        name = f"{status}-{'-'.join(known)}"
        if name not in self._responses:
            narrowed = {"code": {"type": "string", "enum": known}}
            example = self._example(self._schema(schemas.Problem))
            example |= {"status": status, "code": known[0], "title": HTTPStatus(status).phrase}
            example["type"] = f"urn:koco:error:{known[0]}"
            schema = {"allOf": [self._schema(schemas.Problem), {"properties": narrowed}]}
            heads = [*parameters.ALWAYS, *(["Retry-After"] if status in (429, 503) else [])]
            self._responses[name] = {
                "description": f"{HTTPStatus(status).phrase}: `{'`, `'.join(known)}`",
                "headers": {each: {"$ref": f"#/components/headers/{each}"} for each in heads},
                "content": {PROBLEM: {"schema": schema, "example": example}},
            }
        return name

    def _schema(self, shape: Any) -> dict[str, Any]:
        if isinstance(shape, dict):
            return shape
        [schema], found = msgspec.json.schema_components([shape], ref_template=_SCHEMAS + "{name}")
        for name, each in found.items():
            if self._schemas.setdefault(name, each) != each:
                raise RuntimeError(f"two shapes are called {name}")
        return schema

    def _example(self, schema: dict[str, Any]) -> Any:
        """Return a value that a schema allows, made from its fields' own examples."""
        if ref := schema.get("$ref"):
            schema = self._schemas[ref.removeprefix(_SCHEMAS)]
        for key in ("examples", "enum"):
            if key in schema:
                return schema[key][0]
        if "const" in schema:
            return schema["const"]
        if kinds := schema.get("anyOf") or schema.get("oneOf"):
            return self._example(kinds[0])
        match schema.get("type"):
            case "object":
                fields = schema.get("properties", {}).items()
                return {name: self._example(each) for name, each in fields}
            case "array":
                return [self._example(schema["items"])] if schema.get("items") else []
        return _PLAIN.get(str(schema.get("type")))


_PLAIN: dict[str, Any] = {"string": "text", "integer": 1, "number": 1.5, "boolean": True}


#: litestar's names for JSON Schema's keywords.
_BOUNDS = {
    **{"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"},
    **{"min_length": "minLength", "max_length": "maxLength", "pattern": "pattern"},
}


def _bounds(how: object) -> dict[str, Any]:
    """Return the bounds that a `Parameter` sets for its values."""
    found = {name: getattr(how, given, None) for given, name in _BOUNDS.items()}
    return {name: value for name, value in found.items() if value is not None}


def _streamed(kind: str, example: Any) -> str:
    text = msgspec.json.encode(example).decode()
    if kind == "text/event-stream":
        name = example.get("seq") or example.get("cursor")
        return f"id: {name}\nevent: {example.get('kind', 'message')}\ndata: {text}\n\n"
    return f"{text}\n"
