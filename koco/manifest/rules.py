"""What a value must be beyond its type. Each rule returns the value or raises `Wrong`."""

import keyword
import math
import re
import unicodedata
from typing import Any

from koco.manifest.problems import Wrong

#: What services and flows may be called: part of URLs, host names and file names.
NAME = r"^[a-z][a-z0-9-]{0,62}$"

#: What an environment variable may be called (POSIX.1-2017, 8.1, and lower case).
ENV_NAME = r"^[A-Za-z_][A-Za-z0-9_]*$"

#: What locks may be called.
LOCK_NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}$"

#: A label's name or value, as Kubernetes and Ray have them.
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9_.-]{0,61}[a-zA-Z0-9])?"
_LABEL_PREFIX = rf"(?:{_LABEL})(?:\.(?:{_LABEL}))*"
_LABEL_WANTED = rf"!?(?:{_LABEL}|in\({_LABEL}(?:, ?{_LABEL})*\))"

#: What else names a resource, and what it is called here.
_RESOURCES = {
    **{"num_cpus": "CPU", "cpu": "CPU", "cpus": "CPU", "num_gpus": "GPU", "gpu": "GPU"},
    **{"gpus": "GPU", "memory": "memory_mb"},
}

#: A path of an endpoint that may be public, for editors; `public_path` says more.
PUBLIC_PATH = r"^/[^*?#%{}\\\s]+(/\*)?$"

#: How deep values may be nested that no key of a manifest describes.
_DEEPEST = 50

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


def secret_name(text: str) -> str:
    """Check a secret's name: it becomes an environment variable that koco and Ray do not use."""
    if text.upper().startswith(("KOCO_", "RAY_")):
        raise Wrong(f"{text!r} cannot name a secret: such variables are koco's and Ray's own")
    if re.fullmatch(ENV_NAME[1:-1], text) and len(text) <= 255:
        return text
    raise Wrong(
        f"{text!r} cannot name a secret: letters, digits and '_' only, no digit first, at most 255"
    )


def inner_path(text: str) -> str:
    """Check the path of a file that is shipped, relative to the manifest's folder."""
    parts = text.split("/")
    if "\\" in text or "\0" in text or ".." in parts or text.startswith("/") or not parts[-1]:
        raise Wrong(
            f"{text!r} is no file of the service's folder",
            "relative to the manifest, with '/', and without '..'",
        )
    return text.removeprefix("./")


def root(text: str) -> str:
    """Check the path of the folder that is shipped, relative to the manifest's own."""
    if "\\" in text or "\0" in text or text.startswith("/") or not text.strip():
        raise Wrong(
            f"{text!r} is no folder relative to the manifest",
            "such as `src`, or `..` for the folder that the manifest's own is in",
        )
    return text


def public_path(text: str) -> str:
    """Check a path of an endpoint that is to be public: as it is asked for, or all below it."""
    whole = text.removesuffix("/*")
    if not whole.strip("/") and text.startswith("/"):
        raise Wrong(
            f"{text!r} would open the flows of `app` to the public, which need somebody",
            "name the routes that anybody may ask",
        )
    segments = whole.split("/")
    is_odd = {"", ".", ".."} & set(segments[1:-1]) or segments[-1] in (".", "..")
    if is_odd or not re.fullmatch(PUBLIC_PATH[1:-1], text) or segments[1] == "_koco":
        near = "/" + re.sub(r"[*?#%{}].*", "", text).strip("/ ")
        raise Wrong(
            f"{text!r} cannot be public: a path as it is asked for, or one with '/*' at its end",
            f"for example {near!r}" if near != text and near.strip("/") else None,
        )
    return text


def resource(text: str) -> str:
    """Check a resource's name: one of Ray's, or one that nodes were started with."""
    if known := _RESOURCES.get(text.casefold() if text != "memory_mb" else ""):
        if text != known:
            raise Wrong(f"a runner cannot ask for {text!r}", f"did you mean {known!r}?")
        return text
    if text == "object_store_memory" or not text.strip():
        raise Wrong(f"a runner cannot ask for {text!r}", "CPU, GPU, memory_mb, or a custom one")
    return text


def amount(number: float) -> float:
    """Check how much of a resource is asked for: Ray counts ten-thousandths."""
    if number < 0.0001:
        raise Wrong(f"must be at least 0.0001, got {number:g}")
    return number


def label(text: str) -> str:
    """Check a label's name: Kubernetes' syntax, which Ray has as well."""
    prefix, slash, name = text.rpartition("/")
    is_prefix = not slash or (len(prefix) <= 253 and re.fullmatch(_LABEL_PREFIX, prefix))
    if is_prefix and re.fullmatch(_LABEL, name):
        return text
    raise Wrong(
        f"{text!r} cannot name a label: letters, digits, '-', '_' and '.', at most 63, "
        "beginning and ending with a letter or digit",
        'a prefix may stand before it, as in "ray.io/accelerator-type"',
    )


def label_wanted(text: str) -> str:
    """Check what a label must be: Ray's label selectors."""
    if re.fullmatch(_LABEL_WANTED, text):
        return text
    raise Wrong(f"{text!r} selects no label's value", '"a", "!a", "in(a, b)" or "!in(a, b)"')


def plain(values: dict[str, Any]) -> dict[str, Any]:
    """Check values that no key describes: JSON has to hold them, unchanged."""
    level: list[Any] = [values]
    for _ in range(_DEEPEST):
        for each in level:
            if isinstance(each, float) and not math.isfinite(each):
                raise Wrong(f"must hold finite numbers, got {each}", "JSON has no other ones")
        level = [below for each in level for below in _below(each)]
    if level:
        raise Wrong(f"is nested more than {_DEEPEST} deep")
    return values


def _below(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return list(value) if isinstance(value, list | tuple) else []


#: More is no path with stars in it, and takes long to compile (characters).
_LONGEST_PATTERN = 1000


def pattern(text: str) -> str:
    """Check a pattern of files to ship: `.gitignore`'s syntax, inside the project."""
    from pathspec import GitIgnoreSpec

    if len(text) > _LONGEST_PATTERN:
        raise Wrong(f"it has {len(text)} characters; a pattern has {_LONGEST_PATTERN} at most")
    if ".." in text.lstrip("!").split("/"):
        raise Wrong(f"{text!r} leaves the project: only its own files can be shipped")
    try:
        spec = GitIgnoreSpec.from_lines([text])
    except ValueError as exc:
        raise Wrong(f"{text!r} is no pattern: {str(exc).splitlines()[0]}") from exc
    if not any(rule.include is not None for rule in spec.patterns):
        raise Wrong(f"{text!r} matches nothing", 'for example "**" or "data/*.csv"')
    return text


def included(text: str) -> str:
    """Check a pattern of files to ship although they look like secrets: it has to name some."""
    if not re.search(r"\w", pattern(text)):
        raise Wrong(f"{text!r} names no file", 'for example ".env" or "certs/*.pem"')
    return text
