"""The origin of a deploy: the project, and the git commit if there is one."""

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from koco.project.project import Target

#: Timeout of git (seconds), because a deploy should not wait longer just to know its origin.
_GIT_S = 5.0


def origin(target: "Target") -> dict[str, Any]:
    """Return `{hidden_env, project, commit, dirty}`, as far as they are known.

    It is `dirty` if files in the service's folder differ from the commit or are not in it.
    """
    # A person's own copy is not the project's, or a deploy with `--prune` would remove it.
    is_own = bool(target.owner)
    project = {"project": target.project.name} if target.project and not is_own else {}
    return {"hidden_env": sorted(target.hidden_env)} | project | _commit(target.root)


def _commit(folder: Path) -> dict[str, Any]:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), "status", "--porcelain=v2", "--branch", "--", "."],
            # Without this, git would take a lock that a concurrent commit needs.
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_GIT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return {}  # no git, no repository, or one that git refuses to read
    lines = done.stdout.decode(errors="replace").splitlines()
    heads = [line.split()[-1] for line in lines if line.startswith("# branch.oid ")]
    if not heads or heads[0] == "(initial)":
        return {}
    dirty = any(not line.startswith("#") for line in lines)
    return {"commit": heads[0], "dirty": dirty}
