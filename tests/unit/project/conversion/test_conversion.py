"""Whole projects: what is written, and that koco accepts it."""

import tomllib
from pathlib import Path

import pytest

from koco.errors import ManifestError, UsageError
from koco.manifest import load
from koco.project import project
from koco.project.conversion import conversion
from tests.unit.project.conversion.projects import APP, convert, manifest, notes, write

BASE = """\
proxy_location: EveryNode
http_options: {host: 0.0.0.0, port: 8001}
grpc_options: {port: 9001, grpc_servicer_functions: []}
logging_config: {encoding: TEXT, log_level: DEBUG}
"""

FULL = """\
name: company_news
route_prefix: /company_news
import_path: news.query:fast_app
runtime_env:
  pip:
  - openai
  - kodosumi
  env_vars:
    OTEL_SDK_DISABLED: "true"
    OPENAI_API_KEY: <-- your-api-key -->
deployments:
- name: News
  num_replicas: auto
  ray_actor_options: {num_cpus: 0.1}
"""


def valid(root: Path) -> list[str]:
    """Return the problems that `koco validate` reports."""
    return project.check(project.load(root / "koco.toml").targets())[1]


def test_converts_the_example_of_kodosumis_documentation(tmp_path: Path) -> None:
    """Two files in data/config become a manifest and a koco.toml that koco accepts."""
    write(tmp_path, {"data/config/config.yaml": BASE, "data/config/company_news.yaml": FULL})
    made = conversion.convert(tmp_path / "data/config/config.yaml", tmp_path)
    for path, text in made.files.items():
        (tmp_path / path).write_text(text)
    assert valid(tmp_path) == []
    found = manifest(made)
    assert (found.service, found.app, found.root) == ("company-news", "news.query:fast_app", ".")
    assert found.runtime.kodosumi
    assert found.runtime.dependencies == ("openai",)
    assert found.runtime.env == {"OTEL_SDK_DISABLED": "true"}
    assert found.secrets == ("OPENAI_API_KEY",)
    assert found.serve == {"num_replicas": "auto", "ray_actor_options": {"num_cpus": 0.1}}
    config = tomllib.loads(made.files[Path("koco.toml")])
    assert config == {"project": {"name": tmp_path.name, "manifests": ["koco.yaml"]}}
    assert [note.key for note in made.notes] == [
        *("grpc_options", "http_options", "logging_config", "proxy_location")
    ]


def test_no_file_with_keys_is_shipped(tmp_path: Path) -> None:
    """Kodosumi's files hold keys, and its data folder holds everybody's results."""
    write(
        tmp_path,
        {
            "data/config/config.yaml": BASE,
            "data/config/news.yaml": FULL,
            "data/execution/ada/1/sqlite3.db": "x",
            "data/admin.db": "x",
            "data/input.csv": "x",
        },
    )
    made = conversion.convert(tmp_path / "data/config/config.yaml", tmp_path)
    for path, text in made.files.items():
        (tmp_path / path).write_text(text)
    for later in ("app.log", "spooler.log.1", "admin.db-wal", "expose.db"):  # Kodosumi still runs
        (tmp_path / "data" / later).write_text("x")
    [target] = project.load(tmp_path / "koco.toml").targets()
    assert [file.name for file in target.tree.files] == ["data/input.csv", "news/query.py"]


def test_several_applications_get_a_manifest_each(tmp_path: Path) -> None:
    """Named after the services, in one folder."""
    text = "applications:\n- {name: one, import_path: 'news.query:fast_app'}\n"
    made = convert(tmp_path, text + "- {name: two, import_path: news.query.fast_app}\n")
    assert set(made.files) == {Path("one.koco.yaml"), Path("two.koco.yaml"), Path("koco.toml")}
    for path, content in made.files.items():
        (tmp_path / path).write_text(content)
    assert valid(tmp_path) == []


