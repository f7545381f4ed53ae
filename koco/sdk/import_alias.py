"""Let `import kodosumi…` find `koco.kodosumi` in this process, so that no file must change.

The real package wins if it is installed. A mere folder of this name is none: in Python, too, a
folder without `__init__.py` hides no installed package. A module is the same object under both
names, so classes and pickles agree. Packages that only lead to others, such as
`kodosumi.runner`, are made empty.
"""

import functools
import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_NAME = "kodosumi"
_HOME = "koco.kodosumi"

#: The packages on the way to the modules below.
_PACKAGES = frozenset(
    {
        _NAME,
        *(f"{_NAME}.runner", f"{_NAME}.service", f"{_NAME}.service.inputs"),
    }
)

#: The module of `koco.kodosumi` for each module that services import.
_MODULES = {
    **{
        f"{_NAME}.{name}": f"{_HOME}.{name}"
        for name in (
            "config",
            "const",
            "core",
            "dtypes",
            "error",
            "helper",
            "log",
            "response",
            "serve",
        )
    },
    f"{_NAME}.runner.files": f"{_HOME}.files",
    f"{_NAME}.runner.main": f"{_HOME}.launch",
    f"{_NAME}.runner.tracer": f"{_HOME}.tracer",
    f"{_NAME}.service.inputs.errors": f"{_HOME}.error",
    f"{_NAME}.service.inputs.forms": f"{_HOME}.forms",
    f"{_NAME}.service.proxy": f"{_HOME}.const",
}


def install() -> None:
    """Let this process find the names. A second call changes nothing."""
    if not any(isinstance(each, _Finder) for each in sys.meta_path):
        # First, because the finder of files takes a folder for a package.
        sys.meta_path.insert(0, _Finder())
        _forget_folder()


def _forget_folder() -> None:
    """Forget a folder that was imported under the name before."""
    found = sys.modules.get(_NAME)
    if found is not None and not hasattr(found, "is_koco") and _is_folder(found.__spec__):
        names = [each for each in sys.modules if each.partition(".")[0] == _NAME]
        for name in names:
            del sys.modules[name]


def _is_folder(spec: ModuleSpec | None) -> bool:
    """Whether a module is a folder without `__init__.py`."""
    return spec is not None and spec.origin is None and bool(spec.submodule_search_locations)


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _NAME and not fullname.startswith(f"{_NAME}."):
            return None
        if fullname == _NAME:
            if _is_installed(self, path, target):
                return None
        elif not getattr(sys.modules.get(_NAME), "is_koco", False):
            return None  # the real package is installed; it may lack this module
        if fullname in _PACKAGES:
            return ModuleSpec(fullname, _PackageLoader(), is_package=True)
        if fullname in _MODULES:
            return ModuleSpec(fullname, _ModuleLoader(_MODULES[fullname]))
        raise ModuleNotFoundError(
            f"koco has no {fullname!r}: it brings the modules of Kodosumi that services use, "
            f"not its servers. If the service needs it, install Kodosumi's package with it",
            name=fullname,
        )


def _is_installed(
    own: MetaPathFinder, path: Sequence[str] | None, target: ModuleType | None
) -> bool:
    """Whether another finder finds the real package: not a folder alone."""
    others = (each for each in sys.meta_path if each is not own and hasattr(each, "find_spec"))
    found = next(filter(None, (each.find_spec(_NAME, path, target) for each in others)), None)
    return found is not None and not _is_folder(found)


class _PackageLoader(Loader):
    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        # An empty path: Python looks for modules of the package nowhere, and then asks us.
        module.__path__ = []
        # A function that Ray sends to another process takes its modules along under koco's names.
        # So the package itself imports a module that code reaches through it.
        module.__dict__["__getattr__"] = functools.partial(_import_attribute, module.__name__)
        if module.__name__ == _NAME:
            home = importlib.import_module(_HOME)
            module.__dict__.update(is_koco=True, __version__=home.__version__, __doc__=home.__doc__)


def _import_attribute(package: str, name: str) -> ModuleType:
    full = f"{package}.{name}"
    if full not in _PACKAGES and full not in _MODULES:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    return importlib.import_module(full)


class _ModuleLoader(Loader):
    """Loads a module of koco under another name."""

    def __init__(self, home: str) -> None:
        self._home = home
        self._spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self._home)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # Python has given it our spec, though it is loaded already, under its own name.
        module.__spec__ = self._spec
