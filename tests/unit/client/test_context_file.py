"""Contexts: which one is meant, and that nothing of them is lost or seen by others."""

import subprocess
import sys
from pathlib import Path

import pytest

from koco import errors, tokens
from koco.client import context_file
from koco.client.context_file import Context


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("KOCO_URL", "KOCO_KEY", "KOCO_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KOCO_HOME", str(tmp_path / "home"))
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "home"


def save(name: str, *, current: bool = True) -> Context:
    context = Context(name, f"http://{name}.test:8400", f"koco_key_of_{name}")
    context_file.save_context(context, current)
    return context


def test_without_any_context_the_hint_is_koco_up() -> None:
    """Without contexts the exit code is 3, with a hint."""
    with pytest.raises(errors.UnreachableError) as caught:
        context_file.current()
    assert "koco up" in (caught.value.hint or "")


def test_a_context_comes_back_as_it_was_saved(home: Path) -> None:
    """With its cluster table, and only for its user."""
    context = Context("local", "http://127.0.0.1:8400", "koco_x", {"gcs": 6379, "mark": "m"})
    context_file.save_context(context)
    assert context_file.load_contexts() == {"local": context}
    assert context_file.current() == context
    assert (home / "contexts.toml").stat().st_mode & 0o777 == 0o600
    assert home.stat().st_mode & 0o777 == 0o700


def test_the_precedence_is_flag_url_context_project_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each stronger word is put over all weaker ones, and decides."""
    for name in ("infile", "inproject", "inenv", "inflag"):
        save(name, current=name == "infile")
    assert context_file.current().name == "infile"
    Path("koco.toml").write_text('[project]\nname = "x"\n[deploy]\ncontext = "inproject"\n')
    assert context_file.current().name == "inproject"
    monkeypatch.setenv("KOCO_CONTEXT", "inenv")
    assert context_file.current().name == "inenv"
    monkeypatch.setenv("KOCO_URL", "https://env.test/")
    monkeypatch.setenv("KOCO_KEY", "koco_env")
    assert context_file.current() == Context("KOCO_URL", "https://env.test", "koco_env")
    assert context_file.current("inflag").name == "inflag"
    assert context_file.current("inflag").key == "koco_key_of_inflag"


def test_koco_toml_is_found_from_a_folder_below(monkeypatch: pytest.MonkeyPatch) -> None:
    """A project's context counts in all of the project."""
    save("a")
    save("b", current=False)
    Path("koco.toml").write_text('[deploy]\ncontext = "b"\n')
    Path("src/deep").mkdir(parents=True)
    monkeypatch.chdir("src/deep")
    assert context_file.current().name == "b"


def test_koco_toml_can_begin_with_a_byte_order_mark() -> None:
    """As editors write it; `koco.project.project` takes it as well."""
    save("a")
    Path("koco.toml").write_bytes(b'\xef\xbb\xbf[deploy]\r\ncontext = "a"\r\n')
    assert context_file.current().name == "a"


