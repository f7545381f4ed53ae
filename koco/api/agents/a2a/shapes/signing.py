"""Sign agent cards: JWS (RFC 7515) over the card in JCS (RFC 8785), as section 8.4 says.

With an EC key on P-256 (ES256) or an Ed25519 key (EdDSA). The public key is at the URL that the
signature names (`jku`), under an id that is its thumbprint (RFC 7638).
"""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from koco.api.agents.a2a.shapes.messages import Json

#: The length of each of the two numbers in an ES256 signature (bytes).
_NUMBER = 32
#: Beyond these, JavaScript, and so JCS, writes a number with an exponent.
_LARGE, _SMALL = 1e21, 1e-6


class Signer:
    """Signs cards with the private key in a PEM file."""

    def __init__(self, key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> None:
        self._key = key
        members = _public(key)
        thumb = hashlib.sha256(canonical(members).encode()).digest()
        #: The public key, as a member of a JSON Web Key Set.
        self.public: Json = {**members, "kid": _base64(thumb), "use": "sig"}
        self._algorithm = "ES256" if isinstance(key, ec.EllipticCurvePrivateKey) else "EdDSA"

    @classmethod
    def at(cls, path: str) -> "Signer":
        """Return the signer with the key in a file.

        Raises:
            OSError, ValueError: it cannot be read, or has no key of these kinds.
        """
        try:
            key = load_pem_private_key(Path(path).read_bytes(), password=None)
        except (TypeError, UnsupportedAlgorithm) as exc:
            raise ValueError(str(exc)) from exc
        if isinstance(key, ed25519.Ed25519PrivateKey):
            return cls(key)
        if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
            return cls(key)
        raise ValueError("the key is neither an Ed25519 key nor an EC key on P-256")

    def sign(self, card: Json, *, keys_url: str) -> Json:
        """Return a card with its signature. `keys_url` is where `public` can be had.

        Empty values are left out of it. Verifiers leave them out before they check, and do not
        agree whether those in free values, such as a schema's, count as well.
        """
        card = _without_empty(card)
        kid = self.public["kid"]
        header = {"alg": self._algorithm, "typ": "JOSE", "kid": kid, "jku": keys_url}
        protected = _base64(json.dumps(header, separators=(",", ":")).encode())
        payload = _base64(canonical(card).encode())
        signature = self._signature(f"{protected}.{payload}".encode())
        signed = {"protected": protected, "signature": _base64(signature)}
        return {**card, "signatures": [signed]}

    def _signature(self, data: bytes) -> bytes:
        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            return self._key.sign(data)
        numbers = decode_dss_signature(self._key.sign(data, ec.ECDSA(hashes.SHA256())))
        return b"".join(each.to_bytes(_NUMBER, "big") for each in numbers)


def canonical(value: Any) -> str:
    """Return JSON in its canonical form (JCS)."""
    if isinstance(value, dict):
        # By UTF-16 code units, which differs from Python's order beyond the first 65,536 signs.
        names = sorted(value, key=lambda name: name.encode("utf-16-be"))
        members = (f"{json.dumps(n, ensure_ascii=False)}:{canonical(value[n])}" for n in names)
        return f"{{{','.join(members)}}}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(canonical, value))}]"
    if isinstance(value, float):
        return _number(value)
    return json.dumps(value, ensure_ascii=False)


def _number(value: float) -> str:
    """Return a number as JavaScript writes it."""
    if value.is_integer() and abs(value) < _LARGE:
        return str(int(value))
    if _SMALL <= abs(value) < _LARGE:
        text = repr(value)
        return f"{value:.20f}".rstrip("0") if "e" in text else text
    mantissa, _, exponent = repr(value).partition("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent):+d}"


def _without_empty(value: Any) -> Any:
    if isinstance(value, dict):
        members = {name: _without_empty(each) for name, each in value.items()}
        return {name: each for name, each in members.items() if not _is_empty(each)}
    if isinstance(value, list):
        return [each for each in map(_without_empty, value) if not _is_empty(each)]
    return value


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, str | list | dict) and not value)


def _public(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> Json:
    """Return the public key's members that identify it."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return {"crv": "Ed25519", "kty": "OKP", "x": _base64(raw)}
    numbers = key.public_key().public_numbers()
    x, y = (_base64(each.to_bytes(_NUMBER, "big")) for each in (numbers.x, numbers.y))
    return {"crv": "P-256", "kty": "EC", "x": x, "y": y}


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
