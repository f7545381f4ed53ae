"""What a deploy that fails is told."""

from typing import Any

from koco.control.deploy import failure_messages
from koco.runner.spec import Description, ImportFailure
from tests.support.releases import flow


def _problem(flow: str | None, message: str, **more: Any) -> ImportFailure:
    fields = {"entrypoint": "m:f", "type": "ValueError", **more}
    return ImportFailure(flow=flow, message=message, **fields)


def _message(*problems: ImportFailure) -> str:
    failure = failure_messages.of_imports(Description(problems=list(problems)))
    assert failure is not None
    return failure.message


def test_flows_with_the_same_failure_share_one_message() -> None:
    """A module that cannot be imported is one mistake, however many flows it has."""
    said = _message(_problem("a", "bad"), _problem("b", "worse"), _problem("c", "bad"))
    assert said == "flows 'a', 'c': ValueError: bad; flow 'b': ValueError: worse"
    said = _message(_problem("a", "bad"), _problem(None, "bad"))
    assert said == "flow 'a', app: ValueError: bad"
    assert _message(_problem(None, "bad")) == "app: ValueError: bad"


def test_a_failure_before_the_imports_names_no_flow() -> None:
    """If a secret is missing, for example, no flow is at fault."""
    assert _message(_problem(None, "no", entrypoint="", type="")) == "no"


def test_a_services_own_form_is_checked() -> None:
    """It comes from untrusted code: an invalid one fails the release, nothing else."""
    good = flow("a", form=[{"type": "text", "name": "x"}])
    bad = flow("b", form=[{"type": "text", "name": "x", "pattern": "(?=a)a"}])
    assert failure_messages.of_forms([good, flow("c")]) is None
    found = failure_messages.of_forms([good, bad])
    assert found is not None
    assert found.message.startswith("flow 'b': its form is not valid: ")
