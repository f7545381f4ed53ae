"""The document as a page of plain HTML. It needs neither scripts nor the internet.

litestar's readers (Swagger, Redoc, Scalar, …) load megabytes of scripts from other hosts into the
origin that holds the session cookies.
"""

import json
from collections.abc import Iterator
from html import escape

from koco.api.openapi.parameters import Schema


def page(document: Schema) -> str:
    """Return a page that shows an OpenAPI document."""
    return "\n".join(_lines(document))


def _lines(document: Schema) -> Iterator[str]:
    title = f"{document['info']['title']} {document['info']['version']}"
    yield f"<!doctype html><meta charset=utf-8><title>{escape(title)}</title>"
    yield f"<h1>{escape(title)}</h1>"
    yield f"<p>{escape(document['info']['description'])}<p><a href=openapi.json>openapi.json</a>"
    found = [
        (path, method, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
    ]
    for tag in document["tags"]:
        yield f"<h2>{escape(tag['name'])}</h2><p>{escape(tag['description'])}"
        for path, method, operation in found:
            if operation["tags"] == [tag["name"]]:
                yield from _operation(path, method.upper(), operation)
    yield "<h2>Shapes</h2>"
    for name, schema in document["components"]["schemas"].items():
        yield f"<h3 id={name}>{name}</h3><p>{escape(schema.get('description', ''))}{_json(schema)}"


def _operation(path: str, method: str, operation: Schema) -> Iterator[str]:
    yield f"<h3 id={operation['operationId']}>{method} {escape(path)}</h3>"
    yield f"<p>{escape(operation['summary'])}<p>{escape(operation['description'])}<ul>"
    for each in operation.get("parameters", ()):
        required = ", required" if each["required"] else ""
        name = f"<code>{escape(each['name'])}</code> ({each['in']}{required})"
        yield f"<li>{name}: {escape(each.get('description', ''))}"
    yield "</ul>"
    if body := operation.get("requestBody"):
        yield f"<p>Body:{_json(body['content'])}"
    for status, answer in operation["responses"].items():
        name = answer.get("$ref", "").rpartition("/")[2]
        about = name or answer.get("description", "")
        yield f"<p>{status} {escape(about)}"
        if content := answer.get("content"):
            yield _json(content)


def _json(value: object) -> str:
    return f"<pre>{escape(json.dumps(value, indent=1, ensure_ascii=False))}</pre>"
