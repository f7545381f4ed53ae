"""What answers are held against: the shapes that the client counts on, and those of the API."""

from typing import Annotated, Any, Literal, NotRequired, TypedDict, get_args, is_typeddict

import pytest

from koco.api import shapes
from koco.api.shapes import deployed
from koco.client import answers, shape


class Inner(TypedDict):
    at: Annotated[int, lambda at: at > 0]
    name: NotRequired[str | None]


class Outer(TypedDict):
    items: list[Inner]
    kind: Literal["a", "b"]
    tally: dict[str, float]


GOOD: dict[str, Any] = {"items": [{"at": 1}], "kind": "a", "tally": {"x": 1}}


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({}, None),
        ({"more": 1}, None),
        ({"items": []}, None),
        ({"items": [{"at": 1, "name": None}, {"at": 2, "name": "x"}]}, None),
        ({"items": None}, "items"),
        ({"items": {}}, "items"),
        ({"items": [1]}, "items[0]"),
        ({"items": [{"at": 1}, {}]}, "items[1].at"),
        ({"items": [{"at": 0}]}, "items[0].at"),
        ({"items": [{"at": True}]}, "items[0].at"),
        ({"items": [{"at": 1.0}]}, "items[0].at"),
        ({"items": [{"at": 2**63}]}, "items[0].at"),
        ({"items": [{"at": 1, "name": 3}]}, "items[0].name"),
        ({"kind": "c"}, "kind"),
        ({"kind": []}, "kind"),
        ({"tally": {"x": "1"}}, "tally.x"),
        ({"tally": {"x": float("inf")}}, "tally.x"),
    ],
)
def test_the_part_that_is_wrong_is_named(change: dict[str, Any], part: str | None) -> None:
    """What a type does not name is let be."""
    assert shape.misfit(GOOD | change, Outer) == part


@pytest.mark.parametrize("value", [None, 1, "x", [], True])
def test_something_else_altogether_has_no_part(value: Any) -> None:
    """There is nothing to name."""
    assert shape.misfit(value, Outer) == ""


#: What the client calls otherwise than the API does.
NAMES = {
    **{"Doctor": "Findings", "Found": "Finding", "Failure": "Failure", "Named": "Execution"},
    **{"Progress": "Execution", "Service": "DeployedService", "Services": "Page"},
    **{"ReleaseState": "Release", "BegunRelease": "Release", "RolledBack": "Release"},
    **{"Origin": "ReleaseOrigin", "Change": "PlannedChange", "FileChange": "PlannedFileChange"},
    **{"Finding": "ManifestFinding", "Holder": "Key", "Load": "FlowLoad"},
    **{
        "StatusEvent": "Event",
        "Removed": "Page",
        "Flow": "FlowWithForm",
        "ListedRelease": "Release",
    },
}
#: What is no answer of the API's own, or is a page of what is named.
OTHERS = {"Error", "Uploading", "Page", "Counts", "Element", "Files", "Flows", "Keys", "Locks"}
OTHERS |= {"Releases", "Secrets", "Users", "Audit", "Services", "Removed", "ReleaseFailure"}
#: A token comes in a cookie where a browser asks; entries of the audit log are told in its route.
OTHERS |= {"Session", "Entry"}


def kinds() -> list[Any]:
    found = [each for each in vars(answers).values() if is_typeddict(each)]
    return [each for each in found if not each.__name__.startswith("_")]


@pytest.mark.parametrize("kind", [each for each in kinds() if each.__name__ not in OTHERS])
def test_the_api_promises_what_the_client_counts_on(kind: Any) -> None:
    """Each key, and those that are always there."""
    name = NAMES.get(kind.__name__, kind.__name__)
    theirs = getattr(shapes, name, None) or getattr(deployed, name)
    assert set(kind.__annotations__) <= set(theirs.__annotations__) | {"traceback"}
    assert kind.__required_keys__ <= theirs.__required_keys__


def test_every_type_that_is_used_can_be_checked() -> None:
    """A kind of type that `shape` does not know would be found by whoever is answered first."""
    for kind in kinds():
        shape.misfit({}, kind)
    assert get_args(answers.Time)
