"""Comparison of manifests: equal ones have no changes, and every difference is named."""

import copy
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from koco.manifest import differences, load
from koco.manifest.differences import ABSENT, File
from tests.unit.conftest import examples

MANIFEST: dict[str, Any] = {
    "service": "hello",
    "flows": [{"name": "greet", "entrypoint": "app:greet"}, {"name": "bye", "entrypoint": "a:b"}],
}


def _named(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    """Return lists of mappings that have unique names."""
    element = st.fixed_dictionaries({"name": st.sampled_from("abcd"), "x": inner})
    return st.lists(element, max_size=4, unique_by=lambda each: each["name"])


_words = st.text("abc", min_size=1, max_size=3)
_values = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2) | st.floats(0, 1) | _words,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(_words, inner, max_size=3) | _named(inner)
    ),
    max_leaves=12,
)
#: No manifests that would be understood: everything of these counts.
_datas = st.dictionaries(_words, _values, max_size=4)

_files = st.lists(
    st.builds(File, _words, st.integers(0, 3), _words, st.booleans()),
    unique_by=lambda file: file.path,
)


def full(**more: Any) -> dict[str, Any]:
    return load.to_data(load.check({**copy.deepcopy(MANIFEST), **more}))


def told(old: dict[str, Any], new: dict[str, Any]) -> dict[tuple[str | int, ...], Any]:
    return {each.path: (each.old, each.new) for each in differences.compare_manifests(old, new)}


def applied(value: Any, changes: list[differences.Change]) -> Any:
    """Return a value with changes applied. The changes have all the information for this."""
    for change in changes:
        value = _applied(value, change.path, change.new)
    return value


