"""Keys and tokens as text: create them, find them in any text, and mask them."""

import re

#: The prefixes of keys, session tokens, tokens for a flow's own files, and tokens for the secrets
#: of a release's processes. With them, scanners of code and logs find the secrets.
KEY, SESSION, FLOW, RELEASE = "koco_", "kocos_", "kocof_", "kocor_"

#: Shown in place of a value that must not be seen.
MASK = "********"

#: A regular expression for keys, for such scanners.
PATTERN = r"koco_[A-Za-z0-9_-]{43}"

#: A key or token anywhere in a text.
_ANY = re.compile(r"koco[a-z]?_[\w~-]{40,}")

_MASKED_FROM = len(KEY) + 4


def new(prefix: str = KEY) -> str:
    """Return a new key or token: 256 random bits, with a prefix that secret scanners know."""
    import secrets

    return f"{prefix}{secrets.token_urlsafe(32)}"


def is_key(text: str) -> bool:
    """Return whether a text is a key as `new` makes them."""
    return re.fullmatch(PATTERN, text) is not None


def digest(token: str) -> bytes:
    """Return a token's SHA-256, which is stored instead. It needs no salt: it is random enough."""
    import hashlib

    return hashlib.sha256(token.encode()).digest()


def mask(token: str) -> str:
    """Return a token that is safe to show: enough to identify it, not enough to use it."""
    return f"{token[:_MASKED_FROM]}…" if len(token) > 2 * _MASKED_FROM else "…" if token else ""


def mask_all(text: str) -> str:
    """Return a text with each key and token in it masked."""
    return _ANY.sub(lambda found: mask(found[0]), text)


def are_in(text: str) -> bool:
    """Return whether a text contains a key or token."""
    # Checked first because it takes a tenth of the time in a long text.
    return "koco" in text and _ANY.search(text) is not None
