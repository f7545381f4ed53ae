"""Which files of a folder are shipped: by rules, by patterns, by what they look like."""

import itertools
import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pathspec import GitIgnoreSpec

from koco.errors import NotFoundError, UsageError
from koco.project import file_tree
from tests.unit.conftest import examples


def write(root: Path, *names: str, **contents: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(contents.get("text", name))
    return root


def names(root: Path, *patterns: str) -> list[str]:
    return [file.name for file in file_tree.read(root, patterns or ("**",)).files]


def ignore(root: Path, *lines: str, name: str = ".gitignore") -> None:
    root.mkdir(parents=True, exist_ok=True)
    (root / name).write_text("\n".join(lines) + "\n")


def test_everything_is_shipped_but_what_tools_make(tmp_path: Path) -> None:
    """Caches, environments and version control stay at home, unasked, at any depth."""
    write(tmp_path, "a/app.py", "koco.yaml", ".env.example")
    write(tmp_path, ".git/config", "a/__pycache__/x.py", "a/x.pyc", ".venv/p.py", "venv/p.py")
    write(tmp_path, "web/node_modules/x.js", ".DS_Store", "x.egg-info/PKG", ".mypy_cache/x")
    write(tmp_path, ".ruff_cache/x", "a/.pytest_cache/x", ".koco-bundle.json")
    assert names(tmp_path) == [".env.example", "a/app.py", "koco.yaml"]


def test_virtual_environments_are_left_out_under_any_name(tmp_path: Path) -> None:
    """`python -m venv env` makes thousands of files that a flow does not need."""
    write(tmp_path, "app.py", "env/pyvenv.cfg", "env/bin/python", "deep/.direnv/py/pyvenv.cfg")
    write(tmp_path, "deep/.direnv/py/lib/x.py", "deep/env/app.py")
    assert names(tmp_path) == ["app.py", "deep/env/app.py"]
    assert names(tmp_path / "env") == ["bin/python", "pyvenv.cfg"]


def test_what_is_never_shipped_cannot_be_asked_for(tmp_path: Path) -> None:
    """Neither a pattern nor a `!` rule brings `.git` into a bundle."""
    write(tmp_path, ".git/config", "app.py")
    ignore(tmp_path, "!.git", name=".kocoignore")
    assert ".git/config" not in names(tmp_path, "**", ".git")


def test_what_is_never_shipped_is_in_no_folder_either(tmp_path: Path) -> None:
    """Whatever that is called."""
    write(tmp_path, "app.py", "a/.git/config", "a\nb/.git/config", "a\nb/x.pyc", "a\nb/x.py")
    assert names(tmp_path) == ["a\nb/x.py", "app.py"]


@pytest.mark.parametrize("patterns", [("**", "!koco.toml"), ("**",), (), ("**", "!a", "!b.c")])
def test_usual_patterns_mean_what_they_mean_to_git(patterns: tuple[str, ...]) -> None:
    """These are matched without `pathspec`, which most deploys need not import."""
    spec = GitIgnoreSpec.from_lines(patterns)
    parts = ("koco.toml", "koco.tomlx", "a", "b.c", "d e")
    for name in ("/".join(some) for n in (1, 2, 3) for some in itertools.product(parts, repeat=n)):
        assert file_tree._matcher(patterns)(name) is bool(spec.match_file(name)), name


def test_kocos_own_folder_is_never_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has keys, and changes while a deploy runs."""
    write(tmp_path, "app.py", "here/contexts.toml", "here/answered/x", "hereabouts.py")
    monkeypatch.setenv("KOCO_HOME", str(tmp_path / "here"))
    assert names(tmp_path) == ["app.py", "hereabouts.py"]
    (tmp_path / "keys").symlink_to("here/contexts.toml")
    with pytest.raises(UsageError, match="never shipped"):
        names(tmp_path)
    (tmp_path / "keys").unlink()
    monkeypatch.setenv("KOCO_HOME", str(tmp_path.parent))
    assert "app.py" in names(tmp_path), "a project may be in it"


def test_patterns_choose_among_the_files(tmp_path: Path) -> None:
    """They are `.gitignore`'s, with `!` to leave out; ignored files stay ignored."""
    write(tmp_path, "a/app.py", "a/x.csv", "b/app.py", "data/x.csv", "data/y.csv", "z.log")
    ignore(tmp_path, "y.csv")
    assert names(tmp_path, "a/", "data/*.csv", "!a/*.csv") == ["a/app.py", "data/x.csv"]


def test_kocoignore_leaves_out_and_brings_back(tmp_path: Path) -> None:
    """Its rules come after `.gitignore`'s, so `!` ships what git does not keep."""
    write(tmp_path, "app.py", "built.js", "notes.txt", "sub/notes.txt", "sub/keep/notes.txt")
    ignore(tmp_path, "built.js")
    ignore(tmp_path, "!built.js", "notes.txt", name=".kocoignore")
    ignore(tmp_path / "sub" / "keep", "!notes.txt", name=".kocoignore")
    found = [name for name in names(tmp_path) if "ignore" not in name]
    assert found == ["app.py", "built.js", "sub/keep/notes.txt"]


def test_rules_of_the_repository_above_hold(tmp_path: Path) -> None:
    """A project in a repository's folder is under its rules, but not under those beyond it."""
    ignore(tmp_path, "*.py")
    (tmp_path / "repo" / ".git").mkdir(parents=True)
    ignore(tmp_path / "repo", "*.log", "/flows/one/x.txt")
    project = write(tmp_path / "repo/flows/one", "app.py", "a.log", "x.txt", "y/x.txt")
    assert names(project) == ["app.py", "y/x.txt"]


def test_a_project_in_an_ignored_folder_is_shipped(tmp_path: Path) -> None:
    """Its repository's rules would leave nothing of it; its own still hold."""
    (tmp_path / ".git").mkdir()
    ignore(tmp_path, "scratch/", "*.txt")
    project = write(tmp_path / "scratch/one", "app.py", "a.log", "x.txt")
    ignore(project, "*.log")
    assert names(project) == [".gitignore", "app.py", "x.txt"]


PARTS = ["a", "b", "build", "keep.log", "x.log", "x.py"]
RULES = [
    *("*", "*/", "!*/", "!*.py", "*.log", "!keep.log", "build/", "/build", "build", "!build/"),
    *("a/b", "/a/*", "!/a/b/", "a/**", "**/b", "a/**/x.py", "!a/", "a/", "# no", "", r"\!a", "x.*"),
    *(
        "!a/**",
        "!build",
        "!x.log",
        "!/a",
        "/*",
        "!a/b",
        "**",
        "**/a/",
        "?",
        "[ab]",
        "!a/**/b",
    ),
]


@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sets(st.lists(st.sampled_from(PARTS), min_size=1, max_size=3).map("/".join), min_size=2),
    st.lists(st.sampled_from(RULES), max_size=5),
    st.lists(st.sampled_from(RULES), max_size=3),
)
@example({"a", "keep.log/keep.log"}, ["*", "!keep.log"], [])
@example({"a/x.log", "a/x.py", "b"}, ["*", "!*/", "!*.py"], [])
@example({"a/b", "a/x.py"}, ["a/**", "!a/b"], [])
def test_ignore_rules_mean_what_they_mean_to_git(
    tmp_path: Path, paths: set[str], outer: list[str], inner: list[str]
) -> None:
    """For any rules, in the root and in a folder, the tree has the files that git would add."""
    root = tmp_path / "repo"
    shutil.rmtree(root, ignore_errors=True)
    ignore(root, *outer)
    for path in sorted(paths):
        target = root / path
        # A name may be a file here and a folder there; the first one stays.
        if not target.exists() and all(p.is_dir() or not p.exists() for p in target.parents):
            write(root, path)
    if (root / "a").is_dir():
        ignore(root / "a", *inner)
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    command = ["git", "-c", "core.excludesFile=/dev/null", "ls-files", "-o", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
    assert names(root) == sorted(listed.split())


def test_links_inside_the_project_are_followed(tmp_path: Path) -> None:
    """A link to a file or a folder is shipped as what it leads to."""
    write(tmp_path, "a/app.py")
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "c.py").symlink_to("a/app.py")
    assert names(tmp_path) == ["a/app.py", "b/app.py", "c.py"]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("../outside", "leads out of the project"),
        ("missing", "which is not there"),
        (".", "a folder that it is in"),
        ("self", "which is not there"),
        (".git/config", "never shipped"),
    ],
)
def test_links_that_cannot_be_shipped_are_refused(tmp_path: Path, target: str, said: str) -> None:
    """By name, with where they lead, unless they are ignored."""
    root = write(tmp_path / "p", "a.py", ".git/config")
    write(tmp_path, "outside")
    (root / "self").symlink_to(target)
    with pytest.raises(UsageError, match=f"self is a link .*{said}") as caught:
        file_tree.read(root)
    assert ".kocoignore" in (caught.value.hint or "")
    ignore(root, "self", name=".kocoignore")
    assert names(root) == [".kocoignore", "a.py"]


