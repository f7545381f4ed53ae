"""Keys and tokens as texts: how they are made, known again wherever they stand, and masked."""

import re

#: How keys begin, tokens of sessions, those by which flows reach their own files, and those by
#: which a release's processes get its secrets, so that scanners of code and logs find them.
KEY, SESSION, FLOW, RELEASE = "koco_", "kocos_", "kocof_", "kocor_"

#: What a key looks like: a regular expression, for such scanners.
PATTERN = r"koco_[A-Za-z0-9_-]{43}"

#: One of those, or a token of a flow's, wherever it stands in a text.
_ANY = re.compile(r"koco[a-z]?_[\w-]{40,}")

_MASKED_FROM = len(KEY) + 4


def new(prefix: str = KEY) -> str:
    """Return a new one: 256 random bits, with a prefix that secret scanners know."""
    import secrets

    return f"{prefix}{secrets.token_urlsafe(32)}"


def digest(token: str) -> bytes:
    """Return its SHA-256, which is what is kept of it: so random, it needs no salt."""
    import hashlib

    return hashlib.sha256(token.encode()).digest()


def mask(token: str) -> str:
    """Return one as it may be shown: enough to tell it from another, not to use it."""
    return f"{token[:_MASKED_FROM]}…" if len(token) > 2 * _MASKED_FROM else "…" if token else ""


def mask_all(text: str) -> str:
    """Return a text with each in it masked."""
    return _ANY.sub(lambda found: mask(found[0]), text)


def are_in(text: str) -> bool:
    """Say whether there is one in a text."""
    # Looked for first: in a long text that takes a tenth of the time.
    return "koco" in text and _ANY.search(text) is not None
