"""Plans as pure comparisons: equal says nothing, and whatever differs is named."""

import copy
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from koco.manifest import load, plan
from koco.manifest.plan import ABSENT, File
from tests.unit.conftest import examples

MANIFEST: dict[str, Any] = {
    "service": "hello",
    "flows": [{"name": "greet", "entrypoint": "app:greet"}, {"name": "bye", "entrypoint": "a:b"}],
}


def _named(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    """Return lists of mappings that have names of their own."""
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
    return {each.path: (each.old, each.new) for each in plan.changes(old, new)}


def applied(value: Any, changes: list[plan.Change]) -> Any:
    """Return a value with changes made to it, which say all that there is to know."""
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
    """Say whether a value is a list of what has these names: then it is their order."""
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
def test_what_is_equal_has_no_changes(data: dict[str, Any]) -> None:
    """And one fingerprint."""
    twin = json.loads(json.dumps(data))
    assert plan.changes(data, twin) == []
    assert plan.fingerprint(data, "b") == plan.fingerprint(twin, "b")


@settings(max_examples=examples(150))
@given(_datas, _datas)
def test_changes_made_to_the_old_give_the_new(old: dict[str, Any], new: dict[str, Any]) -> None:
    """So none is left out; and there is one exactly where the fingerprints differ."""
    changes = plan.changes(old, new)
    assert json.dumps(applied(old, changes), sort_keys=True) == json.dumps(new, sort_keys=True)
    assert bool(changes) == (plan.fingerprint(old, "b") != plan.fingerprint(new, "b"))


@given(_named(st.integers(0, 1)), _named(st.integers(0, 1)))
def test_so_do_those_of_lists_whose_elements_have_names(old: list[Any], new: list[Any]) -> None:
    """Elements that are added, removed, changed and moved, all at once."""
    changes = plan.changes({"a": old}, {"a": new})
    assert applied({"a": old}, changes) == {"a": new}


@given(_files, _files)
def test_files_that_change_are_named_once(old: list[File], new: list[File]) -> None:
    """Taking away and adding what is named leads from one listing to the other."""
    changes = plan.file_changes(old, new)
    paths = [each.path for each in changes]
    assert paths == sorted(set(paths))
    before, after = ({file.path: file for file in files} for files in (old, new))
    kept = {path: file for path, file in before.items() if path not in paths}
    changed = {each.path: after[each.path] for each in changes if each.change != "removed"}
    assert kept | changed == after
    for each in changes:
        sizes = (before.get(each.path), after.get(each.path))
        assert (each.old_bytes, each.new_bytes) == tuple(file and file.size_bytes for file in sizes)


def test_a_file_may_change_in_its_mode_only() -> None:
    """That is told apart from its content."""
    [change] = plan.file_changes([File("a", 1, "x")], [File("a", 1, "x", executable=True)])
    assert change.change == "mode"


def test_defaults_say_nothing() -> None:
    """Written down or not, known to the koco that stored the manifest or not."""
    bare, written = full(), full(runner={"max": 10}, runtime={"env": {}})
    assert plan.fingerprint(MANIFEST, "b") == plan.fingerprint(bare, "b")
    assert plan.fingerprint(bare, "b") == plan.fingerprint(written, "b")
    assert plan.normal(written) == MANIFEST
    older = {key: bare[key] for key in ("service", "flows")}
    assert plan.changes(older, bare) == []
    assert plan.fingerprint(bare, "b") != plan.fingerprint(bare, "c")


def test_a_flow_may_take_a_limit_of_its_service_away() -> None:
    """Its `queue: null` says something, though null is the default of a service's limits."""
    greet = {"name": "greet", "entrypoint": "app:greet"}
    whole, freed = (
        {**MANIFEST, "flows": [each]} for each in (greet, greet | {"limits": {"queue": None}})
    )
    assert plan.fingerprint(whole, "b") != plan.fingerprint(freed, "b")
    assert plan.normal(freed) == freed
    assert [change.path for change in plan.changes(whole, freed)] == [
        ("flows", "greet", "limits", "queue")
    ]


def test_a_default_that_is_left_is_shown() -> None:
    """As people know it, though it was never written down."""
    assert told(full(), full(runner={"max": 20})) == {("runner", "max"): (10, 20)}


def test_a_mapping_is_compared_key_by_key() -> None:
    """What is added has no old value, and null is one."""
    old = full(runtime={"env": {"A": "1", "B": "1"}})
    new = full(runtime={"env": {"B": "2", "C": "1"}})
    assert told(old, new) == {
        ("runtime", "env", "A"): ("1", ABSENT),
        ("runtime", "env", "B"): ("1", "2"),
        ("runtime", "env", "C"): (ABSENT, "1"),
    }


def test_flows_are_compared_by_name() -> None:
    """One that is added in front changes no other; order is a change of its own."""
    first, second = MANIFEST["flows"]
    new = full(flows=[{"name": "new", "entrypoint": "a:new"}, first, {**second, "summary": "Bye"}])
    changes = told(full(), new)
    assert set(changes) == {("flows", "new"), ("flows", "bye", "summary"), ("flows",)}
    assert told(full(), full(flows=[second, first])) == {
        ("flows",): (["greet", "bye"], ["bye", "greet"])
    }


def test_parts_say_what_an_update_is_about() -> None:
    """In a fixed order; a file of which the environment is made is no code."""

    def parts(*files: str, **more: Any) -> list[str]:
        new = full(**more)
        changed = plan.file_changes([], [File(path, 1, "x") for path in files])
        return plan.parts(new, plan.changes(full(), new), changed)

    assert parts("app.py", runner={"max": 20}) == ["code", "replicas"]
    assert parts(runtime={"env": {"A": "1"}}) == ["environment"]
    assert parts(runtime={"files": ["*.py"]}, author="ada") == ["settings"]
    assert parts(secrets=["TOKEN"]) == ["environment"]
    listed = {"requirements": "requirements.txt"}
    assert parts("requirements.txt", runtime=listed) == ["environment"]
    assert parts("requirements.txt") == ["code"]
    assert parts() == []
