"""`koco logs --control`, against the real API."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from koco.control import log_file
from tests.support.api_server import Api, serving
from tests.unit.conftest import Cli, Use

log = logging.getLogger("koco.test")


@pytest.fixture
def api(tmp_path: Path, use: Use) -> Iterator[Api]:
    handler = log_file.write_to(tmp_path / "data" / "control.log")
    with serving(tmp_path / "data") as api:
        api.admit("dora", "admin")
        use(api.url, "dora")
        yield api
    for name in ("koco", "uvicorn.error"):
        logging.getLogger(name).removeHandler(handler)
    handler.close()


def test_shows_the_log_of_the_control_plane(api: Api, cli: Cli) -> None:
    """A line for each entry, with its time in UTC in a pipe."""
    log.info("hello")
    log.warning("careful\nnow")
    lines = cli("logs", "--control").out.splitlines()
    assert [text.partition("Z ")[2] for text in lines if "koco.test" in text] == [
        "INFO    koco.test hello",
        "WARNING koco.test careful",
    ]
    assert "  now" in lines
    assert "hello" not in cli("logs", "--control", "--level", "warning").out
    assert cli("logs", "--control", "-n", "1").out.splitlines()[-1] == "  now"
    assert cli("logs", "--control", "--since", "2999-01-01T00:00:00Z").out == ""
    found = [json.loads(text) for text in cli("logs", "--control", "--json").out.splitlines()]
    assert {
        *("cursor", "ts", "level", "logger", "message", "request", "fid", "trace_id", "span_id")
    } == set(found[0])


def test_only_admins_see_it(api: Api, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """It concerns everyone's executions."""
    monkeypatch.setenv("KOCO_KEY", "ada")
    assert cli("logs", "--control").code == 6


@pytest.mark.parametrize(
    "args",
    [
        ("--control", "x"),
        ("--control", "--flow", "a"),
        ("--level", "info"),
        ("--control", "--level", "x"),
    ],
)
def test_refuses_what_does_not_go_together(api: Api, cli: Cli, args: tuple[str, ...]) -> None:
    """Fids and filters are about executions."""
    assert cli("logs", *args).code == 2
