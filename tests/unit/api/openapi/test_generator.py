"""The OpenAPI document describes each operation: its parameters, answers and errors."""

import json
import re
from collections.abc import Iterator

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from koco import errors
from koco.api.http import problem_details
from tests.support.api_server import Api, serving
from tests.support.checkout import ROOT
from tests.support.contract import contract

DOCUMENT = contract().document
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("data")) as api:
        yield api


def test_the_document_is_valid() -> None:
    """It conforms to OpenAPI 3.1, and so do its schemas."""
    validate(DOCUMENT)
    assert DOCUMENT["openapi"].startswith("3.1")


def test_every_operation_is_described() -> None:
    """It has a summary, described parameters, an answer that is not an error, and 500."""
    for name, operation in OPERATIONS.items():
        assert operation["summary"].endswith((".", "`")), name
        assert "Takes " in operation["description"], name
        parameters = operation.get("parameters", ())
        assert not [each["name"] for each in parameters if "description" not in each], name
        answers = operation["responses"]
        assert any(status < "400" or status == "default" for status in answers), name
        assert "500" in answers, name
        if operation["security"]:
            assert {"401", "403", "429"} <= set(answers), name


def test_examples_fit_their_schemas() -> None:
    """Those of bodies, answers and errors, so that a copied example works."""
    responses = DOCUMENT["components"]["responses"].values()
    contents = [each["content"] for each in responses]
    for operation in OPERATIONS.values():
        contents += [answer.get("content", {}) for answer in operation["responses"].values()]
        contents.append(operation.get("requestBody", {}).get("content", {}))
    looked_at = 0
    for content in contents:
        for kind, media in content.items():
            assert "example" in media
            if kind.endswith("json"):
                schema = {"allOf": [media["schema"]], "components": DOCUMENT["components"]}
                Draft202012Validator(schema).validate(media["example"])
                looked_at += 1
    assert looked_at > 50


def test_errors_are_problems_with_known_codes() -> None:
    """Their codes are those of koco's error classes."""
    known = {kind.code for kind in errors._with_subclasses(errors.KocoError)}
    for name, answer in DOCUMENT["components"]["responses"].items():
        [(kind, media)] = answer["content"].items()
        assert kind == problem_details.MEDIA_TYPE
        assert set(media["schema"]["allOf"][1]["properties"]["code"]["enum"]) <= known, name


def test_the_page_is_served_if_it_is_enabled(api: Api) -> None:
    """It is off by default. It has every operation and loads nothing from other hosts."""
    with api.http() as client:
        assert client.get("/docs").status_code == 404
        api.parts.settings.api_docs = True
        answer = client.get("/docs")
    assert answer.headers["content-type"].startswith("text/html")
    for operation in OPERATIONS.values():
        assert f"<h3 id={operation['operationId']}>" in answer.text
    assert "<script" not in answer.text and "//" not in answer.text.partition("<h2>")[0]


def test_ids_are_unique_names() -> None:
    """They are names of functions, for generated clients."""
    ids = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(set(ids)) == len(ids)
    assert all(each.isidentifier() for each in ids)
    assert {"launch", "list_executions", "stream_events", "answer_lock"} <= set(ids)


def test_the_document_is_public_and_cached(api: Api) -> None:
    """No key is needed, and a client that has it gets 304."""
    with api.http() as client:
        del client.headers["Authorization"]
        answer = client.get("/openapi.json")
        assert answer.status_code == 200
        assert json.loads(answer.content)["paths"].keys() == DOCUMENT["paths"].keys()
        etag = answer.headers["ETag"]
        again = client.get("/openapi.json", headers={"If-None-Match": etag})
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", etag)


def test_the_docs_list_every_route() -> None:
    """With its scope and its summary."""
    page = (ROOT / "docs/api.md").read_text()
    rows = re.findall(r"^\| `([A-Z]+ \S+)` \| (?:`(\w+)`|-) \| (.+) \|$", page, re.MULTILINE)
    routes = [
        (name, next((scopes[0] for each in op["security"] for scopes in each.values()), ""))
        for name, op in OPERATIONS.items()
    ]
    assert [(name, scope) for name, scope, _ in rows] == routes
    assert [about for *_, about in rows] == [op["summary"] for op in OPERATIONS.values()]
