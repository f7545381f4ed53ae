"""The secrets and signatures of Standard Webhooks 1.0."""

import base64
import binascii
import hashlib
import hmac
import secrets

import msgspec

from koco.errors import UsageError

PREFIX = "whsec_"
#: The smallest and the largest secret that the standard allows, and the size of a new one (bytes).
_LEAST, _MOST, _NEW = 24, 64, 32


class Secrets(msgspec.Struct, frozen=True):
    """A webhook's secrets, which the store keeps encrypted. Those that it has not are empty."""

    secret: str = ""
    #: The secret before the last rotation.
    former: str = ""
    #: Additional headers of each message, such as `Authorization`.
    headers: dict[str, str] = {}


def new_secret() -> str:
    """Return a new secret."""
    return PREFIX + base64.b64encode(secrets.token_bytes(_NEW)).decode()


def check_secret(text: str) -> str:
    """Return a secret that somebody has chosen.

    Raises:
        UsageError: it is not one of Standard Webhooks.
    """
    try:
        size = len(_key(text))
    except (ValueError, binascii.Error):
        size = 0
    if not text.startswith(PREFIX) or not _LEAST <= size <= _MOST:
        raise UsageError(
            "that is not a webhook's secret",
            hint=f"it is {PREFIX} and the base64 of {_LEAST} to {_MOST} random bytes",
        )
    return text


def sign(keys: list[str], *, message: str, timestamp: int, body: bytes) -> str:
    """Return the header `webhook-signature`: a signature with each key."""
    signed = f"{message}.{timestamp}.".encode() + body
    macs = (hmac.digest(_key(key), signed, hashlib.sha256) for key in keys)
    return " ".join(f"v1,{base64.b64encode(mac).decode()}" for mac in macs)


def _key(secret: str) -> bytes:
    return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
