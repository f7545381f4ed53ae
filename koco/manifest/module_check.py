"""Checks that the shipped files include the modules of a manifest's entrypoints.

They only compare names and import nothing, because the modules' own imports may
only be installed on the cluster. Another check finds files that hide a module that
Ray needs.
"""

import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from koco.manifest.problems import KeyPath, Problem
from koco.spelling import nearest

if TYPE_CHECKING:
    from koco.manifest.model import Manifest

#: The endings of a module's file.
_ENDINGS = (".py", ".so", ".pyd")

#: Packages that are installed on every node.
_INSTALLED = frozenset({"koco", "ray", "fastapi", "starlette", "pydantic"})

#: Python imports these at its start if they exist.
_AT_START = frozenset({"sitecustomize", "usercustomize"})

#: Modules of the standard library that neither Ray, koco nor their dependencies import: toys, and
#: modules that Python 3.13 has removed. A file with such a name does no harm.
HARMLESS = frozenset(
    {
        *("aifc", "antigravity", "audioop", "cgi", "chunk", "crypt", "idlelib", "imghdr"),
        *("lib2to3", "mailcap", "msilib", "nis", "nntplib", "ossaudiodev", "sndhdr", "spwd"),
        *("sunau", "telnetlib", "this", "turtle", "turtledemo", "uu", "wave", "xdrlib"),
    }
)

#: Returns a hint about a module outside the shipped files, by its path without an ending, or None.
Locate = Callable[[str], str | None]


def find_missing(
    manifest: "Manifest", names: Collection[str], locate: Locate = lambda path: None
) -> list[Problem]:
    """Return a problem for each entrypoint whose module is not in `names`, the shipped files.

    If the manifest has dependencies, a module may come from one of them, unless a part of its
    package is shipped.
    """
    return [
        _problem(where, module, names, locate)
        for where, module in _find_unshipped(manifest, names)
        if not _may_be_installed(manifest, module, names)
    ]


def find_foreign(manifest: "Manifest", names: Collection[str]) -> list[Problem]:
    """Return a note for each entrypoint whose module can only come from a dependency."""
    return [
        Problem(
            where,
            f"module {module!r} is not among the files to ship; a dependency must bring it",
            "if it is yours, set `root` to its folder",
        )
        for where, module in _find_unshipped(manifest, names)
        if _may_be_installed(manifest, module, names) and not _is_preinstalled(module)
    ]


def find_shadows(names: Collection[str]) -> list[Problem]:
    """Return a problem for each file in `names` that hides a module that Ray or koco imports.

    A file hides a module because the bundle comes first in `sys.path`. A folder without an
    `__init__.py` hides nothing.
    """
    needed = (sys.stdlib_module_names - HARMLESS) | _AT_START | {"ray", "koco"}
    tops = sorted(_top_level_modules(names))
    return [_shadow(name, module) for name, module in tops if module in needed]


def _top_level_modules(names: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield each file of a top-level module or package, with the module's name."""
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


def _find_unshipped(manifest: "Manifest", names: Collection[str]) -> Iterator[tuple[KeyPath, str]]:
    """Yield the path and module of each entrypoint whose module is not shipped."""
    named: list[tuple[KeyPath, str]] = [
        (("flows", index, "entrypoint"), flow.entrypoint)
        for index, flow in enumerate(manifest.flows)
    ]
    if manifest.app is not None:
        named.append((("app",), manifest.app))
    shipped = _modules(names)
    for where, entrypoint in named:
        module, colon, _ = entrypoint.partition(":")
        # `module.object` may mean any of its prefixes, shortest first.
        candidates = [module] if colon else _prefixes(module.split("."))[:-1]
        if not any(name in shipped for name in candidates):
            yield where, candidates[-1]


def _may_be_installed(manifest: "Manifest", module: str, names: Collection[str]) -> bool:
    if _top(module) in {_top(name) for name in _modules(names)}:
        return False  # its package is the service's own
    is_alias = manifest.runtime.kodosumi and _top(module) == "kodosumi"  # of koco.kodosumi
    return is_alias or _is_preinstalled(module) or manifest.runtime.installs


def _is_preinstalled(module: str) -> bool:
    return _top(module) in sys.stdlib_module_names or _top(module) in _INSTALLED


def _top(module: str) -> str:
    return module.partition(".")[0]


def _modules(names: Collection[str]) -> set[str]:
    """Return the modules and packages of these files. Folders count as namespace packages."""
    found = set()
    for name in names:
        path = PurePosixPath(name)
        if path.suffix not in _ENDINGS:
            continue
        parts = (*path.parts[:-1], path.name.partition(".")[0])
        if parts[-1] == "__init__":
            parts = parts[:-1]
        found |= {*_prefixes(parts)}
    return found


def _prefixes(parts: Sequence[str]) -> list[str]:
    return [".".join(parts[:end]) for end in range(1, len(parts) + 1)]


def _problem(where: KeyPath, module: str, names: Collection[str], locate: Locate) -> Problem:
    path = module.replace(".", "/")
    message = f"there is no {path}.py among the files to ship"
    if not names:
        message = f"no file is shipped, so there is no {path}.py"
    near = _find_in_subfolder(f"{path}.py", names)
    near = near or _find_in_subfolder(f"{path}/__init__.py", names)
    near = near or locate(path)
    if not near:
        modules = [name for name in names if name.endswith(".py")]
        similar = nearest(f"{path}.py", modules, cutoff=0.5)
        near = f"nearest is {similar}" if similar else None
    return Problem(where, message, near or "if it is in another folder, set `root` to that")


def _find_in_subfolder(path: str, names: Collection[str]) -> str | None:
    inner = next((name for name in sorted(names) if name.endswith(f"/{path}")), None)
    if inner is None:
        return None
    folder = inner.removesuffix(f"/{path}")
    return (
        f"there is {inner}, but modules are imported from the shipped folder itself;"
        f" `root: {folder}` ships that folder"
    )
