"""Make the API's description in OpenAPI 3.1 from the routes themselves.

A route's decorator adds the facts that its signature does not show, with
`koco.api.openapi.annotations`:

    @get(
        "/v1/executions/{fid:str}/result",
        guards=[requires("read")],
        errors=[ConflictError],               # beyond those that follow from the route
        headers=["If-None-Match"],            # request headers that it reads (`HEADERS`)
    )
    async def show_result(request: Request, fid: str) -> Result:

- **Shapes** are the structs that routes return (`koco.api.openapi.shapes`), or any type that
  msgspec describes. The unit tests check each answer against this document. `Page[Shape]` is a
  list. Examples are made from those of the fields' types.
- **`answers=`** replaces the return type if it does not say all: by status, a shape or an `Answer`,
  which has media types, headers and a description. A body that is not JSON is a text. For
  `application/x-ndjson` and `text/event-stream` the shape is that of one line or event.
- **`body=`** names the shape of a body that the route reads itself (a `Body` has more options).
  A parameter `data` describes itself.
- **Errors that follow**: a guard adds 401, 403 and 429; a parameter in the path 404; any parameter
  or body 400, a body 413; every route 500 and 503. `errors=` adds classes of `KocoError`, whose
  status and code are used.
- **GET** that answers JSON at once gets an ETag, `If-None-Match` and 304 automatically, and
  `fields` if its shape has members (`koco.api.middleware.etag`). Every GET has a HEAD. A HEAD is
  documented only if it differs.
- Summary and description are the docstring, the operation's id is the function's name, the tag
  is the file's. Parameters are explained in `koco.api.openapi.parameters`, by their names. Those of
  a route's `dependencies=` are its own, in the place of the argument that takes the dependency.

litestar's own generator is not used, because it knows one media type and no headers for an answer,
no bodies or headers that a route reads itself, and only its own errors. Using the rest of it
would save half of this file. Making the document takes some 70 ms, at the first request for it.
"""

import inspect
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.typing import FieldDefinition

from koco import __version__, errors
from koco.api.openapi import annotations, parameters
from koco.api.openapi.annotations import JSON, PROBLEM, STREAMS, Answer
from koco.api.openapi.parameters import Schema
from koco.api.openapi.shapes import Problem
from koco.control.leadership import LeaderLostError
from koco.errors import KocoError
from koco.store.errors import DamagedError, StoreError

_SCHEMAS = "#/components/schemas/"


def make(app: Litestar, *, url: str = "/") -> Schema:
    """Return the OpenAPI document of an application that is served at a URL."""
    return _Document().make(app, url)


