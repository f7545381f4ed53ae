"""The JSON Schema of manifests, and its documentation."""

import dataclasses
import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from koco.errors import ManifestError
from koco.forms import TYPES
from koco.manifest import load, schema
from koco.manifest.for_agents import Mip003
from koco.manifest.model import (
    Endpoint,
    Files,
    Flow,
    Limits,
    Manifest,
    Runner,
    Runtime,
    Schedule,
)
from koco.manifest.yaml_document import Document
from koco.project import config_file, project
from tests.support.checkout import ROOT

PAGE = (ROOT / "docs/manifest.md").read_text()
SCHEMA = schema.json_schema()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def section(title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def accepts(data: Any) -> bool:
    return jsonschema.Draft202012Validator(SCHEMA).is_valid(data)


def test_the_schemas_are_valid() -> None:
    """They match the draft that they name, and have an id and a title."""
    for each in (SCHEMA, config_file.json_schema()):
        jsonschema.Draft202012Validator.check_schema(each)
        assert each["$schema"] == "https://json-schema.org/draft/2020-12/schema"
        assert each["$id"]
        assert each["title"]


@pytest.mark.parametrize("text", blocks("yaml"))
def test_every_yaml_block_of_the_page_is_a_manifest(text: str) -> None:
    """For koco and for editors."""
    assert isinstance(load.parse(text), Manifest)
    assert accepts(Document(text, "docs").data)


@pytest.mark.parametrize("text", blocks("toml"))
def test_every_toml_block_of_the_page_is_a_koco_toml(text: str, tmp_path: Path) -> None:
    """For koco and for editors."""
    (tmp_path / "koco.toml").write_text(text)
    assert project.load(tmp_path / "koco.toml").name == "demo"
    jsonschema.validate(tomllib.loads(text), config_file.json_schema())


@pytest.mark.parametrize(
    ("title", "model"),
    [
        *(("The service", Manifest), ("flows", Flow), ("runtime", Runtime), ("runner", Runner)),
        *(("endpoint", Endpoint), ("files", Files), ("limits", Limits), ("schedule", Schedule)),
        ("mip003", Mip003),
    ],
)
def test_every_key_of_a_manifest_is_documented(title: str, model: Any) -> None:
    """The table of its section has no other keys."""
    documented = re.findall(r"^\| `(\w+)` \|", section(title), re.MULTILINE)
    assert documented == list(model.model_fields)


def test_every_key_of_koco_toml_is_documented() -> None:
    """Its table has no other keys."""
    documented = re.findall(r"^\| `([\w.]+)` \|", section("koco.toml"), re.MULTILINE)
    assert documented == [
        f"{table}.{key}" for table, keys in config_file.KEYS.items() for key in keys
    ]


def test_everything_that_is_never_shipped_is_documented() -> None:
    """Except for koco's own marker."""
    from koco.project.bundle import MARKER
    from koco.project.file_tree import NEVER

    assert [name for name in NEVER if f"`{name}`" not in section("runtime")] == [MARKER]


def test_every_name_that_looks_like_a_secret_is_documented() -> None:
    """Files, folders and endings, so that users can find out why a file is missing."""
    from koco.project import secret_files

    names = [*secret_files._NAMES, *(f"*{ending}" for ending in secret_files._ENDINGS)]
    names += [f"{start}*.json" for start in secret_files._JSON]
    told = section("runtime")
    assert [name for name in names if f"`{name}`" not in told and f"`{name}/`" not in told] == []


@pytest.mark.parametrize("kind", TYPES)
def test_editors_know_every_element_and_property(kind: str) -> None:
    """Every reader of a property is in the table of schemas."""
    described = SCHEMA["$defs"][f"Input_{kind}"]
    fields = dataclasses.fields(TYPES[kind])
    assert list(described["properties"]) == ["type", *(field.name for field in fields)]
    readers = {field.metadata["read"].__name__ for field in fields}
    assert readers - {"_read_options"} <= set(schema._READERS)


FLOW = {"name": "a", "entrypoint": "a:b"}


@pytest.mark.parametrize(
    "change",
    [
        *({"servce": "x"}, {"service": "A"}, {"flows": []}, {"runner": {"min": "1"}}),
        *({"flows": [{"name": "a"}]}, {"runtime": {"env": {"1": "x"}}}, {"tags": "x"}),
        *({"flows": [FLOW | {"entrypoint": "app"}]}, {"runner": {"concurrency": 0}}),
        *({"flows": [FLOW | {"inputs": [each]}]} for each in ({"name": "x"}, {"type": "txt"})),
        {"flows": [FLOW | {"inputs": [{"type": "text", "name": "x", "labl": "y"}]}]},
        {"flows": [FLOW | {"inputs": [{"type": "select", "name": "x", "option": []}]}]},
        *({"flows": [FLOW | each]} for each in ({"expose": ["x"]}, {"hints": {"x": True}})),
        *({"mip003": [{"flow": "a"} | each]} for each in ({"network": "x"}, {"publik": True})),
    ],
)
def test_the_schema_refuses_invalid_manifests(change: dict[str, Any]) -> None:
    """It is as strict as koco in everything that a schema can express."""
    data = {"service": "a", "flows": [FLOW]}
    assert accepts(data)
    with pytest.raises(ManifestError):
        load.check(data | change)
    assert not accepts(data | change)
