"""`koco flows`: the list, its filters and the tags of flows."""

import json

import pytest

from tests.support.memory_plane import Plane
from tests.unit.conftest import Cli


@pytest.fixture(autouse=True)
def tagged(plane: Plane) -> None:
    greet = plane.flows["greet"]
    plane.flows["greet"] = {**greet, "tags": ["a", "b"]}
    plane.flows["other"] = {**greet, "name": "hello/other", "short": "other", "tags": ["b"]}


def test_filters_are_sent_to_the_control_plane(cli: Cli, plane: Plane) -> None:
    """Several tags and all words."""
    ran = cli("flows", "--tag", "b", "--search", "other")
    assert (ran.code, [line.split()[0] for line in ran.out.splitlines()]) == (
        0,
        ["flow", "hello/other"],
    )
    cli("flows", "--tag", "a", "--tag", "b")
    assert "tag=a&tag=b" in plane.requests[-1][1]


def test_says_that_no_flow_matches(cli: Cli) -> None:
    ran = cli("flows", "--tag", "none")
    assert "no flow matches" in ran.err


def test_lists_tags(cli: Cli) -> None:
    assert [line.split() for line in cli("flows", "--tags").out.splitlines()[1:]] == [
        ["a", "1"],
        ["b", "2"],
    ]
    items = json.loads(cli("flows", "--tags", "--json").out)["items"]
    assert items == [{"name": "a", "flows": 1}, {"name": "b", "flows": 2}]


@pytest.mark.parametrize(
    "line", ["flows --schema", "flows greet --tag a", "flows greet --tags", "flows --tags --tag a"]
)
def test_refuses_options_that_do_not_fit_together(cli: Cli, line: str) -> None:
    assert cli(*line.split()).code == 2


def test_shows_where_a_page_is(cli: Cli, plane: Plane) -> None:
    """The flow has no form of koco's then."""
    page = {"form": None, "page": True, "path": "/wishes", "dialect": "kodosumi"}
    plane.flows["greet"] = {**plane.flows["greet"], **page}
    out = cli("flows", "greet").out
    assert "page         /v1/services/hello/app/wishes\n" in out
    assert "inputs       the fields of the page's form\n" in out


def test_shows_whether_a_flow_is_durable(cli: Cli, plane: Plane) -> None:
    """And what it may call; a control plane that is older says neither."""
    assert "durable" not in cli("flows", "greet").out
    plane.flows["greet"] = {**plane.flows["greet"], "durable": True, "calls": ["bank/*", "a/b"]}
    out = cli("flows", "greet").out
    assert "durable      yes\ncalls        bank/*, a/b\n" in out


def test_shows_how_json_is_typed(cli: Cli, plane: Plane) -> None:
    """Its kind is in the schema, or in what that refers to."""
    of_model = {"$ref": "#/$defs/M", "$defs": {"M": {"type": "object"}}}
    schemas = {"a": {"type": "array"}, "b": of_model, "c": {}}
    form = [
        {"type": "json", "name": name, "required": True, "json_schema": schema}
        for name, schema in schemas.items()
    ]
    plane.flows["greet"] = {**plane.flows["greet"], "form": form}
    err = cli("flows", "greet").err
    assert err == "to run it: koco run hello/greet -i a='[…]' -i b='{…}' -i c=… -f\n"
