"""Whether the modules of a manifest's entrypoints are among the files that are shipped.

By their names only: nothing is imported, for what they import may be installed
on the cluster alone.
"""

import sys
from collections.abc import Collection
from pathlib import PurePosixPath

from koco.manifest.model import Manifest
from koco.manifest.problems import Problem

#: What a module's file may end in.
_ENDINGS = (".py", ".so", ".pyd")


def find_missing(manifest: Manifest, names: Collection[str]) -> list[Problem]:
    """Return a problem for each entrypoint whose module is not in `names`, the files shipped.

    With dependencies, a module of which nothing is shipped may come from one of them.
    """
    shipped = _modules(names)
    tops = {name.partition(".")[0] for name in shipped}
    problems = []
    for index, flow in enumerate(manifest.flows):
        module, colon, _ = flow.entrypoint.partition(":")
        if colon:
            is_there = module in shipped
        else:
            is_there = any(name in shipped for name in _prefixes(module))
        top = module.partition(".")[0]
        runtime = manifest.runtime
        installs = runtime.dependencies or runtime.requirements or runtime.pyproject
        is_elsewhere = top in sys.stdlib_module_names or bool(installs)
        if not is_there and (top in tops or not is_elsewhere):
            problems.append(_problem(index, module if colon else _prefixes(module)[-1], names))
    return problems


def _modules(names: Collection[str]) -> set[str]:
    """Return the modules and packages that the files make; folders are namespace packages."""
    found = set()
    for name in names:
        path = PurePosixPath(name)
        if path.suffix not in _ENDINGS:
            continue
        parts = (*path.parts[:-1], path.name.partition(".")[0])
        if parts[-1] == "__init__":
            parts = parts[:-1]
        found |= {".".join(parts[:end]) for end in range(1, len(parts) + 1)}
    return found


def _prefixes(dotted: str) -> list[str]:
    """Return what could be the module of `module.object`, shortest first."""
    parts = dotted.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts))]


def _problem(index: int, module: str, names: Collection[str]) -> Problem:
    path = module.replace(".", "/")
    near = _nearest(f"{path}.py", [name for name in names if name.endswith(".py")])
    return Problem(
        ("flows", index, "entrypoint"),
        f"there is no {path}.py among the files to ship",
        near or "ignore rules and runtime.files decide which those are",
    )


def _nearest(path: str, names: list[str]) -> str | None:
    import difflib

    inner = next((name for name in names if name.endswith(f"/{path}")), None)
    if inner:
        folder = inner.removesuffix(f"/{path}")
        return f"{inner} is: modules are imported from the manifest's folder, not from {folder}/"
    close = difflib.get_close_matches(path, names, n=1, cutoff=0.5)
    return f"nearest is {close[0]}" if close else None
