"""Waiting for releases while the control plane does not answer."""

from typing import Any

import pytest

from koco.cli.deploy import wait_live
from koco.cli.deploy.ship import Report
from koco.errors import UnreachableError

STARTING: Any = {"service": "hello", "number": 3, "status": "starting", "origin": {}}
LIVE: Any = {**STARTING, "status": "live"}


class _Away:
    """A client whose control plane does not answer, or a user who presses Ctrl-C."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def release(self, *_: Any, **__: Any) -> Any:
        raise self._error


def settle(error: BaseException, release: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wait_live, "_AGAIN_S", 0.0)
    client: Any = _Away(error)
    wait_live.settle(client, [release], Report(as_json=True), timeout_s=None)


def test_silence_is_not_the_end_of_the_release(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hint says that the release goes on, and how to wait for it again."""
    with pytest.raises(UnreachableError) as caught:
        settle(UnreachableError("it does not answer"), STARTING, monkeypatch)
    assert "the control plane goes on with it" in str(caught.value.hint)
    assert "`koco deploy` again waits for it" in str(caught.value.hint)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), UnreachableError("it does not answer")])
def test_an_end_after_the_last_release_is_live_is_only_that(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no release that goes on."""
    with pytest.raises(type(error)) as caught:
        settle(error, LIVE, monkeypatch)
    assert caught.value is error
    assert "goes on" not in str(getattr(error, "hint", ""))