def test_an_unknown_context_is_not_found_and_names_its_source(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Exit 4, with the names that there are."""
    save("a")
    with pytest.raises(errors.NotFoundError, match="--context") as caught:
        context_file.current("b")
    assert "a" in (caught.value.hint or "")
    monkeypatch.setenv("KOCO_CONTEXT", "c")
    with pytest.raises(errors.NotFoundError, match="KOCO_CONTEXT"):
        context_file.current()


def test_a_key_alone_replaces_that_of_the_current_context(monkeypatch: pytest.MonkeyPatch) -> None:
    """KOCO_KEY without KOCO_URL; a context named by flag keeps its own."""
    save("a")
    monkeypatch.setenv("KOCO_KEY", "koco_other")
    assert context_file.current().key == "koco_other"
    assert context_file.current("a").key == "koco_key_of_a"


@pytest.mark.parametrize("around", [" {}\n", "{}\r\n", "\t{}  "])
def test_ignores_white_space_around_a_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, around: str
) -> None:
    """Secrets in CI and files often end with it; a blank variable counts as not set."""
    monkeypatch.setenv("KOCO_HOME", around.format(context_file.home()))
    save("a")
    save("b")
    monkeypatch.setenv("KOCO_KEY", around.format("koco_other"))
    assert context_file.current().key == "koco_other"
    monkeypatch.setenv("KOCO_CONTEXT", around.format("a"))
    assert context_file.select() == context_file.Choice("a", "KOCO_CONTEXT")
    assert context_file.select(around.format("b")).name == "b"
    monkeypatch.setenv("KOCO_URL", around.format("http://env.test"))
    found = context_file.current()
    assert (found.url, found.key) == ("http://env.test", "koco_other")
    for name in ("KOCO_URL", "KOCO_CONTEXT", "KOCO_KEY"):
        monkeypatch.setenv(name, around.format(""))
    assert context_file.current().name == "b"


def test_ignores_white_space_in_the_contexts_file() -> None:
    """A key or a URL that was pasted into it by hand."""
    save("a")
    path = context_file.contexts_path()
    text = path.read_text().replace("http://", "  http://").replace('key = "', 'key = " ')
    path.write_text(text)
    found = context_file.current()
    assert (found.url, found.key) == (found.url.strip(), found.key.strip())
    assert context_file.replace_key(found.key, "koco_new") == ["a"]


@pytest.mark.parametrize(
    "text",
    [
        "this is no TOML",
        "contexts = 3",
        "[contexts.a]\nkey = 'k'",
        "[contexts]\na = 1",
        "current = 1",
        "[contexts.a]\nurl = 'ftp://x'",
        "[contexts.a]\nurl = 'http://x'\ncluster = 1",
    ],
)
def test_a_broken_file_is_named_and_never_written_over(home: Path, text: str) -> None:
    """It is a usage error for readers and writers, and stays as it is."""
    home.mkdir()
    path = home / "contexts.toml"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(errors.UsageError, match=r"contexts\.toml"):
        context_file.load_contexts()
    with pytest.raises(errors.UsageError):
        save("b")
    assert path.read_text() == text


def test_a_file_that_others_can_read_is_refused(home: Path) -> None:
    """Its keys are no longer secret; the hint fixes it."""
    save("a")
    path = home / "contexts.toml"
    path.chmod(0o644)
    with pytest.raises(errors.UsageError) as caught:
        context_file.load_contexts()
    assert caught.value.hint == f"chmod 600 {path}"


def test_saving_keeps_unknown_keys(home: Path) -> None:
    """Another version's settings survive."""
    home.mkdir()
    path = home / "contexts.toml"
    path.write_text("later = true\n")
    path.chmod(0o600)
    save("a")
    assert "later = true" in path.read_text()


def test_removing_the_current_one_leaves_none_current() -> None:
    """The others stay; nothing is chosen for the user."""
    save("b", current=False)
    save("a")
    context_file.remove_context("a")
    context_file.remove_context("never there")
    assert list(context_file.load_contexts()) == ["b"]
    with pytest.raises(errors.UnreachableError, match="known"):
        context_file.current()


def test_writers_at_once_lose_nothing() -> None:
    """Eight processes save five contexts each: all forty are there."""
    script = (
        "import sys; from koco.client import context_file\n"
        "for n in range(5): context_file.save_context("
        "context_file.Context(f'{sys.argv[1]}-{n}', 'http://x:1', 'k'))"
    )
    processes = [subprocess.Popen([sys.executable, "-c", script, f"p{n}"]) for n in range(8)]
    assert [process.wait() for process in processes] == [0] * 8
    assert len(context_file.load_contexts()) == 40


def test_a_failed_write_leaves_only_the_old_file(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be written as TOML changes nothing."""
    save("a")
    before = (home / "contexts.toml").read_bytes()
    with pytest.raises(TypeError):
        context_file.save_context(Context("b", "http://b:1", "k", {"x": object()}))
    assert (home / "contexts.toml").read_bytes() == before
    assert sorted(path.name for path in home.iterdir()) == ["contexts.lock", "contexts.toml"]


def test_a_linked_file_stays_a_link(home: Path, tmp_path: Path) -> None:
    """Dotfiles are linked into place by many."""
    save("a")
    real = tmp_path / "real.toml"
    (home / "contexts.toml").rename(real)
    (home / "contexts.toml").symlink_to(real)
    save("b")
    assert (home / "contexts.toml").is_symlink()
    assert "koco_key_of_b" in real.read_text()


@pytest.mark.parametrize(
    "url",
    [
        *("", "127.0.0.1:8400", "http://", "http://u:p@x", "http://x:99999"),
        *("http://a b", "http://a\x01b", f"http://{'a' * 64}", "http://xn--/"),
    ],
)
def test_an_invalid_url_is_a_usage_error(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reported before any request; an empty KOCO_URL counts as not set."""
    monkeypatch.setenv("KOCO_URL", url)
    with pytest.raises(errors.UnreachableError if not url else errors.UsageError):
        context_file.current()


def test_keys_are_random_long_and_masked() -> None:
    """A shown key cannot be used, and a short one is not shown at all."""
    first, second = tokens.new(), tokens.new()
    assert first != second
    assert first.startswith("koco_")
    assert len(first) >= 40
    assert tokens.mask(first) == f"{first[:9]}…"
    assert tokens.mask("koco_short") == "…"
    assert tokens.mask("") == ""
    assert first not in repr(Context("a", "http://x", first))


def test_an_empty_home_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's home directory is taken, not the root of the disk."""
    monkeypatch.delenv("KOCO_HOME", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    unset = context_file.home()
    monkeypatch.setenv("HOME", "")
    assert context_file.home() == unset != Path("/.koco")
