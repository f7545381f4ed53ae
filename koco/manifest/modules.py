"""Whether the modules of a manifest's entrypoints are among the files that are shipped.

By their names only: nothing is imported, for what they import may be installed
on the cluster alone. And whether a file takes the name of a module that Ray needs.
"""

import re
import sys
from collections.abc import Callable, Collection, Iterator
from pathlib import PurePosixPath

from koco.manifest.model import Manifest
from koco.manifest.problems import KeyPath, Problem

#: What a module's file may end in.
_ENDINGS = (".py", ".so", ".pyd")

#: Importable on every node, whatever a service brings.
_THERE = frozenset({"koco", "ray", "fastapi", "starlette", "pydantic"})

#: Python runs these at its start if they are there.
_AT_START = frozenset({"sitecustomize", "usercustomize"})

#: Modules of the standard library that neither Ray nor koco imports, nor what they import: toys,
#: and what Python 3.13 has no more. A file of the same name hurts nobody.
HARMLESS = frozenset(
    {
        *("aifc", "antigravity", "audioop", "cgi", "chunk", "crypt", "idlelib", "imghdr"),
        *("lib2to3", "mailcap", "msilib", "nis", "nntplib", "ossaudiodev", "sndhdr", "spwd"),
        *("sunau", "telnetlib", "this", "turtle", "turtledemo", "uu", "wave", "xdrlib"),
    }
)

#: Says where a module is that is not shipped, by its path without an ending; None is nowhere.
Elsewhere = Callable[[str], str | None]


def find_missing(
    manifest: Manifest, names: Collection[str], elsewhere: Elsewhere = lambda path: None
) -> list[Problem]:
    """Return a problem for each entrypoint whose module is not in `names`, the files shipped.

    With dependencies, a module of which nothing is shipped may come from one of them.
    """
    return [
        _problem(where, module, names, elsewhere)
        for where, module in _unshipped(manifest, names)
        if not _may_be_installed(manifest, module, names)
    ]


def find_foreign(manifest: Manifest, names: Collection[str]) -> list[Problem]:
    """Return a note on each entrypoint whose module can only come from a dependency."""
    return [
        Problem(
            where,
            f"module {module!r} is not among the files to ship; a dependency must bring it",
            "if it is yours, `root` says in which folder it is",
        )
        for where, module in _unshipped(manifest, names)
        if _may_be_installed(manifest, module, names) and not _is_there(module)
    ]


def find_shadows(names: Collection[str]) -> list[Problem]:
    """Return a problem for each file in `names` that hides a module which Ray or koco imports.

    The bundle comes first in `sys.path`. A folder without an `__init__.py` hides nothing.
    """
    return [_shadow(name, module) for name, module in sorted(_tops(names)) if _is_needed(module)]


def _is_needed(module: str) -> bool:
    is_library = module in sys.stdlib_module_names and module not in HARMLESS
    return is_library or module in _AT_START or module in ("ray", "koco")


def _tops(names: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield each file that makes a module or package at the top, with its name."""
    for name in names:
        path = PurePosixPath(name)
        if path.suffix not in _ENDINGS:
            continue
        stem = path.name.partition(".")[0]
        if len(path.parts) == 1:
            yield name, stem
        elif len(path.parts) == 2 and stem == "__init__":
            yield name, path.parts[0]


def _shadow(name: str, module: str) -> Problem:
    is_folder = "/" in name
    shown = f"{module}/" if is_folder else name
    if module in _AT_START:
        message = f"{shown}: Python would run it at the start of every process, Ray's too"
    elif module in ("ray", "koco"):
        message = f"{shown} would be imported in place of {module} itself"
    else:
        message = f"{shown} would be imported in place of Python's own {module!r}, by Ray too"
    hint = "rename the folder" if is_folder else "rename it, or move it into a package of yours"
    return Problem((), message, hint)


def _unshipped(manifest: Manifest, names: Collection[str]) -> Iterator[tuple[KeyPath, str]]:
    """Yield each entrypoint whose module is not shipped: where it stands, and the module."""
    named: list[tuple[KeyPath, str]] = [
        (("flows", index, "entrypoint"), flow.entrypoint)
        for index, flow in enumerate(manifest.flows)
    ]
    if manifest.app is not None:
        named.append((("app",), manifest.app))
    shipped = _modules(names)
    for where, entrypoint in named:
        module, colon, _ = entrypoint.partition(":")
        candidates = [module] if colon else _prefixes(module)
        if not any(name in shipped for name in candidates):
            yield where, candidates[-1]


def _may_be_installed(manifest: Manifest, module: str, names: Collection[str]) -> bool:
    runtime = manifest.runtime
    installs = runtime.dependencies or runtime.requirements or runtime.pyproject
    if _top(module) in {_top(name) for name in _modules(names)}:
        return False  # its package is the service's own
    return _is_there(module) or bool(installs)


def _is_there(module: str) -> bool:
    return _top(module) in sys.stdlib_module_names or _top(module) in _THERE


def _top(module: str) -> str:
    return module.partition(".")[0]


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


def _problem(where: KeyPath, module: str, names: Collection[str], elsewhere: Elsewhere) -> Problem:
    path = module.replace(".", "/")
    message = f"there is no {path}.py among the files to ship"
    if not names:
        message = f"no file is shipped, and so no {path}.py"
    near = _inner(f"{path}.py", names) or _inner(f"{path}/__init__.py", names)
    near = near or elsewhere(path) or _nearest(f"{path}.py", names)
    return Problem(where, message, near or "if it is in another folder, `root` names that")


def _inner(path: str, names: Collection[str]) -> str | None:
    inner = next((name for name in sorted(names) if name.endswith(f"/{path}")), None)
    if inner is None:
        return None
    folder = inner.removesuffix(f"/{path}")
    return (
        f"{inner} is: modules are imported from the folder that is shipped, not from {folder}/;"
        f" `root: {folder}` ships that"
    )


def _nearest(path: str, names: Collection[str]) -> str | None:
    import difflib

    files = [name for name in names if re.search(r"\.py$", name)]
    close = difflib.get_close_matches(path, files, n=1, cutoff=0.5)
    return f"nearest is {close[0]}" if close else None