def test_a_name_that_is_no_utf8_is_refused(tmp_path: Path) -> None:
    """A zip's names are text."""
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.py")).write_text("")
    with pytest.raises(UsageError, match=r"caf\\\S*\.py has a name that is not UTF-8"):
        file_tree.read(tmp_path)


def left_out(root: Path, *include: str) -> list[str]:
    return [each.name for each in file_tree.read(root, include=include).left_out]


def test_editors_temporary_files_are_ignored(tmp_path: Path) -> None:
    """Also Emacs's locks, which are links that lead nowhere; a rule with `!` brings them back."""
    write(tmp_path, "app.py", "app.py~", ".app.py.swp", ".app.py.swx", "#app.py#", "a/x.tmp")
    write(tmp_path, "app.py.tmp.4711.1732", "app.py___jb_tmp___", ".goutputstream-X1", "~$a.docx")
    (tmp_path / ".#app.py").symlink_to("ada@machine.1234:1732")
    assert names(tmp_path) == ["app.py"]
    ignore(tmp_path, "!*.tmp", name=".kocoignore")
    assert names(tmp_path) == [".kocoignore", "a/x.tmp", "app.py"]


def test_what_koco_writes_beside_them_is_ignored(tmp_path: Path) -> None:
    """Results of `koco run --each`, and exports: they are no code, and hold people's inputs."""
    write(tmp_path, "app.py", "a.csv", "a.csv.results.jsonl", "a.csv.results.jsonl.state")
    for name in ("execution.json", "inputs.json", "events.ndjson", "files/out/x.txt"):
        write(tmp_path, f"exports/wrq429s8exka3r9k/{name}")
    write(tmp_path, "data/execution.json", "data/inputs.json")
    assert names(tmp_path) == ["a.csv", "app.py", "data/execution.json", "data/inputs.json"]
    ignore(tmp_path, "!*.results.jsonl", name=".kocoignore")
    assert "a.csv.results.jsonl" in names(tmp_path)


