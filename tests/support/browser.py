"""A headless Chromium: what a file does in a browser."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

#: Nothing of the browser's own leaves the machine, nor anything that a page asks for.
_OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND"),
    "--enable-logging=stderr",
)
_CONSOLE = re.compile(r":CONSOLE:\d+\] (.*)")
_INSTALL = ("apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium")


@dataclass(frozen=True)
class Opened:
    """A file that was opened: its document, its console, and the addresses that it asked for."""

    document: str
    console: list[str]
    requests: list[str]


def install() -> None:
    """Install Debian's Chromium, if it is missing and this may be done."""
    if shutil.which("chromium") or os.getuid() or not shutil.which("apt-get"):
        return
    subprocess.run(["apt-get", "update", "-qq"], check=False)
    subprocess.run(_INSTALL, check=True, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})


def open_file(file: Path, *options: str) -> Opened:
    """Open a file, and wait until it is loaded."""
    with tempfile.TemporaryDirectory(prefix="koco-browser-") as folder:
        log = Path(folder, "net.json")
        more = (f"--user-data-dir={folder}", f"--log-net-log={log}", *options)
        done = subprocess.run(
            ["chromium", *_OPTIONS, *more, "--dump-dom", file.absolute().as_uri()],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        events = json.loads(log.read_text())["events"]
    asked = [event.get("params", {}) for event in events]
    # What Chromium asks for by itself has no page for an initiator.
    ours = [each["url"] for each in asked if each.get("initiator", "not an origin")[:3] != "not"]
    return Opened(done.stdout, _CONSOLE.findall(done.stderr), ours)
