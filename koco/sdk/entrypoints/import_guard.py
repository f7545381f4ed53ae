"""Refuse calls that start a server while an author's module is imported.

`serve.run` at the top of a module would deploy a second application, whose replica imports the
module again, and so on without an end; `uvicorn.run` would never return. Below
`if __name__ == "__main__":` both stay as they are, because koco imports modules under their names.
"""

import functools
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from koco.errors import DeployError

#: The functions that are refused, by the modules that offer them.
_REFUSED = {
    "ray.serve": ("run", "run_many"),
    "uvicorn": ("run",),
}

#: The name of the module that a thread imports, or nothing.
_importing = threading.local()


@contextmanager
def importing(module: str) -> Iterator[None]:
    """Refuse the calls in this thread while it imports a module.

    Raises:
        DeployError: the module calls one of them; the message has the file and the line.
    """
    outer = getattr(_importing, "module", None)
    _importing.module = module
    for name in _REFUSED:
        if name in sys.modules:
            _guard(sys.modules[name])
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        _importing.module = outer


def _guard(module: ModuleType) -> None:
    for name in _REFUSED[module.__name__]:
        function = getattr(module, name, None)
        if callable(function) and not hasattr(function, "_koco_guarded"):
            setattr(module, name, _refusing(function, f"{module.__name__}.{name}"))


def _refusing(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        if (module := getattr(_importing, "module", None)) is None:
            return function(*args, **kwargs)
        frame = sys._getframe(1)
        raise DeployError(
            f"{frame.f_code.co_filename}:{frame.f_lineno}: {name} is called while koco imports "
            f"{module!r}",
            hint='put the call below `if __name__ == "__main__":`; koco runs the app itself',
        )

    guarded._koco_guarded = True  # type: ignore[attr-defined]
    return guarded


class _Finder(MetaPathFinder):
    """Guards the modules above as soon as they are imported, and loads none of them by itself."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in _REFUSED or getattr(_importing, "module", None) is None:
            return None
        others = [each for each in sys.meta_path if not isinstance(each, _Finder)]
        for finder in others:
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader)
                return spec
        return None


class _Loader(Loader):
    """Another module's loader, which guards the module at the end."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        _guard(module)
