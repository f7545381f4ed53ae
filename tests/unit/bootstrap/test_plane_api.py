"""What the control plane's process imports."""

import subprocess
import sys

#: Modules that are imported when something first needs them, and what that is.
ON_FIRST_USE = {
    "koco.manifest.model": "a manifest",
    "pydantic": "a manifest",
    "cryptography": "a secret",
    "koco.runner.actor": "the start of a runner",
    "koco.sdk.entrypoints": "the start of a runner",
    "httpcore": "a process of its own, for downloads",
    "prometheus_client": "a scrape",
    "koco.project.file_tree": "the command line",
}
_SCRIPT = """
import sys
import koco.control.process
import uvicorn.protocols.http.httptools_impl
from koco.api import app
app._make_routes()
print(*sys.modules)
"""


def test_modules_that_an_idle_control_plane_does_not_need_are_not_imported() -> None:
    """They would take a fifth of its memory."""
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=True, timeout=120
    )
    loaded = set(done.stdout.split())
    assert "koco.api.routes.status" in loaded
    assert not ON_FIRST_USE.keys() & loaded
