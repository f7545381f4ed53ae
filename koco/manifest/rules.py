"""The rules for a manifest's values, in addition to their types.

Each rule returns the value or raises `InvalidValueError`.
"""

import hashlib
import keyword
import math
import re
import unicodedata
from collections.abc import Callable
from typing import Any

from koco.manifest.problems import InvalidValueError
from koco.time_text import read_duration

#: Executions with this time to keep them are never removed by it.
FOREVER = "forever"

#: The names of services and flows, which are part of URLs, host names and file names.
NAME = r"^[a-z][a-z0-9-]{0,62}$"

#: A service's name, and of one that belongs to a person: `hello~ada` (see `koco dev`).
SERVICE = r"^[a-z][a-z0-9-]{0,62}(~[a-z0-9][a-z0-9-]{0,62})?$"

#: The names of environment variables (POSIX.1-2017, 8.1, and lower case).
ENV_NAME = r"^[A-Za-z_][A-Za-z0-9_]*$"

#: The names of locks.
LOCK_NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}$"

#: A label's name or value, in the syntax of Kubernetes and Ray.
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9_.-]{0,61}[a-zA-Z0-9])?"
_LABEL_PREFIX = rf"(?:{_LABEL})(?:\.(?:{_LABEL}))*"
_LABEL_WANTED = rf"!?(?:{_LABEL}|in\({_LABEL}(?:, ?{_LABEL})*\))"

#: Other names of resources, and the manifest's name of each.
_RESOURCES = {
    **{"num_cpus": "CPU", "cpu": "CPU", "cpus": "CPU", "num_gpus": "GPU", "gpu": "GPU"},
    **{"gpus": "GPU", "memory": "memory_mb"},
}

#: The shape of a public path of an endpoint, for editors. `check_public_path` checks more.
PUBLIC_PATH = r"^/[^*?#%{}\\\s]+(/\*)?$"

#: The deepest nesting of free values, such as a schedule's inputs.
_DEEPEST = 50

#: The shape of a pattern of flows, for editors. `check_flow_pattern` checks the same.
FLOW_PATTERN = r"^[a-z*][a-z0-9*~-]*/[a-z*][a-z0-9*-]*$"

#: The shape of an entrypoint, for editors. `check_entrypoint` checks more.
ENTRYPOINT = r"^[^\W\d]\w*(\.[^\W\d]\w*)*([.:][^\W\d]\w*)(\.[^\W\d]\w*)*$"


def slug(text: str) -> str:
    """Return a text as a service's name: kebab-case ASCII, empty if no character is left."""
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    kebab = re.sub(r"[^a-z0-9]+", "-", ascii_text.lower()).strip("-")
    return re.sub(r"^[0-9-]+", "", kebab)[:63].rstrip("-")


def owner_name(person: str) -> str:
    """Return a person's name as it stands in the name of a service of their own.

    No two people have the same: a name that has other characters ends with its hash.
    """
    plain = re.sub(r"[^a-z0-9]+", "-", person.lower()).strip("-")
    if not person or (plain == person and len(plain) <= 63):
        return plain
    # Plain names never have two hyphens in a row.
    digest = hashlib.sha256(person.encode("utf-8", "surrogatepass")).hexdigest()[:10]
    return f"{plain[:50].rstrip('-') or 'x'}--{digest}"


def owner_of(service: str) -> str:
    """Return the name of the person whose own a service is; empty if it is nobody's."""
    return service.partition("~")[2]


def check_service_name(text: str) -> str:
    """Check a service's name, which may end with the person whose own it is."""
    return text if re.fullmatch(SERVICE, text) else check_name(text)


def check_name(text: str) -> str:
    """Check a flow's name, or that of a service."""
    if re.fullmatch(NAME[1:-1], text):
        return text
    near = slug(text)
    raise InvalidValueError(
        f"{text!r} is not a valid name: lower-case letters, digits and '-', beginning with a "
        "letter, at most 63",
        f"for example {near!r}" if near else None,
    )