SECRETS = [
    *(".env", ".env.production", "prod.env", ".envrc", "a/.env.local", ".ENV", ".env.bak"),
    *("id_rsa", "id_ed25519", "id_rsa.old", "server.pem", "a/b/tls.key", "cert.p12", "x.pfx"),
    *("credentials.json", "client_secret_12.json", "service-account.json", "token.json"),
    *("my-firebase-adminsdk-1.json", "secrets.toml", ".netrc", ".npmrc", ".pypirc", ".pgpass"),
    *("kubeconfig", "dev.kubeconfig", "terraform.tfstate", "terraform.tfstate.backup"),
    *("prod.tfvars", ".git-credentials", ".bash_history"),
]
FOLDERS = [".aws/config", ".ssh/config", ".kube/config", ".gnupg/x", ".terraform/x", "a/.docker/c"]
HARMLESS = [
    *(".env.example", ".env.sample", ".env.template", "example.env", ".env.local.example"),
    *("credentials.example.json", "secrets.yaml.j2", "terraform.tfvars.example", "id_rsa.pub"),
    *("env.py", "secrets_of_life.py", "credentials.py", "pkg/kubeconfig/__init__.py", "token.py"),
    *("tokenizer.json", "key.py", "pem.txt", "environment.yml", "ca.crt", "aws/config", "a.json"),
]


