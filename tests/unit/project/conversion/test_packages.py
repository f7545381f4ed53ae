"""Packages of pip, uv and Conda."""

from pathlib import Path

import pytest

from tests.unit.project.conversion.projects import APP, convert, manifest, notes

ENV = APP + "runtime_env:\n"


@pytest.mark.parametrize(
    "text",
    [
        "  pip: [six==1.16.0, 'requests>=2']",
        "  uv: [six==1.16.0, 'requests>=2']",
        "  pip: {packages: [six==1.16.0, 'requests>=2']}",
        "  uv: {packages: [six==1.16.0, 'requests>=2']}",
        "  conda: {dependencies: [pip, {pip: [six==1.16.0, 'requests>=2']}]}",
        "  pip: [six==1.16.0]\n  uv: ['requests>=2', six==1.16.0]",
        "  pip: [' six==1.16.0 ', 'requests>=2', kodosumi, 'kodosumi==1.1.1']",
        "  pip: ['-r more.txt', 'requests>=2']",
    ],
)
def test_packages_become_dependencies(tmp_path: Path, text: str) -> None:
    """However they are given."""
    made = convert(tmp_path, ENV + text, {"more.txt": "kodosumi\nsix==1.16.0\n"})
    assert manifest(made).runtime.dependencies == ("six==1.16.0", "requests>=2")


@pytest.mark.parametrize("text", ["reqs.txt", "./reqs.txt", "{packages: reqs.txt}"])
def test_a_file_of_requirements_is_named(tmp_path: Path, text: str) -> None:
    """It is shipped, and the nodes read it."""
    made = convert(tmp_path, f"{ENV}  pip: {text}", {"reqs.txt": "six\n"})
    runtime = manifest(made).runtime
    assert (runtime.requirements, runtime.dependencies) == ("reqs.txt", ())


def test_a_file_that_names_kodosumi_is_written_out(tmp_path: Path) -> None:
    """The user's file stays as it is, and nodes must not install Kodosumi."""
    made = convert(tmp_path, f"{ENV}  pip: reqs.txt", {"reqs.txt": "six\nkodosumi>=1.1\n"})
    runtime = manifest(made).runtime
    assert (runtime.requirements, runtime.dependencies) == (None, ("six",))


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ("pip: no.txt", "runtime_env.pip", "there is no file no.txt"),
        ("pip: /etc/reqs.txt", "runtime_env.pip", "/etc/reqs.txt is not in this project"),
        ("pip: ['--pre']", "runtime_env.pip[0]", "'--pre' is an option of pip"),
        ("pip: [six, 'git+https://x.org/y']", "runtime_env.pip[1]", "write the package's name"),
        ("pip: ['x @ https://ada:pw@x.org/y.zip']", "runtime_env.pip[0]", "x is left out"),
        ("pip: {packages: [], pip_check: true}", "runtime_env.pip.pip_check", "no such option"),
        ("conda: my-env", "runtime_env.conda", "'my-env' is left out"),
        ("conda: {dependencies: [ffmpeg]}", "runtime_env.conda", "'ffmpeg' is left out"),
        ("pip: [kodosumi]", "runtime_env.pip[0]", "koco brings it"),
        ("pip: ['ray[serve]>=2.6']", "runtime_env.pip[0]", "the cluster has its own"),
    ],
)
def test_a_package_without_counterpart_is_noted(
    tmp_path: Path, text: str, key: str, message: str
) -> None:
    """In a comment of the manifest, too."""
    made = convert(tmp_path, f"{ENV}  {text}")
    assert message in notes(made)[key]
    assert f"# {key}: " in made.files[Path("koco.yaml")]
    assert set(manifest(made).runtime.dependencies) <= {"six"}


@pytest.mark.parametrize("name", ["../aws", "/etc/passwd", "link", "inner/link", "{outside}"])
def test_no_file_outside_the_project_is_read(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lines would be printed, and written into a file that is committed."""
    outside, inside = tmp_path / "aws", tmp_path / "project"
    outside.write_text("hunter2\naws_secret_access_key = wJalrXUtnFEMIK7MDENG\n")
    (inside / "inner").mkdir(parents=True)
    for link in ("link", "inner/link"):
        (inside / link).symlink_to(outside)
    monkeypatch.chdir(inside)
    for text in (f"pip: {name}", f"pip: ['-r {name}']"):
        made = convert(inside, f"{ENV}  {text.format(outside=outside)}")
        shown = [*made.files.values(), *notes(made).values()]
        assert not any("hunter2" in each or "wJalr" in each for each in shown)
        assert any("is not in this project" in each for each in notes(made).values())


def test_an_included_file_outside_the_project_is_not_read(tmp_path: Path) -> None:
    """Neither by its path nor through a link."""
    (tmp_path / "aws").write_text("hunter2\n")
    (tmp_path / "project").mkdir()
    (tmp_path / "project/link").symlink_to(tmp_path / "aws")
    files = {"reqs.txt": "kodosumi\n-r ../aws\n-r link\nsix\n"}
    made = convert(tmp_path / "project", f"{ENV}  pip: reqs.txt", files)
    assert manifest(made).runtime.dependencies == ("six",)
    assert "hunter2" not in str(made)


def test_a_line_that_is_no_requirement_is_named_by_its_number(tmp_path: Path) -> None:
    """The line itself may be a password."""
    made = convert(tmp_path, f"{ENV}  pip: reqs.txt", {"reqs.txt": "kodosumi\npw = hunter2 x\n"})
    assert "reqs.txt:2: nodes cannot install this line" in str(made.services)
    assert "hunter2" not in str(made)