def check_entrypoint(text: str) -> str:
    """Check an entrypoint: `module:object` or `module.object`, dotted identifiers."""
    module, colon, obj = text.partition(":")
    if "/" in text or "\\" in text or module.endswith(".py") or module.startswith("."):
        near = re.sub(r"[/.]+", ".", re.sub(r"\.py$", "", module.replace("\\", "/"))).strip(".")
        raise InvalidValueError(
            f"{text!r} is a file path, not module:object",
            f"did you mean {near}:{obj or 'function'}?",
        )
    parts = [*module.split("."), *(obj.split(".") if colon else ())]
    # An empty part has its own message, because there is nothing to quote.
    bad = [each for each in parts if keyword.iskeyword(each) or not (each or "_").isidentifier()]
    if bad:
        raise InvalidValueError(f"{text!r} is not module:object: {bad[0]!r} is not a Python name")
    if "" in parts or len(parts) < 2:
        raise InvalidValueError(
            f"{text!r} is not module:object", f"for example {(module or 'app')}:run"
        )
    return text


def _matching(pattern: str, rule: str, hint: str | None = None) -> Callable[[str], str]:
    """Return the check that a text matches a pattern. The message is the text and the rule."""

    def check(text: str) -> str:
        if re.fullmatch(pattern, text):
            return text
        raise InvalidValueError(f"{text!r} {rule}", hint)

    return check


#: Checks a lock's name, which is part of URLs.
check_lock_name = _matching(
    LOCK_NAME, "cannot name a lock: letters, digits, '_', '.' and '-', at most 63"
)

#: Checks a pattern of flows that a service may launch: `service/flow`, where `*` is any text.
check_flow_pattern = _matching(
    FLOW_PATTERN,
    "is not a pattern of flows: service/flow, in lower case, where '*' stands for any text",
    "for example 'publisher/publish', or 'publisher/*' for all flows of a service",
)

#: Checks an environment variable's name.
check_env_name = _matching(
    ENV_NAME, "cannot be an environment variable: only letters, digits and '_', and no digit first"
)

#: Checks a label's selector in Ray's syntax.
check_label_selector = _matching(
    _LABEL_WANTED, "is not a label selector", '"a", "!a", "in(a, b)" or "!in(a, b)"'
)


def check_requirement(text: str) -> str:
    """Check a dependency: a PEP 508 requirement."""
    from packaging.requirements import InvalidRequirement, Requirement

    if text.startswith("-"):
        raise InvalidValueError(
            f"{text!r} is an option of pip, not a package", "list each package by name"
        )
    try:
        Requirement(text)
    except InvalidRequirement as exc:
        reason = str(exc).splitlines()[0]
        message = f"{text!r} is not a requirement: {reason}"
        raise InvalidValueError(message, 'for example "six>=1.16"') from exc
    return text


def check_env_value(text: str) -> str:
    """Check an environment variable's value."""
    if "\0" in text:
        raise InvalidValueError("an environment variable cannot hold a NUL character")
    return text


def check_secret_name(text: str) -> str:
    """Check a secret's name. It becomes an environment variable, but not one of koco's or Ray's."""
    if text.upper().startswith(("KOCO_", "RAY_")):
        raise InvalidValueError(
            f"{text!r} cannot name a secret: koco and Ray use variables with this prefix"
        )
    if re.fullmatch(ENV_NAME[1:-1], text) and len(text) <= 255:
        return text
    raise InvalidValueError(
        f"{text!r} cannot name a secret: only letters, digits and '_', no digit first, at most 255"
    )


def check_inner_path(text: str) -> str:
    """Check the path of a file that is shipped, relative to the manifest's folder."""
    parts = text.split("/")
    if "\\" in text or "\0" in text or ".." in parts or text.startswith("/") or not parts[-1]:
        raise InvalidValueError(
            f"{text!r} is not a file of the service's folder",
            "relative to the manifest, with '/', and without '..'",
        )
    return text.removeprefix("./")


def check_root(text: str) -> str:
    """Check the path of the shipped folder, relative to the manifest's folder."""
    if "\\" in text or "\0" in text or text.startswith("/") or not text.strip():
        raise InvalidValueError(
            f"{text!r} is not a folder relative to the manifest",
            "for example `src`, or `..` for the parent of the manifest's folder",
        )
    return text


