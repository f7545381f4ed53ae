"""`import kodosumi` finds koco's modules, each the same object under both names."""

import subprocess
import sys
from pathlib import Path

INSTALL = "from koco.sdk import import_alias; import_alias.install(); import_alias.install()\n"


def run(code: str, *, cwd: Path | None = None) -> str:
    """Run code in a process of its own, because imports last."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_modules_are_the_same_objects() -> None:
    """So classes and pickles agree; and each keeps its own spec, which reloading needs."""
    code = """
import pickle
from kodosumi import response
import kodosumi, kodosumi.runner.tracer, kodosumi.service.inputs.errors
from kodosumi.core import Tracer, InputsError
from kodosumi.dtypes import Markdown
import koco.kodosumi.response, koco.kodosumi.dtypes, koco.kodosumi.tracer
assert response is koco.kodosumi.response is kodosumi.response
assert Tracer is koco.kodosumi.tracer.Tracer is kodosumi.runner.tracer.Tracer
assert kodosumi.service.inputs.errors.InputsError is InputsError
assert isinstance(response.Markdown("a"), Markdown)
assert pickle.loads(pickle.dumps(Markdown)) is koco.kodosumi.dtypes.Markdown
assert response.__spec__.name == response.__name__ == "koco.kodosumi.response"
assert kodosumi.__version__ == koco.kodosumi.__version__
"""
    run(INSTALL + code)


def test_a_package_imports_what_is_reached_through_it() -> None:
    """As a function needs that was pickled in another process, with the package alone."""
    code = """
import kodosumi
import koco.kodosumi.dtypes
assert kodosumi.dtypes is koco.kodosumi.dtypes
assert kodosumi.service.inputs.errors is koco.kodosumi.error
assert not hasattr(kodosumi, "cli")
"""
    run(INSTALL + code)


def test_every_module_of_the_table_exists() -> None:
    """Each name of Kodosumi's leads to a module of koco."""
    code = """
import importlib
for name in sorted(import_alias._MODULES):
    assert importlib.import_module(name).__name__ == import_alias._MODULES[name]
"""
    run(INSTALL + code)


def test_names_the_modules_that_koco_lacks() -> None:
    """And they are still a `ModuleNotFoundError`, which code may expect."""
    code = """
try:
    import kodosumi.service.app
except ModuleNotFoundError as exc:
    print(exc.name, exc)
"""
    said = run(INSTALL + code)
    assert said.startswith("kodosumi.service.app koco has no 'kodosumi.service.app'")


def test_the_real_package_wins(tmp_path: Path) -> None:
    """Wherever it is installed, and with the modules that it has."""
    package = tmp_path / "kodosumi"
    package.mkdir()
    (package / "__init__.py").write_text("__version__ = 'real'\n")
    code = """
import kodosumi
print(kodosumi.__version__)
try:
    import kodosumi.core
except ModuleNotFoundError as exc:
    print(exc.name)
"""
    assert run(INSTALL + code, cwd=tmp_path).split() == ["real", "kodosumi.core"]


def test_a_folder_without_a_module_hides_nothing(tmp_path: Path) -> None:
    """Such as a clone of Kodosumi's repository in the project, imported before or not."""
    (tmp_path / "kodosumi" / "docs").mkdir(parents=True)
    use = "from kodosumi.core import Tracer; import kodosumi; print(kodosumi.is_koco)\n"
    assert run(INSTALL + use, cwd=tmp_path) == "True"
    assert run("import kodosumi.docs\n" + INSTALL + use, cwd=tmp_path) == "True"


def test_the_real_package_wins_over_a_folder_before_it(tmp_path: Path) -> None:
    """As Python has it, and also if it was imported before."""
    (tmp_path / "kodosumi").mkdir()
    real = tmp_path / "installed" / "kodosumi"
    real.mkdir(parents=True)
    (real / "__init__.py").write_text("__version__ = 'real'\n")
    (real / "core.py").write_text("Tracer = 'real'\n")
    add = f"import sys; sys.path.append({str(real.parent)!r})\n"
    use = "import kodosumi.core; print(kodosumi.__version__, kodosumi.core.Tracer)\n"
    assert run(add + INSTALL + use, cwd=tmp_path) == "real real"
    assert run(f"{add}import kodosumi\n{INSTALL}{use}", cwd=tmp_path) == "real real"


def test_the_tracer_loads_no_web_framework() -> None:
    """A Ray task imports `kodosumi.core` for the tracer alone."""
    code = """
import sys
from kodosumi.core import Tracer
print([name for name in ("fastapi", "pydantic", "ray") if name in sys.modules])
"""
    assert run(INSTALL + code) == "[]"
