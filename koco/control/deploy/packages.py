"""The packages that nodes install for a release, as lines for pip or uv.

They come from the release's manifest and bundle. uv converts a lock to requirements once, here.
So nodes need only their registry, and the lock's author need not know which registry that is.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from koco.cluster.runners import EnvironmentFailed
from koco.manifest import requirements
from koco.manifest.package_check import TextOf, lock_path
from koco.sizes import format_size

if TYPE_CHECKING:
    from koco.manifest.model import Runtime

#: How long uv may take to convert a lock to requirements (seconds). Without a network, it usually
#: takes milliseconds.
_EXPORT_S = 60.0
#: The arguments of uv. It resolves nothing again and refuses a lock that does not match.
_EXPORT = (
    *("export", "--locked", "--offline", "--no-dev", "--no-emit-project", "--no-header"),
    *("--no-annotate", "--no-python-downloads", "--no-progress", "--no-build"),
)
#: The largest lock or requirements file that is read (bytes).
_TEXT_BYTES = 16 * 1024 * 1024
_LOCK_AGAIN = "`uv lock` brings uv.lock up to date"


def to_install(bundle: Path, runtime: "Runtime") -> tuple[str, list[str]]:
    """Return the installer (`pip` or `uv`) and its lines. Blocks on the first call for a bundle.

    Raises:
        EnvironmentFailed: The bundle's lock or requirements cannot be used.
    """
    if runtime.pyproject:
        return "uv", list(_locked(bundle, runtime.pyproject))
    lines = list(runtime.dependencies)
    if runtime.requirements:
        lines += _required(bundle, runtime.requirements)
    return "pip", lines


# Cached because a bundle never changes, and every start of a runner needs its lines.
@lru_cache(maxsize=256)
def _required(bundle: Path, name: str) -> tuple[str, ...]:
    with zipfile.ZipFile(bundle) as archive:
        found = requirements.read(name, _texts(archive))
    if found.problems:
        raise EnvironmentFailed(found.problems[0], detail="\n".join(found.problems))
    return tuple(found.lines)


@lru_cache(maxsize=256)
def _locked(bundle: Path, pyproject: str) -> tuple[str, ...]:
    with zipfile.ZipFile(bundle) as archive, tempfile.TemporaryDirectory() as folder:
        text_of = _texts(archive)
        lock = text_of(lock_path(pyproject))
        if lock is None:
            raise EnvironmentFailed(
                f"there is no {lock_path(pyproject)} in the bundle",
                detail="",
                hint=f"`uv lock` creates it beside {pyproject}",
            )
        inside = [name for name in archive.namelist() if Path(name).name == "pyproject.toml"]
        # This includes those of a workspace's members.
        _require_small(archive, [*inside, lock_path(pyproject)])
        archive.extractall(folder, [*inside, lock_path(pyproject)])
        exported = _export(Path(folder, pyproject).parent, _registries(lock))
    found = requirements.read(pyproject, lambda _: exported)
    if found.problems:
        raise EnvironmentFailed(
            found.problems[0].partition(": ")[2],
            detail=exported,
            hint=f"{pyproject} may lock packages but no paths: the folder's code is shipped anyway",
        )
    return tuple(found.lines)


def _texts(archive: zipfile.ZipFile) -> TextOf:
    names = set(archive.namelist())

    def text_of(name: str) -> str | None:
        if name not in names:
            return None
        _require_small(archive, [name])
        return archive.read(name).decode("utf-8", "replace")

    return text_of


def _require_small(archive: zipfile.ZipFile, names: list[str]) -> None:
    """Refuse to read implausibly large files, because they are read into memory here."""
    if sum(archive.getinfo(name).file_size for name in names) > _TEXT_BYTES:
        raise EnvironmentFailed(
            f"{names[0]} in the bundle is larger than {format_size(_TEXT_BYTES)}",
            detail="",
            hint="the control plane reads it, and expects a list of packages",
        )


def _registries(lock: str) -> list[str]:
    """Return the registries of a lock. uv rejects a lock if its registries are not configured."""
    try:
        packages = tomllib.loads(lock).get("package", [])
        named = [each.get("source", {}).get("registry", "") for each in packages]
        return list(dict.fromkeys(each for each in named if "://" in each))
    except (ValueError, TypeError, AttributeError, RecursionError):
        return []  # uv reports the error better


def _export(folder: Path, registries: list[str]) -> str:
    # Ignore this node's own configuration of uv, because only the lock may decide.
    environ = {key: value for key, value in os.environ.items() if not key.startswith("UV_")}
    environ |= {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "UV_NO_CACHE": "1"}
    environ |= {"UV_INDEX": " ".join(registries), "UV_PYTHON": sys.executable, "NO_COLOR": "1"}
    environ.pop("VIRTUAL_ENV", None)
    try:
        ran = subprocess.run(
            [*_uv(), *_EXPORT],
            cwd=folder,
            env=environ,
            capture_output=True,
            text=True,
            timeout=_EXPORT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise EnvironmentFailed(f"uv took over {_EXPORT_S:g} s for the lock", detail="") from exc
    if ran.returncode == 0:
        return ran.stdout
    output = ran.stderr.replace(f"{folder}{os.sep}", "").strip()
    lines = [line for line in output.splitlines() if line.startswith("error: ")]
    cause = lines[0].removeprefix("error: ") if lines else output.splitlines()[-1:] or "no reason"
    if "network was disabled" in output:
        # uv looked for a package on the network. With a matching lock it never needs to.
        cause = "uv.lock lacks packages that pyproject.toml requires"
    raise EnvironmentFailed(
        f"the lock cannot be used: {cause}",
        detail=output,
        hint=_LOCK_AGAIN if "requires-python" not in output else None,
    )


def _uv() -> list[str]:
    """Return the command for uv on this node: next to this Python, or else on the PATH."""
    if found := shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv"):
        return [found]
    raise EnvironmentFailed(
        "`runtime.pyproject` needs uv, which is not on the control plane's node",
        detail="",
        hint="`pip install uv` in the environment that Ray runs in",
    )
