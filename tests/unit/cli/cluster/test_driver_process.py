"""The process that uses Ray: what it is started with."""

import sys
from pathlib import Path
from typing import Any

import pytest

from koco.cli.cluster import driver_process

SECRETS = ("KOCO_ADMIN_KEY", "KOCO_KEY", "PGPASSWORD", "AWS_SECRET_ACCESS_KEY")
#: Answers with its environment.
DRIVER = f"#!{sys.executable}\nimport json, os\nprint(json.dumps(dict(os.environ)))\n"


@pytest.mark.parametrize("mark", ["mark", None])
@pytest.mark.parametrize(
    ("asked", "passed"),
    [
        ({}, {"PGPASSWORD", "AWS_SECRET_ACCESS_KEY"}),
        ({"store": "postgresql://db/koco", "blobs": "s3://bucket"}, set()),
        ({"store": "postgres://db/koco"}, {"AWS_SECRET_ACCESS_KEY"}),
    ],
)
def test_no_secret_of_the_control_plane_reaches_flows(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mark: str | None,
    asked: dict[str, Any],
    passed: set[str],
) -> None:
    """Ray's processes, and so flows, inherit the environment of whoever starts Ray."""
    driver = tmp_path / "python"
    driver.write_text(DRIVER)
    driver.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(driver))
    monkeypatch.setenv("KOCO_HOME", str(tmp_path / "home"))
    for name in SECRETS:
        monkeypatch.setenv(name, "sesame")
    order = {"action": "look", "address": "127.0.0.1:1", "asked": asked}
    environment = driver_process.carry_out(order, mark=mark)
    assert {name for name, value in environment.items() if value == "sesame"} == passed
