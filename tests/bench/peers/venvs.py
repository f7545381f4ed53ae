"""A virtual environment for each peer, from the package registry, made once."""

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

#: The requirements that a venv was made for: others make it anew.
_STAMP = "peers-requirements.txt"
#: How long the installation of one peer may take (seconds).
_LONGEST_S = 900


def default_folder() -> Path:
    """Return the folder for venvs that the user's desktop keeps for caches."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "koco-bench-peers"


def python_of(folder: Path, name: str, requirements: tuple[str, ...]) -> Path:
    """Return the Python of a venv that has these requirements; it is made if it is missing.

    Raises:
        RuntimeError: they cannot be installed; it holds what pip said.
    """
    if not requirements:
        return Path(sys.executable)  # this checkout's own
    place = (folder / name).absolute()
    python, stamp, wanted = place / "bin" / "python", place / _STAMP, "\n".join(requirements)
    if stamp.exists() and stamp.read_text() == wanted and python.exists():
        return python
    print(f"making a venv with {', '.join(requirements)} …", file=sys.stderr, flush=True)
    venv.create(place, with_pip=True, clear=True, symlinks=True)
    command = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *requirements]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_LONGEST_S, check=False)
    if done.returncode:
        raise RuntimeError(f"pip could not install {wanted!r}: {done.stderr[-1000:]}")
    stamp.write_text(wanted)
    return python


def versions(python: Path, packages: tuple[str, ...]) -> dict[str, str]:
    """Return the versions of packages in a venv."""
    program = (
        "import json, sys, importlib.metadata as m;"
        "print(json.dumps({name: m.version(name) for name in sys.argv[1:]}))"
    )
    done = subprocess.run(
        [python, "-c", program, *packages], capture_output=True, text=True, check=True
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found
