"""Checks of the API's answers: the shapes that the client relies on, and those of the API."""

from typing import Annotated, Any, Literal, NotRequired, TypedDict, get_args, is_typeddict

import pytest

from koco.client import answers
from koco.client.exchange import shape_check
from tests.support.contract import contract


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
def test_names_the_wrong_part(change: dict[str, Any], part: str | None) -> None:
    """Keys that a type does not name are ignored."""
    assert shape_check.misfit(GOOD | change, Outer) == part


@pytest.mark.parametrize("value", [None, 1, "x", [], True])
def test_an_entirely_different_value_has_no_part(value: Any) -> None:
    """No part is wrong on its own."""
    assert shape_check.misfit(value, Outer) == ""


#: Names that differ between the client and the API.
NAMES = {
    **{"LaunchedAndAwaited": "Launched", "ScheduleOfFlow": "Schedule"},
    **{"Doctor": "Findings", "Found": "Finding", "Failure": "Failure", "Named": "Execution"},
    **{"State": "Execution", "Service": "DeployedService"},
    **{"ReleaseState": "Release", "BegunRelease": "Release", "RolledBack": "Release"},
    **{"Origin": "ReleaseOrigin", "Change": "PlannedChange", "FileChange": "PlannedFileChange"},
    **{"Runner": "RunnerState", "ExecutionChange": "Change", "ExecutionChanges": "Changes"},
    **{"Finding": "ManifestFinding", "Holder": "Key", "Load": "FlowLoad"},
    **{
        "StatusEvent": "Event",
        "Schedule": "ScheduleState",
        "Removed": "Page",
        "Flow": "FlowWithForm",
        "ListedRelease": "Release",
    },
}
#: Answers that are not the API's own, or that are pages of a named type.
OTHERS = {"Error", "Uploading", "Page", "Counts", "Element", "Removed", "ReleaseFailure"}
#: A browser gets its token in a cookie; the route describes entries of the audit log.
OTHERS |= {"Session", "Entry"}


def kinds() -> list[Any]:
    found = [each for each in vars(answers).values() if is_typeddict(each)]
    return [each for each in found if not each.__name__.startswith("_")]


@pytest.mark.parametrize("kind", [each for each in kinds() if each.__name__ not in OTHERS])
def test_the_api_documents_the_keys_that_the_client_needs(kind: Any) -> None:
    """Each key, and those that are always present."""
    name = NAMES.get(kind.__name__, kind.__name__)
    schema = contract().document["components"]["schemas"][name]
    assert kind.__annotations__.keys() <= schema["properties"].keys() | {"traceback"}
    assert kind.__required_keys__ <= set(schema["required"])


def test_every_type_that_is_used_can_be_checked() -> None:
    """Otherwise the first user to get such an answer would find the gap."""
    for kind in kinds():
        shape_check.misfit({}, kind if kind is not answers.Page else answers.Page[answers.Lock])
    assert get_args(answers.Time)