def _applied(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if path:
        return _with(value, path[0], _applied(_of(value, path[0]), path[1:], new))
    if _are_names(new, value):
        return sorted(value, key=lambda each: new.index(each["name"]))
    return new


def _are_names(names: Any, value: Any) -> bool:
    """Return whether a value is a list of elements with these names, which then give its order."""
    lists = isinstance(names, list) and isinstance(value, list) and len(value) > 0
    if not lists or not all(isinstance(each, dict) and "name" in each for each in value):
        return False
    return sorted(map(str, names)) == sorted(str(each["name"]) for each in value)


def _of(value: Any, key: Any) -> Any:
    if isinstance(value, list) and isinstance(key, str):
        return next((each for each in value if each["name"] == key), ABSENT)
    return value.get(key, ABSENT) if isinstance(value, dict) else value[key]


def _with(value: Any, key: Any, new: Any) -> Any:
    if isinstance(value, list) and isinstance(key, str):
        kept = [new if each["name"] == key else each for each in value]
        there = key in [each["name"] for each in value]
        return [each for each in (kept if there else [*kept, new]) if each is not ABSENT]
    if isinstance(value, list):
        return [new if at == key else each for at, each in enumerate(value)]
    merged = {**value, key: new}
    return {name: each for name, each in merged.items() if each is not ABSENT}


@given(_datas)
def test_equal_manifests_have_no_changes(data: dict[str, Any]) -> None:
    """And the same fingerprint."""
    twin = json.loads(json.dumps(data))
    assert differences.compare_manifests(data, twin) == []
    assert differences.fingerprint(data, "b") == differences.fingerprint(twin, "b")


@settings(max_examples=examples(150))
@given(_datas, _datas)
def test_changes_lead_from_old_to_new(old: dict[str, Any], new: dict[str, Any]) -> None:
    """So none is missing. There are changes exactly if the fingerprints differ."""
    changes = differences.compare_manifests(old, new)
    assert json.dumps(applied(old, changes), sort_keys=True) == json.dumps(new, sort_keys=True)
    assert bool(changes) == (differences.fingerprint(old, "b") != differences.fingerprint(new, "b"))


@given(_named(st.integers(0, 1)), _named(st.integers(0, 1)))
def test_changes_of_named_elements_lead_from_old_to_new(old: list[Any], new: list[Any]) -> None:
    """Elements are added, removed, changed and moved at once."""
    changes = differences.compare_manifests({"a": old}, {"a": new})
    assert applied({"a": old}, changes) == {"a": new}


@given(_files, _files)
def test_names_each_changed_file_once(old: list[File], new: list[File]) -> None:
    """Removing and adding the named files leads from one listing to the other."""
    changes = differences.compare_files(old, new)
    paths = [each.path for each in changes]
    assert paths == sorted(set(paths))
    before, after = ({file.path: file for file in files} for files in (old, new))
    kept = {path: file for path, file in before.items() if path not in paths}
    changed = {each.path: after[each.path] for each in changes if each.change != "removed"}
    assert kept | changed == after
    for each in changes:
        sizes = (before.get(each.path), after.get(each.path))
        assert (each.old_bytes, each.new_bytes) == tuple(file and file.size_bytes for file in sizes)


def test_a_change_of_mode_differs_from_one_of_content() -> None:
    """That is told apart from its content."""
    [change] = differences.compare_files([File("a", 1, "x")], [File("a", 1, "x", executable=True)])
    assert change.change == "mode"


def test_defaults_are_not_changes() -> None:
    """Whether written down or not, and known to the koco that stored the manifest or not."""
    bare, written = full(), full(runner={"max": 10}, runtime={"env": {}})
    assert differences.fingerprint(MANIFEST, "b") == differences.fingerprint(bare, "b")
    assert differences.fingerprint(bare, "b") == differences.fingerprint(written, "b")
    assert differences.normalize(written) == MANIFEST
    older = {key: bare[key] for key in ("service", "flows")}
    assert differences.compare_manifests(older, bare) == []
    assert differences.fingerprint(bare, "b") != differences.fingerprint(bare, "c")


def test_a_flow_may_take_a_limit_of_its_service_away() -> None:
    """Its `queue: null` says something, though null is the default of a service's limits."""
    greet = {"name": "greet", "entrypoint": "app:greet"}
    whole, freed = (
        {**MANIFEST, "flows": [each]} for each in (greet, greet | {"limits": {"queue": None}})
    )
    assert differences.fingerprint(whole, "b") != differences.fingerprint(freed, "b")
    assert differences.normalize(freed) == freed
    assert [change.path for change in differences.compare_manifests(whole, freed)] == [
        ("flows", "greet", "limits", "queue")
    ]


def test_a_change_from_a_default_shows_the_default() -> None:
    """Even if no manifest ever had it."""
    assert told(full(), full(runner={"max": 20})) == {("runner", "max"): (10, 20)}


def test_compares_mappings_by_key() -> None:
    """An added key has no old value. Null is a value."""
    old = full(runtime={"env": {"A": "1", "B": "1"}})
    new = full(runtime={"env": {"B": "2", "C": "1"}})
    assert told(old, new) == {
        ("runtime", "env", "A"): ("1", ABSENT),
        ("runtime", "env", "B"): ("1", "2"),
        ("runtime", "env", "C"): (ABSENT, "1"),
    }


def test_compares_flows_by_name() -> None:
    """A new flow at the front changes no other one. A new order is a change, too."""
    first, second = MANIFEST["flows"]
    new = full(flows=[{"name": "new", "entrypoint": "a:new"}, first, {**second, "summary": "Bye"}])
    changes = told(full(), new)
    assert set(changes) == {("flows", "new"), ("flows", "bye", "summary"), ("flows",)}
    assert told(full(), full(flows=[second, first])) == {
        ("flows",): (["greet", "bye"], ["bye", "greet"])
    }


def test_changed_parts_are_in_a_fixed_order() -> None:
    """A file that defines the environment does not count as code."""

    def parts(*files: str, **more: Any) -> list[str]:
        new = full(**more)
        changed = differences.compare_files([], [File(path, 1, "x") for path in files])
        changes = differences.compare_manifests(full(), new)
        return differences.changed_parts(load.check(new).runtime, changes, changed)

    assert parts("app.py", runner={"max": 20}) == ["code", "replicas"]
    assert parts(runtime={"env": {"A": "1"}}) == ["environment"]
    assert parts(runtime={"files": ["*.py"]}, author="ada") == ["settings"]
    assert parts(secrets=["TOKEN"]) == ["environment"]
    listed = {"requirements": "requirements.txt"}
    assert parts("requirements.txt", runtime=listed) == ["environment"]
    assert parts("requirements.txt") == ["code"]
    assert parts() == []