def test_a_service_without_kodosumi_needs_no_kodosumi(tmp_path: Path) -> None:
    """A plain application of Ray Serve."""
    code = "from ray import serve\n\n@serve.deployment\nclass News: ...\n\nfast_app = News.bind()\n"
    made = convert(tmp_path, APP, {"news/query.py": code})
    assert "kodosumi" not in made.files[Path("koco.yaml")].replace("Kodosumi", "")


def test_the_value_of_a_key_is_nowhere(tmp_path: Path) -> None:
    """Neither in a file, nor in a note, nor in an error."""
    key = "sk-proj-" + "a1B2" * 10
    text = f"""\
{APP}route_prefix: /{key}
runtime_env:
  env_vars: {{OPENAI_API_KEY: {key}, RAY_TOKEN: {key}, "a b": {key}}}
  pip: ["x @ https://ada:{key}@example.com/x.zip", "https://ada:{key}@example.com/y.zip"]
  py_modules: ["https://ada:{key}@github.com/a/b/archive/c.zip"]
  working_dir: "https://ada:{key}@example.com/d.zip?token={key}"
  {key}: 1
deployments:
- name: News
  user_config: {{token: {key}, deep: [{{x: {key}}}]}}
"""
    made = convert(tmp_path, text)
    everything = [*made.files.values(), *map(str, notes(made).items())]
    assert not any(key in each for each in everything)
    assert manifest(made).secrets == ("OPENAI_API_KEY",)
    with pytest.raises(ManifestError) as caught:
        convert(tmp_path, f"{APP}runtime_env: {{env_vars: {{A: [{key}]}}}}\n")
    assert key not in str(caught.value.problems)


def test_a_secret_with_two_values_is_noted(tmp_path: Path) -> None:
    """A secret has one value for all services of a control plane."""
    app = "- {{name: {}, import_path: 'a.b:c', runtime_env: {{env_vars: {{T_TOKEN: {}}}}}}}\n"
    text = "applications:\n" + app.format("a", "first-token") + app.format("b", "other-token")
    [note] = convert(tmp_path, text).notes
    assert note.key == "T_TOKEN" and "several values" in note.message
    text = "applications:\n" + app.format("a", "first-token") + app.format("b", "first-token")
    assert convert(tmp_path, text).notes == []
    text = "applications:\n" + app.format("a", "your-key-here") + app.format("b", "<-- key -->")
    assert convert(tmp_path, text).notes == []


def test_kept_processes_are_named_beside_the_manifest(tmp_path: Path) -> None:
    """A comment, and nothing to do: Kodosumi starts a process for each execution."""
    made = convert(tmp_path, APP)
    assert "runner: {executions: 1}" in made.files[Path("koco.yaml")].replace("\n#   ", " ")
    [note] = made.services[0].notes
    assert (note.key, note.is_todo) == ("processes", False)


