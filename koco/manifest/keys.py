"""Literals in a manifest that look like keys: Ray's dashboard and the store would show them."""

import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from koco.manifest.problems import KeyPath, Problem

#: What keys begin with, by whose they are. What is repeated begins where such a run does: if it
#: was looked for within one, too, a long text would take the square of its length.
_KINDS = {
    "an AWS access key": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "an Anthropic key": r"\bsk-ant-[\w-]{20,}",
    "an OpenAI key": r"\bsk-(?:proj-|svcacct-)?[\w-]{20,}",
    "a GitHub token": r"\b(?:gh[oprsu]_[A-Za-z0-9]{30,}|github_pat_\w{30,})",
    "a GitLab token": r"\bglpat-[\w-]{20,}",
    "a Slack token": r"\bxox[abeoprs]-[\w-]{10,}",
    "a Google API key": r"\bAIza[\w-]{35}",
    "a Stripe key": r"\b[rs]k_(?:live|test)_[A-Za-z0-9]{16,}",
    "a Hugging Face token": r"\bhf_[A-Za-z0-9]{30,}",
    "a key of koco's": r"\bkoco_[\w-]{40,}",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    "a JSON web token": r"(?<![\w-])eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]+",
    "a password in a URL": r"(?<![a-z0-9+.-])[a-z][a-z0-9+.-]*://[^\s/:@]*:[^\s/@]+@",
}
_KNOWN = {what: re.compile(pattern) for what, pattern in _KINDS.items()}

#: What a variable is called whose value is to be kept.
_NAMED = re.compile(
    r"(?:^|_)(?:API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|SECRET(?:_?KEY)?|TOKEN|PASSWORD|PASSWD|PWD"
    r"|CREDENTIALS?)$",
    re.IGNORECASE,
)
#: Values that a variable of such a name may have without being one: paths, URLs, sizes, and
#: what is filled in later.
_HARMLESS = re.compile(
    r"[./~].*|\$\{.*|[a-z]+://[^@]*|\d{1,6}|true|false|none|null|", re.IGNORECASE
)

#: Text without a space that is as long, and as varied (bits for each character), is random.
_RANDOM = re.compile(r"[A-Za-z0-9+/_=-]{24,}")
_RANDOM_BITS = 4.2


def kind(name: str, value: str) -> str | None:
    """Return what kind of key a variable's value looks like, or None."""
    if found := _known(value):
        return found
    if _NAMED.search(name) and len(value) >= 8 and not _HARMLESS.fullmatch(value):
        return "a password or key"
    return "a random key" if _is_random(value) else None


def find(manifest: dict[str, Any]) -> list[Problem]:
    """Return a problem for each literal in a manifest's data that looks like a key."""
    return [
        Problem(path, f"this looks like {what}, which Ray's dashboard shows", hint)
        for path, what, hint in _found(manifest)
    ]


def masked(path: KeyPath, value: Any) -> Any:
    """Return a value of a manifest as a plan shows it: what looks like a key is not shown."""
    name = str(path[-1]) if path[:2] == ("runtime", "env") else ""
    if isinstance(value, str):
        return "********" if (kind(name, value) if name else _known(value)) else value
    if isinstance(value, dict):
        return {key: masked((*path, key), each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [masked((*path, at), each) for at, each in enumerate(value)]
    return value


def _found(manifest: dict[str, Any]) -> Iterator[tuple[KeyPath, str, str]]:
    for name, value in (manifest.get("runtime") or {}).get("env", {}).items():
        if what := kind(name, value):
            hint = f"`koco secret set {name}`, and `secrets: [{name}]` in place of this"
            yield ("runtime", "env", name), what, hint
    for index, flow in enumerate(manifest.get("flows") or ()):
        for at, element in enumerate(flow.get("inputs") or ()):
            value = element.get("value")
            if isinstance(value, str) and (what := _known(value)):
                hint = "everybody who may launch the flow sees it; make it a secret"
                yield ("flows", index, "inputs", at, "value"), what, hint


def _known(value: str) -> str | None:
    return next((what for what, pattern in _KNOWN.items() if pattern.search(value)), None)


def _is_random(value: str) -> bool:
    """Say whether a value is random text: of both cases and digits, none of them often."""
    if not _RANDOM.fullmatch(value) or value.count("/") > 2:
        return False
    cases = (str.isupper, str.islower, str.isdigit)
    if not all(any(case(each) for each in value) for case in cases):
        return False  # a hash, an identifier, words: no secret by themselves
    counts = Counter(value).values()
    bits = -sum(count / len(value) * math.log2(count / len(value)) for count in counts)
    return bits >= _RANDOM_BITS