class _Document:
    """Makes a document. It collects schemas and responses as operations refer to them."""

    def __init__(self) -> None:
        self._schemas: Schema = {}
        self._responses: Schema = {}

    def make(self, app: Litestar, url: str) -> Schema:
        paths: dict[str, Schema] = {}
        tags: dict[str, str] = {}
        for path, method, handler in sorted(annotations.operations(app), key=lambda each: each[:2]):
            tag = handler.fn.__module__.rpartition(".")[2]
            tags[tag] = inspect.getdoc(inspect.getmodule(handler.fn)) or ""
            paths.setdefault(path, {})[method.lower()] = self._operation(path, method, handler, tag)
        return {
            "openapi": "3.1.1",
            "info": {"title": "koco", "version": __version__, "description": parameters.ABOUT},
            "servers": [{"url": url}],
            "tags": [{"name": name, "description": tags[name]} for name in sorted(tags)],
            "paths": paths,
            "components": {
                "schemas": dict(sorted(self._schemas.items())),
                "responses": dict(sorted(self._responses.items())),
                "headers": parameters.ANSWERED,
                "securitySchemes": parameters.SECURITY,
            },
        }

    def _operation(self, path: str, method: str, handler: HTTPRouteHandler, tag: str) -> Schema:
        summary, _, more = (inspect.getdoc(handler.fn) or "").partition("\n\n")
        scope = annotations.scope_of(handler)
        takes = f"Takes the scope `{scope}`." if scope else "Takes no key."
        operation: Schema = {
            "operationId": annotations.id_of(path, method, handler),
            "summary": " ".join(summary.split()),
            "description": f"{more}\n\n{takes}" if more else takes,
            "tags": [tag],
            "security": annotations.security(handler, scope),
        }
        if found := [{"required": False, **each} for each in self._parameters(path, handler)]:
            operation["parameters"] = found
        body = None if method in ("GET", "HEAD", "DELETE") else annotations.body(handler)
        if body is not None:
            content = self._content(body.media)
            operation["requestBody"] = {"required": body.required, "content": content}
        responses = self._answers(method, handler)
        for kinds in self._errors(handler, scope, path, has_body=body is not None):
            self._add_error(responses, kinds)
        operation["responses"] = dict(sorted(responses.items()))
        return operation

    def _parameters(self, path: str, handler: HTTPRouteHandler) -> Iterator[Schema]:
        """Yield the parameters of a path, its query and its headers."""
        for part in path.split("/"):
            if part.startswith("{"):
                name = part.strip("{}")
                yield {"name": name, "in": "path", "required": True, **parameters.PATH[name]}
        for name, field in annotations.parameters_of(handler):
            if f"{{{name}}}" not in path:
                yield self._parameter(name, field)
        if annotations.takes_fields(handler):
            yield {"name": "fields", "in": "query", **parameters.QUERY["fields"]}
        for name in annotations.headers(handler):
            yield {"name": name, "in": "header", **parameters.HEADERS[name]}

    def _parameter(self, name: str, field: FieldDefinition) -> Schema:
        """Return a parameter of the query or of the headers, as a handler's signature has it."""
        how = field.kwarg_definition
        header, query = getattr(how, "header", None), getattr(how, "query", None) or name
        known = dict(parameters.HEADERS[header] if header else parameters.QUERY.get(query, {}))
        if description := getattr(how, "description", None):
            known["description"] = description
        schema = self._schema(field.annotation)
        # A parameter is absent rather than null.
        kinds = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
        schema = {**(kinds[0] if len(kinds) == 1 else schema), **known.get("schema", {})}
        if field.has_default and field.default is not None:
            schema["default"] = msgspec.to_builtins(field.default)
        place = {"name": header or query, "in": "header" if header else "query"}
        return {**place, "required": not field.has_default, **known, "schema": schema}

    def _answers(self, method: str, handler: HTTPRouteHandler) -> Schema:
        found: Schema = {}
        for status, answer in annotations.answers(handler).items():
            # `default` stands for all statuses that are not named.
            found[str(status)] = self._answer(status, answer, has_body=method != "HEAD")
        if annotations.is_conditional(handler):
            found["304"] = self._answer(304, Answer(headers=["ETag"]))
            found["200"]["headers"] |= _headers("ETag")
            if annotations.takes_fields(handler):
                media = found["200"]["content"][JSON]
                media["schema"] = {"anyOf": [media["schema"], self._some_of(media["schema"])]}
        return found

    def _some_of(self, schema: Schema) -> Schema:
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

    def _answer(self, status: int | str, answer: Answer, *, has_body: bool = True) -> Schema:
        about = answer.about or HTTPStatus(int(status)).phrase
        found = {
            "description": about,
            "headers": _headers(*answer.headers, *parameters.ALWAYS),
        }
        return found | (
            {"content": self._content(answer.media)} if answer.media and has_body else {}
        )

    def _content(self, media: Mapping[str, Any]) -> Schema:
        content: Schema = {}
        for kind, shape in media.items():
            # The body may be anything, so the schema is empty.
            schema = self._schema(shape) if kind != "*/*" else {}
            example = self._example(schema)
            if kind in STREAMS:
                # OpenAPI 3.2 calls it `itemSchema`.
                content[kind] = {"schema": {"type": "string"}, "x-itemSchema": schema}
                content[kind]["example"] = _format_item(kind, example)
            else:
                content[kind] = {"schema": schema, "example": example}
        return content

    def _errors(
        self, handler: HTTPRouteHandler, scope: str | None, path: str, *, has_body: bool
    ) -> Iterator[list[type[KocoError]]]:
        """Yield the kinds of errors that a route can answer, those of a status together."""
        kinds: list[type[KocoError]] = [KocoError, DamagedError, StoreError]
        # Of the storage of blobs, if it is elsewhere, and of what is passed on to the leader.
        kinds += [errors.UnreachableError, LeaderLostError]
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
        takes = any(annotations.parameters_of(handler)) or annotations.takes_fields(handler)
        if scope or has_body or takes:
            kinds += [errors.UsageError]
        by_status: dict[int, list[type[KocoError]]] = {}
        for kind in [*kinds, *handler.opt.get("errors", ())]:
            by_status.setdefault(kind.http_status, []).append(kind)
        yield from by_status.values()

    def _add_error(self, responses: Schema, kinds: list[type[KocoError]]) -> None:
        """Add the kinds of errors of one status to an operation's responses."""
        status, name = str(kinds[0].http_status), self._problem(kinds)
        problem = self._responses[name]
        if "default" in responses:
            # A forwarded answer may have any status, too.
            content = {**problem["content"], "*/*": {"example": None}}
            responses[status] = {**problem, "content": content}
        elif status in responses:
            responses[status]["content"] |= problem["content"]
        else:
            responses[status] = {"$ref": f"#/components/responses/{name}"}

    def _problem(self, kinds: list[type[KocoError]]) -> str:
        """Return the name of the response for some kinds of errors with the same status."""
        status, codes = kinds[0].http_status, sorted({kind.code for kind in kinds})
        name, phrase = f"{status}-{'-'.join(codes)}", HTTPStatus(status).phrase
        if name not in self._responses:
            schema = self._schema(Problem)
            example = self._example(schema) | {"type": f"urn:koco:error:{codes[0]}"}
            example |= {"status": status, "code": codes[0], "title": phrase}
            narrowed = {"properties": {"code": {"type": "string", "enum": codes}}}
            retry = ["Retry-After"] if status in (429, 503) else []
            self._responses[name] = {
                "description": f"{phrase}: `{'`, `'.join(codes)}`",
                "headers": _headers(*parameters.ALWAYS, *retry),
                "content": {PROBLEM: {"schema": {"allOf": [schema, narrowed]}, "example": example}},
            }
        return name

    def _schema(self, shape: Any) -> Schema:
        [schema], found = msgspec.json.schema_components([shape], ref_template=_SCHEMAS + "{name}")
        for name, each in found.items():
            if self._schemas.setdefault(name, each) != each:
                raise RuntimeError(f"two shapes are called {name}")
        return schema

    def _example(self, schema: Schema) -> Any:
        """Return a value that a schema allows, made from its fields' own examples."""
        if ref := schema.get("$ref"):
            schema = self._schemas[ref.removeprefix(_SCHEMAS)]
        for key in ("examples", "enum"):
            if key in schema:
                return schema[key][0]
        for key in ("const", "default"):
            if schema.get(key) is not None:
                return schema[key]
        if kinds := schema.get("anyOf") or schema.get("oneOf"):
            return self._example(kinds[0])
        match schema.get("type"):
            case "object":
                fields = schema.get("properties", {}).items()
                return {name: self._example(each) for name, each in fields}
            case "array":
                return [self._example(schema["items"])] if schema.get("items") else []
        return _PLAIN.get(str(schema.get("type")))


_PLAIN: Schema = {"string": "text", "integer": 1, "number": 1.5, "boolean": True}


def _headers(*names: str) -> Schema:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _format_item(kind: str, example: Any) -> str:
    text = msgspec.json.encode(example).decode()
    if kind == "text/event-stream":
        name = example.get("seq") or example.get("cursor")
        return f"id: {name}\nevent: {example.get('kind', 'message')}\ndata: {text}\n\n"
    return f"{text}\n"
