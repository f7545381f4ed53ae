"""Variables, and the other parts of a runtime environment."""

from pathlib import Path

import pytest

from koco.manifest import variables
from koco.project import file_tree
from tests.unit.project.conversion.projects import APP, convert, manifest, notes

ENV = APP + "runtime_env:\n"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("'true'", "true"),
        ("true", "true"),
        ("'017'", "017"),
        ("'yes'", "yes"),
        ("yes", "yes"),
        ("1.5", "1.5"),
        ("'0x1f'", "0x1f"),
        ("'~'", "~"),
        ("null", ""),
        ("''", ""),
        ("'a: b # c'", "a: b # c"),
        ("'2026-01-31'", "2026-01-31"),
        ('"a\\nb"', "a\nb"),
        ("ünï", "ünï"),
        ("'hi ${you} $x $${y}'", "hi ${you} $x $${y}"),
    ],
)
def test_a_variable_keeps_its_text(tmp_path: Path, given: str, kept: str) -> None:
    """The process gets the same as before, whatever YAML makes of it."""
    found = manifest(convert(tmp_path, f"{ENV}  env_vars: {{A: {given}}}"))
    assert variables.expand(found.runtime.env["A"], {}) == kept


@pytest.mark.parametrize(
    "value", ["${OPENAI_API_KEY}", "$OPENAI_API_KEY", "...", "<-- key -->", "YOUR_KEY", "xxx"]
)
def test_a_place_for_a_key_becomes_a_secret(tmp_path: Path, value: str) -> None:
    """The variable's name says so. The same value is no secret in another variable."""
    made = convert(tmp_path, f"{ENV}  env_vars: {{OPENAI_API_KEY: '{value}', REGION: '{value}'}}")
    assert manifest(made).secrets == ("OPENAI_API_KEY",)
    assert set(manifest(made).runtime.env) == {"REGION"}


def test_literals_that_look_like_keys_become_secrets(tmp_path: Path) -> None:
    """By their name or by their form; placeholders as well. Harmless values stay."""
    made = convert(
        tmp_path,
        f"""{ENV}  env_vars:
    OPENAI_API_KEY: <-- your-api-key -->
    GITHUB: ghp_{"a1B2" * 9}
    DATABASE_URL: postgres://ada:secret@db/x
    MODEL: gpt-4o
    TOKEN_URL: https://example.com/token
    MAX_TOKEN: "4096"
""",
    )
    found = manifest(made)
    assert found.secrets == ("OPENAI_API_KEY", "GITHUB", "DATABASE_URL")
    assert set(found.runtime.env) == {"MODEL", "TOKEN_URL", "MAX_TOKEN"}
    text = made.files[Path("koco.yaml")]
    assert "# runtime_env.env_vars.GITHUB: looks like a GitHub token, so it is a secret" in text


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("env_vars: {'a b': x}", "runtime_env.env_vars.a b"),
        ("env_vars: {RAY_TOKEN: abcdefghij}", "runtime_env.env_vars.RAY_TOKEN"),
        ("container: {image: x}", "runtime_env.container"),
        ("image_uri: x", "runtime_env.image_uri"),
        ("py_executable: x", "runtime_env.py_executable"),
        ("config: {setup_timeout_seconds: 9}", "runtime_env.config"),
        ("excludes: ['../x']", "runtime_env.excludes[0]"),
        ("nsight: default", "runtime_env.nsight"),
    ],
)
def test_what_koco_does_not_have_is_noted(tmp_path: Path, text: str, key: str) -> None:
    """In a comment of the manifest, too."""
    made = convert(tmp_path, f"{ENV}  {text}")
    assert key in notes(made)
    assert f"# {key}: " in made.files[Path("koco.yaml")]
    manifest(made)


def test_excluded_files_stay_excluded(tmp_path: Path) -> None:
    """Ray's patterns are those of .gitignore, like koco's."""
    names = ("a.csv", "keep.csv", "big/a.txt", "old/b.txt", "src/old/c.txt", "d.txt")
    made = convert(
        tmp_path,
        f"{ENV}  excludes: ['*.csv', '/big/', 'old', '!keep.csv']",
        dict.fromkeys(names, "x"),
    )
    found = file_tree.read(tmp_path, manifest(made).runtime.files)
    assert [file.name for file in found.files] == ["d.txt", "keep.csv", "news/query.py"]
