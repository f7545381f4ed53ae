"""Converts the variables and the smaller parts of a runtime environment."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from koco.manifest import key_literals, rules
from koco.manifest.problems import InvalidValueError
from koco.manifest.yaml_document import MAX_CHARS
from koco.project.conversion.draft import Draft
from koco.project.conversion.sources import Application

_SECTION = "runtime"

#: A value that Ray takes from the node's environment.
_REFERENCE = re.compile(r"\$\{?\w+\}?")

#: A value in place of one that its author has not shown.
_PLACEHOLDER = re.compile(r"[.…*xX_-]+|<.*>|\[.*\]|(?:your|my|change|todo|secret).*", re.IGNORECASE)

#: A variable in a file of variables.
_ASSIGNED = re.compile(r"^\s*(?:export\s+)?([A-Za-z_]\w*)\s*=", re.MULTILINE)

#: The most names of variables that a note lists.
_MOST_NAMES = 20

#: The keys that this or another module converts.
_CONVERTED = ("env_vars", "working_dir", "py_modules", "excludes", "pip", "uv", "conda")

#: Why koco has no counterpart of a key, or its replacement.
_LOST = {
    "container": "koco runs services in processes of the cluster's nodes, not in containers",
    "image_uri": "koco runs services in processes of the cluster's nodes, not in containers",
    "py_executable": "koco's processes run with the cluster's Python",
    "java_jars": "koco runs Python only",
    "config": "koco sets the limits of an environment's installation itself",
    "worker_process_setup_hook": "koco has its own; call yours when your module is imported",
}


def note_env_file(draft: Draft, folders: Iterable[Path]) -> None:
    """Add a note on the first `.env` of some folders, whose variables Kodosumi's processes had.

    A link is not followed, because it may lead out of the project.
    """
    files = (each / ".env" for each in folders)
    file = next((each for each in files if each.is_file() and not each.is_symlink()), None)
    if file is None:
        return
    with file.open(encoding="utf-8", errors="replace") as opened:
        names = dict.fromkeys(_ASSIGNED.findall(opened.read(MAX_CHARS)))
    listed = ", ".join([*names][:_MOST_NAMES]) + (", …" if len(names) > _MOST_NAMES else "")
    message = (
        f"it is not shipped; make secrets of its keys (`koco secret set NAME`), list them in "
        f"`secrets` and the rest in `env`. It has {listed or 'no variables'}"
    )
    draft.note(".env", message, _SECTION)


def convert(application: Application, draft: Draft) -> None:
    """Add variables and secrets to a draft, and notes on everything without a counterpart."""
    environment = application.environment
    variables = environment.get("env_vars")
    if variables is not None and not isinstance(variables, dict):
        raise application.wrong(("runtime_env", "env_vars"), "a mapping of names to text")
    for name, value in (variables or {}).items():
        if isinstance(value, dict | list):
            raise application.wrong(("runtime_env", "env_vars", name), "text")
        _add_variable(name, _text(value), draft)
    for key in environment:
        if key not in _CONVERTED:
            message = _LOST.get(key, "koco has no counterpart")
            draft.note(f"runtime_env.{key}", message, _SECTION)
    _exclude(environment.get("excludes"), application, draft)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def _add_variable(name: str, value: str, draft: Draft) -> None:
    key = f"runtime_env.env_vars.{name}"
    kind = _classify(name, value)
    try:
        (rules.check_secret_name if kind else rules.check_env_name)(name)
        rules.check_env_value(value)
    except InvalidValueError as exc:
        draft.note(key, str(exc), _SECTION)
        return
    if kind:
        draft.secrets.append(name)
        draft.note(key, f"looks like {kind}, so it is a secret", "secrets", is_todo=False)
    else:
        # koco itself would fill in `${NAME}` when it deploys. Ray does it on the node, as before.
        draft.env[name] = value.replace("${", "$${")


def stands_for_key(value: str) -> bool:
    """Return whether a value is only the place of a key, or refers to one."""
    return bool(_REFERENCE.fullmatch(value) or _PLACEHOLDER.fullmatch(value))


def _classify(name: str, value: str) -> str | None:
    """Return the kind of secret that a variable is, or None."""
    if kind := key_literals.classify(name, value):
        return kind
    if key_literals.names_secret(name):
        if _REFERENCE.fullmatch(value):
            return "a reference to a password or key"
        if _PLACEHOLDER.fullmatch(value):
            return "the place of a password or key"
    return None


def _exclude(value: Any, application: Application, draft: Draft) -> None:
    """Carry over the patterns of files that are not shipped, which are .gitignore's there, too."""
    if value is None:
        return
    if not isinstance(value, list):
        raise application.wrong(("runtime_env", "excludes"), "a list of patterns")
    for index, each in enumerate(value):
        if not isinstance(each, str):
            raise application.wrong(("runtime_env", "excludes", index), "a pattern")
        try:
            draft.files += [rules.check_pattern(pattern) for pattern in _negated(each)]
        except InvalidValueError as exc:
            draft.note(f"runtime_env.excludes[{index}]", str(exc), _SECTION)


def _negated(pattern: str) -> list[str]:
    """Return koco's patterns for a pattern of excluded files.

    A negated pattern of a folder matches no file in it, so the folder needs one of its own.
    """
    if pattern.startswith("!"):
        return [pattern[1:]]
    folder = pattern.rstrip("/")
    inside = f"!{folder}/**" if "/" in folder else f"!**/{folder}/**"
    if pattern.endswith("/"):
        return [inside]
    return [f"!{pattern}"] if pattern.startswith("*.") else [f"!{pattern}", inside]
