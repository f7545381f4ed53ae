"""Payloads in Kodosumi's shape, and forms, URLs and ids."""

import json
from typing import Any

import pytest

from koco.api.kodosumi.shapes import elements, flow_urls, payloads, uploaded
from koco.control.services.catalog import Entry
from koco.errors import LimitError
from koco.forms import TYPES
from tests.support.releases import flow


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", '{"str":"a"}'),
        (1, '{"int":1}'),
        (1.5, '{"float":1.5}'),
        (True, '{"bool":true}'),
        ({}, '{"dict":{}}'),
        (None, '{"TypeError":"None"}'),
        ([{"a": 1}, [None]], '{"__list__":[{"dict":{"a":1}},{"__list__":[{"TypeError":"None"}]}]}'),
        ({"type": "markdown", "body": "# x"}, '{"Markdown":{"body":"# x"}}'),
        ({"type": "html", "body": "x"}, '{"HTML":{"body":"x"}}'),
        ({"type": "text", "body": "ä"}, '{"Text":{"body":"ä"}}'),
        ({"type": "other", "body": "x"}, '{"dict":{"type":"other","body":"x"}}'),
        ({"type": "text", "body": 1}, '{"dict":{"type":"text","body":1}}'),
        ({"type": [], "body": ""}, '{"dict":{"type":[],"body":""}}'),
        ({"$type": "Verse", "text": "x"}, '{"Verse":{"text":"x"}}'),
        ([{"$type": "Verse"}], '{"__list__":[{"Verse":{}}]}'),
        ({"$type": 1}, '{"dict":{"$type":1}}'),
        ({"$type": "a.B", "$cut": 9}, '{"dict":{"$type":"a.B","$cut":9}}'),
        ({"$type": "builtins.function", "$repr": "<f>"}, '{"TypeError":"<f>"}'),
    ],
)
def test_values_stand_below_their_types(value: Any, text: str) -> None:
    """As JSON in a text."""
    assert payloads.serialize(value) == text


def test_outputs_of_crews_have_their_names() -> None:
    """They are recognized by their fields, because koco stores only these."""
    task = {"raw": "r", "description": "d", "agent": "a", "output_format": "raw", "name": None}
    crew = {"raw": "r", "tasks_output": [task], "token_usage": {}, "pydantic": None}
    assert list(payloads.wrap(crew)) == ["CrewOutput"]
    assert list(payloads.wrap(task)) == ["TaskOutput"]


def test_every_element_of_koco_is_translated() -> None:
    """With all properties of Kodosumi's; `json` is koco's own and stays as it is."""
    for kind in TYPES:
        [found] = elements.translate([{"type": kind, "name": "n"}])
        assert found["type"] == kind
        assert kind == "json" or set(found) >= {"type"}
    [number] = elements.translate([{"type": "number", "name": "n", "min_value": 1}])
    assert number == {
        "type": "number",
        "name": "n",
        "label": None,
        "value": None,
        "required": False,
        "placeholder": None,
        "size": None,
        "pattern": None,
        "min_value": 1,
        "max_value": None,
        "step": None,
    }
    assert elements.translate(None) == []


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/localhost/8001/hymn/-/", ("hymn", "/")),
        ("/localhost/8001/hymn/-", ("hymn", "/")),
        ("/127.0.0.1/8125/hymn/-/review/", ("hymn", "/review")),
        ("/h/1/my/Big_app/-/a/b", ("my-big-app", "/a/b")),
        ("/h/1/a-b/-/-/x", ("a-b", "/-/x")),
        ("/h/x/hymn/-/", None),
        ("/hymn", None),
        ("", None),
    ],
)
def test_urls_name_a_service_and_a_path(path: str, found: tuple[str, str] | None) -> None:
    """Whatever their host and port."""
    assert flow_urls.split(path) == found


def test_flows_have_urls() -> None:
    """By their path in the app, or by their name."""
    of_app = Entry("hymn", 1, flow("x", path="/"), None)
    of_manifest = Entry("hymn", 1, flow("x"), None)
    assert flow_urls.url_of(of_app) == "/-/localhost/8001/hymn/-/"
    assert flow_urls.url_of(of_manifest) == "/-/localhost/8001/hymn/-/x"
    for entry in (of_app, of_manifest):
        named = flow_urls.split(flow_urls.url_of(entry).removeprefix("/-"))
        assert named is not None
        assert flow_urls.is_at(entry, named[1])


@pytest.mark.parametrize(
    "value", ["", "x", "{", "{}", '{"items": []}', '{"items": {"a": 1}}', "[" * 5000, None, 3, {}]
)
def test_other_values_name_no_uploads(value: Any) -> None:
    """They are left to the form."""
    assert uploaded.read(value, most_values=9999) is None


def test_uploads_are_named_in_a_text() -> None:
    """With their numbers of chunks."""
    items = {"u": {"filename": "a", "totalChunks": 2}}
    text = json.dumps({"items": items, "batchId": "b"})
    found = uploaded.read(text, most_values=9)
    assert found is not None
    assert (found.batch_id, found.items["u"]) == ("b", uploaded.Item("a", 2))
    with pytest.raises(LimitError, match="max_body_values"):
        uploaded.read(text, most_values=4)
