"""The process in which `koco up` uses Ray."""

import subprocess
import sys


def test_imports_little() -> None:
    """`koco up` waits for it: the control plane's modules and Ray's commands take a second."""
    code = (
        "import sys; import koco.bootstrap.driver, koco.bootstrap.ray_start, koco.bootstrap.up\n"
        "print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=True
    )
    loaded = set(done.stdout.split())
    assert {"ray", "koco.control.actor"} <= loaded
    slow = {"koco.control.process", "litestar", "pydantic", "httpx", "ray.serve", "ray.scripts"}
    assert not slow & loaded