def check_public_path(text: str) -> str:
    """Check a public path of an endpoint: one path, or with `/*` everything below it."""
    whole = text.removesuffix("/*")
    if not whole.strip("/") and text.startswith("/"):
        raise InvalidValueError(
            f"{text!r} would make the flows of `app` public, but launching a flow needs a key",
            "list the routes that need no key",
        )
    segments = whole.split("/")
    is_odd = {"", ".", ".."} & set(segments[1:-1]) or segments[-1] in (".", "..")
    if is_odd or not re.fullmatch(PUBLIC_PATH[1:-1], text) or segments[1] == "_koco":
        near = "/" + re.sub(r"[*?#%{}].*", "", text).strip("/ ")
        raise InvalidValueError(
            f"{text!r} cannot be public: use the path of a request, or one with '/*' at its end",
            f"for example {near!r}" if near != text and near.strip("/") else None,
        )
    return text


def check_resource(text: str) -> str:
    """Check a resource's name: one of Ray's, or a custom one of the nodes."""
    if known := _RESOURCES.get(text.casefold() if text != "memory_mb" else ""):
        if text != known:
            raise InvalidValueError(f"a runner cannot ask for {text!r}", f"did you mean {known!r}?")
        return text
    if text == "object_store_memory" or not text.strip():
        raise InvalidValueError(
            f"a runner cannot ask for {text!r}", "CPU, GPU, memory_mb, or a custom one"
        )
    return text


def check_amount(number: float) -> float:
    """Check the amount of a resource. Ray counts in ten-thousandths."""
    if number < 0.0001:
        raise InvalidValueError(f"must be at least 0.0001, got {number:g}")
    return number


def check_label(text: str) -> str:
    """Check a label's name: the syntax of Kubernetes and Ray."""
    prefix, slash, name = text.rpartition("/")
    is_prefix = not slash or (len(prefix) <= 253 and re.fullmatch(_LABEL_PREFIX, prefix))
    if is_prefix and re.fullmatch(_LABEL, name):
        return text
    raise InvalidValueError(
        f"{text!r} cannot name a label: letters, digits, '-', '_' and '.', at most 63, "
        "beginning and ending with a letter or digit",
        'a prefix may stand before it, as in "ray.io/accelerator-type"',
    )


def check_free_values(values: dict[str, Any]) -> dict[str, Any]:
    """Check free values: JSON must be able to hold them unchanged."""
    level: list[Any] = [values]
    for _ in range(_DEEPEST):
        below: list[Any] = []
        for each in level:
            if isinstance(each, float) and not math.isfinite(each):
                raise InvalidValueError(
                    f"must hold finite numbers, got {each}", "JSON has no others"
                )
            if isinstance(each, dict | list | tuple):
                below += each.values() if isinstance(each, dict) else each
        level = below
    if level:
        raise InvalidValueError(f"is nested more than {_DEEPEST} deep")
    return values


#: The longest pattern of files (characters), because long patterns take long to compile.
_LONGEST_PATTERN = 1000


def check_pattern(text: str) -> str:
    """Check a pattern of files to ship: `.gitignore`'s syntax, inside the project."""
    from pathspec import GitIgnoreSpec

    if len(text) > _LONGEST_PATTERN:
        raise InvalidValueError(
            f"a pattern has at most {_LONGEST_PATTERN} characters, got {len(text)}"
        )
    if ".." in text.lstrip("!").split("/"):
        raise InvalidValueError(f"{text!r} leaves the project: only its own files can be shipped")
    try:
        spec = GitIgnoreSpec.from_lines([text])
    except ValueError as exc:
        raise InvalidValueError(f"{text!r} is not a pattern: {str(exc).splitlines()[0]}") from exc
    if not any(rule.include is not None for rule in spec.patterns):
        raise InvalidValueError(f"{text!r} matches nothing", 'for example "**" or "data/*.csv"')
    return text


def check_include_pattern(text: str) -> str:
    """Check a pattern of secret-looking files to ship. It must name files, not everything."""
    if not re.search(r"\w", check_pattern(text)):
        raise InvalidValueError(f"{text!r} names no file", 'for example ".env" or "certs/*.pem"')
    return text


def check_keep(text: str) -> str:
    """Check how long executions are kept: a duration, or `forever`."""
    if text == FOREVER or read_duration(text):
        return text
    raise InvalidValueError(
        f"{text!r} is not a time to keep executions", f"such as 30d, 12h or {FOREVER}"
    )
