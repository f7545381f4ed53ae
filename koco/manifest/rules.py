"""What a value must be beyond its type. Each rule returns the value or raises `Wrong`."""

import keyword
import re
import unicodedata

from koco.manifest.problems import Wrong

#: What services and flows may be called: part of URLs, host names and file names.
NAME = r"^[a-z][a-z0-9-]{0,62}$"

#: What an environment variable may be called (POSIX.1-2017, 8.1, and lower case).
ENV_NAME = r"^[A-Za-z_][A-Za-z0-9_]*$"

#: What locks may be called.
LOCK_NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}$"

#: An entrypoint's shape, for editors; `entrypoint` says more.
ENTRYPOINT = r"^[^\W\d]\w*(\.[^\W\d]\w*)*([.:][^\W\d]\w*)(\.[^\W\d]\w*)*$"


def slug(text: str) -> str:
    """Return a text as a service's name: kebab-case ASCII; empty if nothing is left of it."""
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    kebab = re.sub(r"[^a-z0-9]+", "-", ascii_text.lower()).strip("-")
    return re.sub(r"^[0-9-]+", "", kebab)[:63].rstrip("-")


def name(text: str) -> str:
    """Check a service's or a flow's name."""
    if re.fullmatch(NAME[1:-1], text):
        return text
    near = slug(text)
    raise Wrong(
        f"{text!r} is no name: lower-case letters, digits and '-', beginning with a letter, "
        "at most 63",
        f"for example {near!r}" if near else None,
    )


def entrypoint(text: str) -> str:
    """Check an entrypoint: `module:object` or `module.object`, dotted identifiers."""
    module, colon, obj = text.partition(":")
    if "/" in text or "\\" in text or module.endswith(".py") or module.startswith("."):
        raise Wrong(f"{text!r} is a file's path, no module:object", _as_module(module, obj))
    parts = [*module.split("."), *(obj.split(".") if colon else ())]
    if bad := next((part for part in parts if not _is_identifier(part)), None):
        raise Wrong(f"{text!r} is no module:object: {bad!r} is no Python name")
    if "" in parts or len(parts) < 2:
        raise Wrong(f"{text!r} is no module:object", f"for example {(module or 'app')}:run")
    return text


def _is_identifier(part: str) -> bool:
    # An empty part is reported otherwise: there is nothing to quote.
    return part == "" or (part.isidentifier() and not keyword.iskeyword(part))


def _as_module(path: str, obj: str) -> str:
    module = re.sub(r"\.py$", "", path.replace("\\", "/"))
    module = re.sub(r"[/.]+", ".", module).strip(".")
    return f"did you mean {module}:{obj or 'function'}?"


def lock_name(text: str) -> str:
    """Check a lock's name: part of URLs, and what a flow calls it."""
    if re.fullmatch(LOCK_NAME[1:-1], text):
        return text
    raise Wrong(f"{text!r} cannot name a lock: letters, digits, '_', '.' and '-', at most 63")


def requirement(text: str) -> str:
    """Check a dependency: a PEP 508 requirement."""
    from packaging.requirements import InvalidRequirement, Requirement

    if text.startswith("-"):
        raise Wrong(f"{text!r} is an option of pip, no requirement", "list each package by name")
    try:
        Requirement(text)
    except InvalidRequirement as exc:
        reason = str(exc).splitlines()[0]
        raise Wrong(f"{text!r} is no requirement: {reason}", 'for example "six>=1.16"') from exc
    return text


def env_name(text: str) -> str:
    """Check an environment variable's name."""
    if re.fullmatch(ENV_NAME[1:-1], text):
        return text
    raise Wrong(
        f"{text!r} cannot be an environment variable: letters, digits and '_' only, "
        "and no digit first"
    )


def env_value(text: str) -> str:
    """Check an environment variable's value."""
    if "\0" in text:
        raise Wrong("an environment variable cannot hold a NUL character")
    return text


def pattern(text: str) -> str:
    """Check a pattern of files to ship: `.gitignore`'s syntax, inside the project."""
    from pathspec import GitIgnoreSpec

    if ".." in text.lstrip("!").split("/"):
        raise Wrong(f"{text!r} leaves the project: only its own files can be shipped")
    try:
        spec = GitIgnoreSpec.from_lines([text])
    except ValueError as exc:
        raise Wrong(f"{text!r} is no pattern: {str(exc).splitlines()[0]}") from exc
    if not any(rule.include is not None for rule in spec.patterns):
        raise Wrong(f"{text!r} matches nothing", 'for example "**" or "data/*.csv"')
    return text