@pytest.mark.parametrize("has_rules", [False, True])
def test_what_looks_like_a_secret_stays_at_home(tmp_path: Path, has_rules: bool) -> None:
    """Whether there are ignore rules or not; examples, public keys and modules are shipped."""
    write(tmp_path, *SECRETS, *HARMLESS)
    if has_rules:
        ignore(tmp_path, "*.log", "!.env", "!id_rsa")
        ignore(tmp_path, "!.env", name=".kocoignore")
    assert [name for name in names(tmp_path) if "ignore" not in name] == sorted(HARMLESS)
    assert left_out(tmp_path) == sorted(SECRETS)


def test_folders_of_secrets_are_told_as_such(tmp_path: Path) -> None:
    """By their names, not by all that is in them."""
    write(tmp_path, "app.py", *FOLDERS)
    assert names(tmp_path) == ["app.py"]
    assert left_out(tmp_path) == sorted(f"{Path(name).parent}/" for name in FOLDERS)


def test_include_names_what_is_shipped_all_the_same(tmp_path: Path) -> None:
    """File by file, also within a folder, and also what an ignore rule excludes."""
    write(tmp_path, "app.py", ".env", "ca.pem", "tls.key", ".aws/config", ".aws/credentials")
    include = (".env", "*.pem", ".aws/config")
    shipped = [".aws/config", ".env", "app.py", "ca.pem"]
    assert [file.name for file in file_tree.read(tmp_path, include=include).files] == shipped
    assert left_out(tmp_path, *include) == [".aws/credentials", "tls.key"]
    ignore(tmp_path, ".env*", ".aws/")
    assert [file.name for file in file_tree.read(tmp_path, include=include).files] == [
        *(".aws/config", ".env", ".gitignore", "app.py", "ca.pem")
    ]
    assert left_out(tmp_path, *include) == ["tls.key"]


def test_what_a_rule_ignores_is_not_told_of(tmp_path: Path) -> None:
    """Nor what the patterns do not name: nobody wanted it shipped."""
    write(tmp_path, "app.py", ".env", "x.pem", "a/.aws/config", "b/id_rsa")
    ignore(tmp_path, ".env", "*.pem", ".aws")
    assert left_out(tmp_path) == ["b/id_rsa"]
    assert file_tree.read(tmp_path, ["app.py", "a/"]).left_out == ()


def test_a_link_to_a_secret_is_one(tmp_path: Path) -> None:
    """Whatever it is called; a secret that is a link out of the project is no error."""
    write(tmp_path / "p", "app.py", ".env", ".aws/config", "keys/tls.key")
    write(tmp_path, "outside")
    (tmp_path / "p/settings").symlink_to(".env")
    (tmp_path / "p/cloud").symlink_to(".aws")
    (tmp_path / "p/tls").symlink_to("keys/tls.key")
    (tmp_path / "p/.env.prod").symlink_to("../outside")
    (tmp_path / "p/more").symlink_to("keys")
    found = [".aws/", ".env", ".env.prod", "cloud", "keys/tls.key", "more/tls.key", "settings"]
    assert left_out(tmp_path / "p") == [*found, "tls"]
    assert names(tmp_path / "p") == ["app.py"]


def test_what_this_command_writes_is_left_out(tmp_path: Path) -> None:
    """By what it is, not by its name: a link to it is as well."""
    write(tmp_path, "app.py", "deploy.log")
    (tmp_path / "log").symlink_to("deploy.log")
    status = (tmp_path / "deploy.log").stat()
    found = file_tree.read(tmp_path, outputs={(status.st_dev, status.st_ino)})
    assert [file.name for file in found.files] == ["app.py"]


def test_a_file_that_is_saved_by_renaming_is_there(tmp_path: Path) -> None:
    """Editors have it away for a moment, and a file with another name there."""
    path = write(tmp_path, "app.py") / "app.py"
    is_over = threading.Event()

    def save() -> None:
        while not is_over.is_set():
            path.rename(tmp_path / "away")
            is_over.wait(0.002)
            (tmp_path / "away").rename(path)
            is_over.wait(0.2)

    saving = threading.Thread(target=save)
    saving.start()
    try:
        found = [names(tmp_path) for _ in range(20)]
    finally:
        is_over.set()
        saving.join()
    assert found == [["app.py"]] * 20


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    """By its path."""
    with pytest.raises(NotFoundError, match="no such folder"):
        file_tree.read(tmp_path / "none")
