"""The text of a manifest."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from koco.manifest import load
from koco.project.conversion import manifest_text
from koco.project.conversion.draft import Draft


def draft() -> Draft:
    return Draft("news", "news.query:app", Path("x.yaml"))


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_any_text_arrives_unchanged(text: str) -> None:
    """YAML 1.1 and 1.2 differ in what is a number, a date or true."""
    made = draft()
    made.env["A"] = text
    assert load.parse(manifest_text.render(made)).runtime.env == {"A": text}


@given(st.text(), st.text())
def test_a_note_never_becomes_a_key(key: str, message: str) -> None:
    """Whatever characters come from the user's file."""
    made = draft()
    made.note(key, message, "runtime")
    made.note(message, key)
    found = load.parse(manifest_text.render(made))
    assert load.to_wire(found) == {"service": "news", "app": "news.query:app"}


def test_comments_stand_above_their_key() -> None:
    """Also if the key itself is left out."""
    made = draft()
    made.note("runtime_env.container", "none here", "runtime")
    made.note("import_path", "not found", "root")
    made.secrets = ["A"]
    lines = manifest_text.render(made).splitlines()
    assert lines == [
        "# Made from x.yaml by `koco init --from`.",
        "service: news",
        "app: news.query:app",
        "# import_path: not found",
        "# runtime_env.container: none here",
        "secrets:",
        "  - A",
    ]