def test_a_file_of_variables_is_noted_with_their_names_only(tmp_path: Path) -> None:
    """`.env` is not shipped, and its keys become secrets."""
    lines = "# mine\nexport OPENAI_API_KEY=sk-hidden\nMODE = quick\n"
    made = convert(tmp_path, APP, {".env": lines})
    assert notes(made)[".env"].endswith("It has OPENAI_API_KEY, MODE")
    assert not any(each in text for text in made.files.values() for each in ("sk-hidden", "quick"))
    (tmp_path / ".env").rename(tmp_path / "elsewhere")
    (tmp_path / ".env").symlink_to(tmp_path / "elsewhere")
    assert ".env" not in notes(convert(tmp_path, APP))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("import_path: 5", "news.yaml:1:14: import_path: expected text, got the number 5"),
        ("import_path: app", "news.yaml:1:14: import_path: 'app' is not module:object"),
        (f"{APP}name: [x]", "news.yaml:2:7: name: expected text, got a list"),
        (f"{APP}name: '42'", "news.yaml:2:7: name: '42' cannot be made a service's name"),
        (f"{APP}runtime_env: x", "news.yaml:2:14: runtime_env: expected a mapping"),
        (f"{APP}runtime_env: {{pip: 5}}", "2:20: runtime_env.pip: expected a list of req"),
        (f"{APP}runtime_env: {{pip: [5]}}", "2:21: runtime_env.pip[0]: expected a req"),
        (f"{APP}runtime_env: {{env_vars: [a]}}", "runtime_env.env_vars: expected a mapping"),
        (f"{APP}runtime_env: {{env_vars: {{A: [1]}}}}", "runtime_env.env_vars.A: expected text"),
        (f"{APP}runtime_env: {{working_dir: 5}}", "runtime_env.working_dir: expected the path"),
        (f"{APP}runtime_env: {{py_modules: x}}", "runtime_env.py_modules: expected a list"),
        (f"{APP}runtime_env: {{py_modules: [1]}}", "runtime_env.py_modules[0]: expected a path"),
        (f"{APP}runtime_env: {{excludes: x}}", "runtime_env.excludes: expected a list"),
        (f"{APP}runtime_env: {{excludes: [5]}}", "runtime_env.excludes[0]: expected a pattern"),
        (f"{APP}deployments: x", "news.yaml:2:14: deployments: expected a list"),
        (f"{APP}deployments: [x]", "news.yaml:2:15: deployments[0]: expected a mapping"),
        ("applications: x", "news.yaml:1:15: applications: expected a list"),
        ("applications: [x]", "news.yaml:1:16: applications[0]: expected a mapping"),
        ("applications: [{name: x}]", "1:16: applications[0]: key 'import_path' is missing"),
        ("service: x", "news.yaml:1:10: service: this is a manifest of koco's already"),
        ("services: {}", "this is neither a configuration of Ray Serve nor"),
        ("- x", "news.yaml:1:1: expected a mapping of keys such as `import_path`, got a list"),
        ("a: [", "news.yaml:1:5: "),
        (f"{APP}name: a\nname: b", "news.yaml:3:1: key 'name' is given twice"),
        (f"{APP}name: !x a", "news.yaml:2:7: name: tag !x is not supported"),
        ("", "news.yaml:1:1: the file is empty"),
    ],
)
def test_an_invalid_file_is_refused_with_its_line(tmp_path: Path, text: str, problem: str) -> None:
    """The first thing to fix, with file, line and column."""
    with pytest.raises(ManifestError) as caught:
        convert(tmp_path, text)
    assert problem in caught.value.problems[0]


def test_two_services_cannot_have_one_name(tmp_path: Path) -> None:
    """`a_b` and `a-b` are one name for koco."""
    text = "applications:\n- {name: a_b, import_path: 'n:a'}\n- {name: a-b, import_path: 'n:a'}\n"
    with pytest.raises(ManifestError) as caught:
        convert(tmp_path, text)
    assert "news.yaml:3:10: applications[1].name: 'a-b' is the service of" in str(
        caught.value.problems
    )


def test_a_name_is_for_one_application(tmp_path: Path) -> None:
    """Several cannot have the same."""
    write(tmp_path, {"x.yaml": "applications: [{import_path: 'n:a'}, {import_path: 'n:b'}]"})
    with pytest.raises(UsageError, match="2 applications"):
        conversion.convert(tmp_path / "x.yaml", tmp_path, name="x")
    write(tmp_path, {"x.yaml": APP})
    made = conversion.convert(tmp_path / "x.yaml", tmp_path, name="my-news")
    assert manifest(made).service == "my-news"


def test_the_same_files_give_the_same_text(tmp_path: Path) -> None:
    """A conversion can be repeated and compared."""
    text = f"{APP}a: 1\nb: 2\nc: 3\nruntime_env: {{container: {{}}, image_uri: x, d: 1, e: 2}}\n"
    made = convert(tmp_path, text)
    order = [note.key for note in made.services[0].notes]
    keys = ("container", "image_uri", "d", "e")
    assert order == [*(f"runtime_env.{key}" for key in keys), "a", "b", "c", "processes"]
    load.parse(made.files[Path("koco.yaml")])
