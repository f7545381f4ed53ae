"""OpenTelemetry's variables on their way from `koco up` to the control plane."""

import os

import pytest

from koco.control.tracing import variables

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


@pytest.mark.parametrize(
    "switch", [ENDPOINT, {"OTEL_TRACES_EXPORTER": "none"}, {"OTEL_SDK_DISABLED": "true"}]
)
def test_all_are_passed_on_if_one_turns_the_export_on_or_off(switch: dict[str, str]) -> None:
    more = {"OTEL_EXPORTER_OTLP_HEADERS": "key=secret"}
    assert variables.asked({**switch, **more, "PATH": "/bin"}) == {**switch, **more}


def test_others_alone_say_nothing() -> None:
    """A shell may have some for other programs; and an empty one is not set."""
    assert variables.asked({"OTEL_SERVICE_NAME": "mine", "OTEL_TRACES_EXPORTER": ""}) == {}


def test_they_are_compared_without_being_shown() -> None:
    one = variables.digest(ENDPOINT)
    assert one == variables.digest(dict(ENDPOINT)) != variables.digest({**ENDPOINT, "OTEL_X": "1"})
    assert "collector" not in one
    assert variables.digest({}) == ""


def test_they_replace_those_that_ray_was_started_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a key for one collector would be sent to another."""
    monkeypatch.setattr(os, "environ", {"OTEL_EXPORTER_OTLP_HEADERS": "key=old", "PATH": "/bin"})
    variables.use({})
    assert os.environ["OTEL_EXPORTER_OTLP_HEADERS"] == "key=old"
    variables.use(ENDPOINT)
    assert os.environ == {**ENDPOINT, "PATH": "/bin"}
