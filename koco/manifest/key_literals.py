"""Detection of literal keys in a manifest, because Ray's dashboard and the store show them."""

import math
import re
from collections import Counter
from typing import Any

from koco.manifest.problems import KeyPath, Problem

#: The patterns of well-known keys. Each repetition is anchored at the start of its run of
#: characters, because otherwise the time would grow with the square of a text's length.
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
    "a Slack webhook": r"\bhooks\.slack\.com/(?:services|workflows|triggers)/\S+",
    "a Discord webhook": r"\bdiscord(?:app)?\.com/api/webhooks/\d+/[\w-]+",
    "a Telegram bot's token": r"(?<!\d)\d{8,10}:[\w-]{35}(?![\w-])",
    "a SendGrid key": r"\bSG\.[\w-]{16,64}\.[\w-]{16,64}",
    "a password in a text": r"(?i:(?<![a-z0-9])(?:password|passwd|pwd|access_token|api_?key"
    r"|account_?key|shared_?access_?key|client_?secret)=(?![$<{*])[^\s&;'\"]{6,})",
    "a login for HTTP": r"\b(?:Basic|Bearer)\s{1,4}[\w.~+/=-]{12,}",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    "a JSON web token": r"(?<![\w-])eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]+",
    "a password in a URL": r"(?<![a-z0-9+.-])[a-z][a-z0-9+.-]*://[^\s/:@]*:[^\s/@]+@",
}
_KNOWN = {kind: re.compile(pattern) for kind, pattern in _KINDS.items()}

#: The names of variables that usually hold a secret.
_SECRET_NAME = re.compile(
    r"(?:^|_)(?:API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|SECRET(?:_?KEY)?|TOKEN|PASSWORD|PASSWD|PASS|PWD|PW"
    r"|PASSPHRASE|CREDENTIALS?|COOKIE)$",
    re.IGNORECASE,
)
#: Values of these variables that are not secrets: paths, URLs, numbers, and `${NAME}`.
_HARMLESS = re.compile(
    r"[./~].*|\$\{.*|[a-z]+://[^@]*|\d{1,6}|true|false|none|null|", re.IGNORECASE
)

#: A hash or a commit, too, so the variable's name must say that it is a key.
_HEX = re.compile(r"[0-9a-fA-F]{32,}")

#: Text of this form, with at least this entropy (bits for each character), counts as random.
_RANDOM = re.compile(r"[A-Za-z0-9+/_=-]{24,}")
_RANDOM_BITS = 4.2


def classify(name: str, value: str) -> str | None:
    """Return the kind of key that a variable's value looks like, or None."""
    if found := _classify_known(value):
        return found
    if names_secret(name) and len(value) >= 8 and not _HARMLESS.fullmatch(value):
        return "a password or key"
    if name.upper().endswith("KEY") and _HEX.fullmatch(value):
        return "a random key"
    return "a random key" if _is_random(value) else None


def names_secret(name: str) -> bool:
    """Return whether a variable's name says that its value is a secret."""
    return bool(_SECRET_NAME.search(name))


def find_problems(manifest: dict[str, Any]) -> list[Problem]:
    """Return a problem for each literal in a manifest's data that looks like a key."""
    found: list[tuple[KeyPath, str, str]] = []
    for name, value in (manifest.get("runtime") or {}).get("env", {}).items():
        if kind := classify(name, value):
            hint = f"`koco secret set {name}`, and `secrets: [{name}]` in place of this"
            found.append((("runtime", "env", name), kind, hint))
    for index, flow in enumerate(manifest.get("flows") or ()):
        for at, element in enumerate(flow.get("inputs") or ()):
            value = element.get("value")
            if isinstance(value, str) and (kind := _classify_known(value)):
                hint = "everyone who can launch the flow sees it; make it a secret"
                found.append((("flows", index, "inputs", at, "value"), kind, hint))
    message = "this looks like {}, which Ray's dashboard shows"
    return [Problem(path, message.format(kind), hint) for path, kind, hint in found]


def mask(path: KeyPath, value: Any) -> Any:
    """Return a value of a manifest for a plan, with everything masked that looks like a key."""
    name = str(path[-1]) if path[:2] == ("runtime", "env") else ""
    if isinstance(value, str):
        return "********" if (classify(name, value) if name else _classify_known(value)) else value
    if isinstance(value, dict):
        return {key: mask((*path, key), each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [mask((*path, at), each) for at, each in enumerate(value)]
    return value


def mask_text(text: str) -> str:
    """Return a text with everything masked that has the form of a well-known key."""
    for pattern in _KNOWN.values():
        text = pattern.sub("********", text)
    return text


def _classify_known(value: str) -> str | None:
    return next((kind for kind, pattern in _KNOWN.items() if pattern.search(value)), None)


def _is_random(value: str) -> bool:
    """Return whether a value looks random: both cases and digits, and no frequent character."""
    if not _RANDOM.fullmatch(value) or value.count("/") > 2:
        return False
    cases = (str.isupper, str.islower, str.isdigit)
    if not all(any(case(each) for each in value) for case in cases):
        return False  # a hash, an identifier or words
    counts = Counter(value).values()
    bits = -sum(count / len(value) * math.log2(count / len(value)) for count in counts)
    return bits >= _RANDOM_BITS
