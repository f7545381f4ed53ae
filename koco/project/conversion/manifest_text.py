"""Writes a draft as the text of a manifest, with a comment for each note."""

import re
import textwrap
from typing import Any

import yaml

from koco.manifest.yaml_document import Loader
from koco.project.conversion.draft import Draft, Note

#: The longest line of a comment.
_WIDTH = 98


class _Dumper(yaml.SafeDumper):
    """Writes YAML that means the same in YAML 1.1 and 1.2, with lists indented."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _quote_if_needed(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """Write text in quotes if koco's reader would take it, or a line break in it, for another."""
    patterns = Loader.yaml_implicit_resolvers.get(text[:1], [])
    has_odd_break = any(each in text for each in "\x85\u2028\u2029")  # line breaks in YAML 1.1
    is_odd = has_odd_break or any(pattern.match(text) for _, pattern in patterns)
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if is_odd else None)


_Dumper.add_representer(str, _quote_if_needed)


def render(draft: Draft) -> str:
    """Return a draft's manifest as YAML."""
    lines = [f"# Made from {_one_line(str(draft.source))} by `koco init --from`."]
    lines += _comments(draft.notes, "")
    for name, value in _sections(draft).items():
        lines += _comments(draft.notes, name)
        if value is not None:
            lines.append(dump({name: value}))
    return "\n".join(lines) + "\n"


def _sections(draft: Draft) -> dict[str, Any]:
    """Return the manifest's data, in the order of its keys. None means that a key is left out."""
    runtime = {
        "kodosumi": draft.is_kodosumi or None,
        "chdir": draft.chdir or None,
        "files": ["**", *draft.files] if draft.files else None,
        "dependencies": draft.dependencies or None,
        "requirements": draft.requirements,
        "env": draft.env or None,
    }
    return {
        "service": draft.service,
        "description": draft.description or None,
        "app": draft.app,
        "root": draft.root if draft.root != "." else None,
        "runtime": {key: value for key, value in runtime.items() if value is not None} or None,
        "secrets": draft.secrets or None,
        "runner": None,
        "serve": draft.serve or None,
    }


def dump(data: dict[str, Any]) -> str:
    """Return data as YAML that koco reads as it is."""
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return text.rstrip("\n")


def _comments(notes: list[Note], section: str) -> list[str]:
    return [line for note in notes if note.section == section for line in comment(str(note))]


def comment(text: str) -> list[str]:
    """Return a text as the lines of a comment."""
    return textwrap.wrap(
        _one_line(text),
        _WIDTH,
        initial_indent="# ",
        subsequent_indent="#   ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _one_line(text: str) -> str:
    """Return a text without line breaks, control characters and changes of direction.

    They could end a comment, or make it look like something else.
    """
    kept = r"\x20-\x7e\xa0-\u2027\u202f-\u2065\u206a-\ud7ff\ue000-\ufffd"
    return re.sub(f"[^{kept}]+", " ", text)
