"""The function that `./file.py:function` or `module:function` names."""

import ast
import keyword
import sys
from dataclasses import dataclass
from pathlib import Path

from koco.errors import NotFoundError, UsageError
from koco.spelling import nearest

#: How many functions a hint names.
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Source:
    """A function in a file: the folder that its imports start from, and `module:function`."""

    root: Path
    file: Path
    entrypoint: str

    @property
    def function(self) -> str:
        """The function's name."""
        return self.entrypoint.partition(":")[2]


def is_named(flow: str) -> bool:
    """Return whether the argument of `koco run` names a function and not a deployed flow."""
    return ":" in flow or flow.endswith(".py")


def find(named: str) -> Source:
    """Return the source that is named, after checking that the file and the function exist.

    Raises:
        NotFoundError: there is no such file or function; the hint names a similar one.
        UsageError: no function is named, or the file cannot be imported by its name.
    """
    path, colon, function = named.rpartition(":") if ":" in named else (named, "", "")
    file = _file(path)
    if not colon or not function:
        known = _functions(file)
        hint = f"such as {path}:{known[0]}" if known else "define one, and write it after a `:`"
        more = f" (it has: {', '.join(known[:_NAMED])})" if len(known) > 1 else ""
        raise UsageError(f"{named!r} names no function", hint=hint + more)
    _require_function(file, path, function)
    root = file.parent
    while (root / "__init__.py").is_file() and root.parent != root:
        root = root.parent
    parts = [*file.parent.relative_to(root).parts, file.stem]
    if file.name == "__init__.py":
        parts.pop()
    _require_importable(file, parts)
    if not _looks_like_path(path):  # as Python would find it from this folder
        root, parts = Path.cwd(), path.split(".")
    return Source(root, file, f"{'.'.join(parts)}:{function}")


def make_importable(source: Source) -> None:
    """Let this process import a source, its own folder first and then the current one."""
    for folder in (str(Path.cwd()), str(source.root)):
        if folder in sys.path:
            sys.path.remove(folder)
        sys.path.insert(0, folder)


def _looks_like_path(path: str) -> bool:
    return path.endswith(".py") or "/" in path


def _file(path: str) -> Path:
    """Return the file of a path, or of a module below the current folder."""
    if _looks_like_path(path):
        file = Path(path).expanduser()
        if file.is_file():
            return file.resolve()
        if file.is_dir():
            raise UsageError(f"{path} is a folder", hint=f"name a file: {path.rstrip('/')}/app.py")
    else:
        if not all(map(str.isidentifier, path.split("."))):
            hint = "name a file of yours: ./hello.py:greet"
            raise NotFoundError(f"{path!r} is not the name of a module", hint=hint)
        base = Path.cwd() / path.replace(".", "/")
        for file in (base.with_name(f"{base.name}.py"), base / "__init__.py"):
            if file.is_file():
                return file.resolve()
        file = base.with_name(f"{base.name}.py")
    raise _no_file(path, file)


def _no_file(path: str, file: Path) -> NotFoundError:
    """Return the error for a missing file, with the most similar one beside it."""
    known = {each.name: each for each in file.parent.glob("*.py")} if file.parent.is_dir() else {}
    near = nearest(file.name, known)
    if _looks_like_path(path):
        meant = str(Path(path).with_name(near)) if near else ""
        meant = f"./{meant}" if near and path.startswith("./") else meant
        return NotFoundError(
            f"there is no file {path}",
            hint=f"did you mean {meant}?" if near else "name a file of yours: ./hello.py:greet",
        )
    meant = ".".join([*path.split(".")[:-1], near.removesuffix(".py")]) if near else ""
    return NotFoundError(
        f"there is no module {path!r} in this folder",
        hint=f"did you mean {meant!r}?" if near else "name a file: ./hello.py:greet",
    )


def _require_function(file: Path, path: str, function: str) -> None:
    """Raise `NotFoundError` if a file defines nothing of that name, as far as its text shows.

    A file that cannot be parsed is left to the import, which shows where it is wrong.
    """
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return
    first = function.partition(".")[0]
    names = _names(tree)
    if first in names or "*" in names or "__getattr__" in names:
        return
    near = nearest(first, names)
    known = _functions(file)[:_NAMED]
    hint = f"did you mean {path}:{near}?" if near else f"it has: {', '.join(known)}"
    raise NotFoundError(
        f"there is no {function!r} in {path}", hint=hint if near or known else "define it there"
    )


def _names(tree: ast.Module) -> set[str]:
    """Return every name that a module's text binds, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                found.add(name)
            case ast.ClassDef(name=name) | ast.Name(id=name, ctx=ast.Store()):
                found.add(name)
            case ast.alias(name=name, asname=other):
                found.add(other or name.partition(".")[0])
    return found


def _functions(file: Path) -> list[str]:
    """Return a file's public functions, in order."""
    try:
        body = ast.parse(file.read_bytes()).body
    except (SyntaxError, ValueError):
        return []
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [n.name for n in body if isinstance(n, kinds) and not n.name.startswith("_")]


def _require_importable(file: Path, parts: list[str]) -> None:
    for part in parts:
        if not part.isidentifier() or keyword.iskeyword(part):
            raise UsageError(
                f"{file.name}: {part!r} is not a name that Python can import",
                hint="rename the file, with letters, digits and '_'",
            )
    if parts and parts[0] in sys.stdlib_module_names:
        raise UsageError(
            f"{file.name} has the name of Python's own module {parts[0]!r}",
            hint="rename the file",
        )
