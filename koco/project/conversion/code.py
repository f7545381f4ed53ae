"""Looks into the user's code, without importing it: the folder of a module, and its imports."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: The most modules that are read to find an import.
_MOST_MODULES = 500

#: The largest file that is read (bytes).
_MOST_BYTES = 1_000_000

#: How many levels of folders below the project may contain the module's root.
_DEEPEST = 2


@dataclass(frozen=True)
class ImportPath:
    """An import path of Serve's, `module:object` or `module.object`."""

    module: str
    name: str

    @classmethod
    def of(cls, text: str) -> "ImportPath":
        """Return the parts of an import path."""
        module, colon, name = text.partition(":")
        if not colon:
            module, _, name = text.rpartition(".")
        return cls(module, name)


def file_of(module: str, root: Path) -> Path | None:
    """Return the file of a module below a folder, or None."""
    path = root.joinpath(*module.split("."))
    for file in (path.with_name(f"{path.name}.py"), path / "__init__.py"):
        if file.is_file():
            return file
    return None


def find_root(module: str, folders: list[Path], project: Path) -> Path | None:
    """Return the folder from which a module can be imported: one of these, or one in the project.

    A namespace package counts as well, because its folder has the module's file.
    """
    for folder in (*folders, *_below(project, 0)):
        if module and file_of(module, folder):
            return folder
    return None


def _below(folder: Path, depth: int) -> Iterator[Path]:
    """Yield a folder and its subfolders, the nearest first."""
    level = [folder]
    for _ in range(_DEEPEST + 1):
        yield from level
        level = [inner for each in level for inner in folders_in(each)]


def folders_in(folder: Path) -> list[Path]:
    """Return the subfolders of a folder that may have the user's own files."""
    try:
        found = [each for each in folder.iterdir() if each.is_dir() and not each.is_symlink()]
    except OSError:
        return []  # no permission to read it
    hidden = (".", "__")
    return sorted(
        each
        for each in found
        if not each.name.startswith(hidden)
        and each.name != "node_modules"
        and not (each / "pyvenv.cfg").exists()
    )


def uses_kodosumi(module: str, root: Path) -> bool:
    """Return whether a module, or one of the user's modules that it imports, imports Kodosumi."""
    waiting = _prefixes(module)
    seen = set(waiting)
    while waiting and len(seen) <= _MOST_MODULES:
        name = waiting.pop()
        file = file_of(name, root)
        if file is None or (tree := _parse(file)) is None:
            continue
        package = name if file.name == "__init__.py" else name.rpartition(".")[0]
        for imported in _imports(tree, package):
            if imported.partition(".")[0] == "kodosumi":
                return True
            for part in _prefixes(imported):
                if part not in seen and file_of(part, root):
                    seen.add(part)
                    waiting.append(part)
    return False


def _prefixes(module: str) -> list[str]:
    """Return a module and the packages that are imported with it."""
    parts = [part for part in module.split(".") if part]
    return [".".join(parts[:end]) for end in range(1, len(parts) + 1)]


def _imports(tree: ast.Module, package: str) -> Iterator[str]:
    """Yield the names that a module imports, absolute, each also with the names taken from it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join(part for part in (*above, base) if part)
            yield from (f"{base}.{alias.name}" if base else alias.name for alias in node.names)


def _parse(file: Path) -> ast.Module | None:
    try:
        if file.stat().st_size > _MOST_BYTES:
            return None
        return ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return None  # Python reports it when the module is imported


def ingress_of(target: ImportPath, root: Path) -> str | None:
    """Return the name of the deployment that an object of a module is bound from, or None.

    Reads `app = Name.bind(…)` and `app = Name.options(…).bind(…)`, and the name that a decorator
    `@serve.deployment(name="…")` gives.
    """
    file = file_of(target.module, root)
    tree = _parse(file) if file else None
    if tree is None:
        return None
    for node in tree.body:
        if isinstance(node, ast.Assign) and _assigns(node, target.name):
            bound = _bound(node.value)
            return _deployed_name(tree, bound) if bound else None
    return None


def _assigns(node: ast.Assign, name: str) -> bool:
    return any(isinstance(each, ast.Name) and each.id == name for each in node.targets)


def _bound(value: ast.expr) -> str | None:
    """Return the name that begins a chain of calls such as `Name.options(…).bind(…)`."""
    while isinstance(value, ast.Call | ast.Attribute):
        value = value.func if isinstance(value, ast.Call) else value.value
    return value.id if isinstance(value, ast.Name) else None


def _deployed_name(tree: ast.Module, name: str) -> str:
    """Return the name of the deployment that a class or function of a module is."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            for decorator in node.decorator_list:
                for keyword in decorator.keywords if isinstance(decorator, ast.Call) else ():
                    if keyword.arg == "name" and isinstance(keyword.value, ast.Constant):
                        return str(keyword.value.value)
    return name
