"""Everything that the API's document allows, and some of what it does not, asked of a real one.

schemathesis runs the whole document, as each scope and as nobody, on a cluster of its own. What
it generates is the same each time. A longer look, before a release:

    KOCO_EXAMPLES=200 .venv/bin/pytest tests/integration/test_openapi.py
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.checkout import ROOT
from tests.support.driver import APP, Koco, eventually, koco_of_its_own

#: Examples of each operation: few, and the same each time, for CI; many for a long look.
EXAMPLES = int(os.environ.get("KOCO_EXAMPLES", "3"))

CODE = """
    import pathlib
    import tempfile

    from koco import Tracer


    def report(tracer: Tracer, topic: str = "Ada", pages: int = 1):
        tracer.markdown_sync("# " + topic)
        with tracer.fs_sync() as fs, tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "report.txt"
            path.write_text(topic * pages)
            fs.upload(path)
        return {"topic": topic}


    async def ask(tracer: Tracer):
        while True:
            await tracer.lock("approval", {"text": "may I?"})
"""

#: Who asks: a key of each scope, one for a flow, and nobody.
CALLERS: dict[str, dict[str, Any] | None] = {
    "read": {"scopes": ["read"], "all_executions": True},
    "launch": {"scopes": ["read", "launch"], "all_executions": True},
    "deploy": {"scopes": ["deploy"]},
    "limited": {"scopes": ["read", "launch"], "flows": ["pages/report"]},
    "admin": {"scopes": ["read", "launch", "deploy", "admin"], "all_executions": True},
    "nobody": None,
}


@pytest.fixture(scope="module")
def plane() -> Iterator[Koco]:
    with koco_of_its_own() as koco:
        yield koco.up("--set", "key_requests_per_s=0")


@pytest.fixture(scope="module")
def seeds(plane: Koco) -> dict[str, Any]:
    """Give it something of everything, and say what there is."""
    plane.deploy("pages", CODE)
    plane.deploy("own", APP, app="own_app:app")
    finished = plane.execute("pages/report", topic="Grace").fid
    awaiting = plane.launch("pages/ask")
    eventually(lambda: plane.get(f"/v1/executions/{awaiting}/locks")["items"])
    spare = plane.execute("own/hi").fid
    names = {
        "fid": [finished, awaiting, "latest", finished[:6]],
        "name": ["pages/report", "own/hi", "report"],
        "service": ["pages", "own"],
        "lock": ["approval"],
        "rest": ["out/report.txt", "out"],
        "path": ["", "openapi.json"],
        "number": [1],
    }
    return {"finished": finished, "awaiting": awaiting, "spare": spare, "names": names}


@pytest.fixture(scope="module")
def keys(plane: Koco) -> dict[str, str]:
    """Return the secret of each caller's key."""
    secrets = {}
    with plane.http() as client:
        client.post("/v1/keys", json={"name": "spare", "scopes": ["read"]})
        for name, facts in CALLERS.items():
            if facts is not None:
                answer = client.post("/v1/keys", json={"name": f"as-{name}", **facts})
                assert answer.status_code == 201, answer.text
                secrets[name] = answer.json()["secret"]
    return secrets


@pytest.mark.timeout(600 if EXAMPLES <= 3 else 3600)
def test_nothing_that_is_asked_is_answered_otherwise_than_documented(
    plane: Koco, seeds: dict[str, Any], keys: dict[str, str]
) -> None:
    """No 5xx but what is documented, no other status, media type, header or shape."""
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(lambda name: _run(plane, seeds, name, keys.get(name)), CALLERS))
    assert plane.get(f"/v1/executions/{seeds['awaiting']}")["status"] == "awaiting"
    for name, outcome in zip(CALLERS, outcomes, strict=True):
        assert outcome.returncode == 0, f"as {name}:\n{outcome.stdout[-20_000:]}{outcome.stderr}"


def _run(
    plane: Koco, seeds: dict[str, Any], name: str, key: str | None
) -> "subprocess.CompletedProcess[str]":
    # Nobody is told the same everywhere; who may do all gets furthest.
    phases = "examples,coverage,fuzzing,stateful" if name == "admin" else "examples,fuzzing"
    if EXAMPLES > 3:
        phases = "examples,coverage,fuzzing,stateful"
    return subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run"),
            f"{plane.context['url']}/openapi.json",
            *("--url", plane.context["url"]),
            *(["-H", f"Authorization: Bearer {key}"] if key else []),
            *("--phases", phases, "--max-examples", str(EXAMPLES), "--seed", "1"),
            *("--mode", "all", "--generation-deterministic"),
            *("--checks", "all", "--exclude-checks", "positive_data_acceptance"),
            *("--suppress-health-check", "all", "--continue-on-failure", "--no-color"),
        ],
        env={
            **plane.env,
            "KOCO_SEEDS": json.dumps(seeds),
            "SCHEMATHESIS_HOOKS": "tests.integration.openapi_hooks",
            "PYTHONPATH": str(ROOT),
        },
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )


def test_the_examples_on_the_page_work(plane: Koco, seeds: dict[str, Any]) -> None:
    """Those of docs/api.md, one after the other, in a shell that stops at what fails."""
    page = (ROOT / "docs/api.md").read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 4
    env = {**plane.env, "KOCO_URL": plane.context["url"], "KOCO_KEY": plane.context["key"]}
    for block in blocks:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
