"""Checks of requests and answers against the API's own OpenAPI document.

The tests are strict: if the document names an answer's members, it may have no others.
"""

import functools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl, unquote

import jsonschema_rs

from koco.api.app import create_app
from koco.api.openapi import generator
from koco.control.leadership import Leadership
from koco.control.settings import Settings

#: Parameters that may hold slashes.
_LONG = {"name": r".+", "rest": r".+", "path": r".+"}


class Contract:
    """A document that checks single requests and answers.

    With `some`, answers may lack members: a fake has only those that a test needs.
    """

    def __init__(self, document: dict[str, Any], *, some: bool = False) -> None:
        self.document = document
        self._components = _closed(document["components"], some=some)
        self._paths = [(_pattern(path), path, item) for path, item in document["paths"].items()]
        self._validators: dict[str, Any] = {}

    def operation(self, method: str, target: str) -> dict[str, Any] | None:
        """Return the operation of a request, or None if the document has none."""
        fits = [(path, item) for rule, path, item in self._paths if rule.fullmatch(target)]
        # As a router does: a literal part counts more than a parameter.
        fits.sort(key=lambda each: -sum("{" not in part for part in each[0].split("/")))
        for _, item in fits:
            found: dict[str, Any] | None = item.get(method.lower())
            if method == "HEAD" and found is None:
                found = item.get("get")
            return found
        return None

    def check_answer(
        self, method: str, url: str, status: int, headers: Mapping[str, str], body: bytes | None
    ) -> None:
        """Check an answer against the document. A body that is None is not checked."""
        target, _, query = url.partition("?")
        where = f"{method} {target} answered {status}"
        kind = headers.get("content-type", "").partition(";")[0]
        operation = self.operation(method, target)
        if operation is None or (method == "OPTIONS" and status in (200, 204)):
            # The path or the method does not exist. The answer is a problem as always.
            assert status in (200, 204, 401, 404, 405), where
            self._check(self._problem, body if status >= 400 else None, where)
            return
        answers = operation["responses"]
        answer = answers.get(str(status)) or answers.get("default")
        assert answer is not None, f"{where}, which is not documented: {sorted(answers)}"
        answer = self._resolved(answer)
        content = answer.get("content", {})
        if method == "HEAD" or status == 304 or not body:
            assert not body or method != "HEAD", where
            return
        media = content.get(kind) or content.get("*/*")
        assert media is not None, (
            f"{where} as {kind!r}, documented: {sorted(content)}: {body[:200]!r}"
        )
        if item := media.get("x-itemSchema"):
            for line in _items(kind, body):
                self._check(item, line, where)
        elif kind.endswith("json"):
            self._check(_whole(media["schema"], query), body, where)

    def check_request(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> None:
        """Check a request against the document: its query, its headers, its body."""
        target, _, query = url.partition("?")
        where = f"{method} {target}"
        operation = self.operation(method, target)
        assert operation is not None, f"{where} is not documented"
        known = {each["name"].lower(): each for each in operation.get("parameters", ())}
        given = {name.lower() for name in headers}
        asked = dict(parse_qsl(query, keep_blank_values=True))
        for name, text in asked.items():
            assert known.get(name.lower(), {}).get("in") == "query", f"{where} has no ?{name}="
            self._check(known[name.lower()]["schema"], _read(text, known[name.lower()]), where)
        for name, each in known.items():
            there = {"query": name in asked, "header": name in given}.get(each["in"], True)
            assert there or not each.get("required"), f"{where} lacks {each['name']}"
        content = operation.get("requestBody", {}).get("content", {})
        if body:
            assert content, f"{where} takes no body: {body[:200]!r}"
        if body and "application/json" in content:
            self._check(content["application/json"]["schema"], body, where)

    @property
    def _problem(self) -> dict[str, Any]:
        return {"$ref": "#/components/schemas/Problem"}

    def _resolved(self, answer: dict[str, Any]) -> dict[str, Any]:
        if ref := answer.get("$ref"):
            found: dict[str, Any] = self.document["components"]["responses"][ref.rpartition("/")[2]]
            return found
        return answer

    def _check(self, schema: dict[str, Any], body: bytes | None, where: str) -> None:
        if body is None or not schema:
            return
        key = json.dumps(schema, sort_keys=True)
        if key not in self._validators:
            whole = {"allOf": [schema], "components": self._components}
            self._validators[key] = jsonschema_rs.Draft202012Validator(whole)
        value = json.loads(body)
        problems = [
            f"{'/'.join(map(str, error.instance_path))}: {error.message}"
            for error in self._validators[key].iter_errors(value)
        ]
        assert not problems, f"{where}, not as documented: {problems[:5]}"


def bare_parts() -> Any:
    """Return parts that are enough to make the application, for a look at its routes."""
    return SimpleNamespace(
        settings=Settings(), webhooks=SimpleNamespace(contents={}), leadership=Leadership()
    )


@functools.cache
def contract(*, some: bool = False) -> Contract:
    """Return the document of this koco's API. It needs no control plane."""
    app = create_app(bare_parts())
    return Contract(json.loads(json.dumps(generator.make(app))), some=some)


def _pattern(path: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", path)
    texts = [
        re.escape(part) if i % 2 == 0 else _LONG.get(part, "[^/]+") for i, part in enumerate(parts)
    ]
    return re.compile("".join(texts))


def _closed(components: dict[str, Any], *, some: bool) -> dict[str, Any]:
    """Return the components, with answers that may have only the named members."""
    schemas = {
        name: {"additionalProperties": False, **schema} if "properties" in schema else schema
        for name, schema in components["schemas"].items()
    }
    if some:
        for schema in schemas.values():
            schema.pop("required", None)
    return {**components, "schemas": schemas}


def _whole(schema: dict[str, Any], query: str) -> dict[str, Any]:
    """Return the schema of a whole answer, or of a part of it if the query has `fields`."""
    is_some = "fields" in dict(parse_qsl(query))
    whole: dict[str, Any] = schema["anyOf"][1 if is_some else 0] if "anyOf" in schema else schema
    return whole


def _items(kind: str, body: bytes) -> Iterable[bytes]:
    lines: Iterator[bytes] = (line for line in body.split(b"\n") if line)
    if kind == "text/event-stream":
        return (line[6:] for line in lines if line.startswith(b"data: "))
    return lines


def _read(text: str, parameter: dict[str, Any]) -> bytes:
    """Return the value of a query's parameter as JSON."""
    kinds = parameter["schema"].get("type")
    if kinds == "array":
        return json.dumps([unquote(text)]).encode()
    if kinds in ("integer", "number", "boolean"):
        return text.encode()
    return json.dumps(unquote(text)).encode()
