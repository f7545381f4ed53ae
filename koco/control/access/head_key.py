"""Proof that a request comes from the user of the head's machine: a key in a file of that user.

Any code in the cluster can call the control plane's actor. A request that makes somebody an admin,
or changes an operator's settings, is carried out only if it is signed with this key. `koco up`
signs on the head's machine, and so does the job of `koco up --ray`, which runs there.

The key only proves the user of the operating system: services' code that runs on the head runs as
the same user and can read the file as well. docs/security.md describes the consequences.
"""

import itertools
import os
import secrets
from pathlib import Path
from typing import Any

import msgspec

from koco.errors import KocoError, NotAllowedError, UnauthorizedError
from koco.sdk.endpoint import signing

#: The file's name in the data directory.
FILE = "head.key"
#: The name in the audit log of requests with this proof; no key or user can have it.
HEAD = "the head's user"
#: The name in the audit log of requests without proof.
SOMEBODY = "code in the cluster"

_BYTES = 32


class Signed(msgspec.Struct, frozen=True):
    """A signed request: `admit` or `configure`, with its arguments."""

    action: str
    arguments: bytes
    signature: dict[str, str]


class HeadKey:
    """The key of one data directory, as its control plane sees it."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / FILE
        self._verifier: signing.Verifier | None = None

    def ensure(self) -> None:
        """Create the file if it is missing."""
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            with os.fdopen(os.open(self._path, flags, 0o600), "wb") as file:
                file.write(secrets.token_bytes(_BYTES))
        except FileExistsError:
            pass

    def open_request(self, blob: bytes) -> tuple[str, dict[str, Any]]:
        """Return the action and the arguments of a signed request.

        Raises:
            NotAllowedError: it was not signed with this key, is too old, or was used before.
        """
        key = _read(self._path)
        if self._verifier is None or self._verifier.key != key:
            self._verifier = signing.Verifier(key)
        try:
            request = msgspec.msgpack.decode(blob, type=Signed)
            claim = self._verifier.verify("POST", request.action, request.signature)
            if claim.digest != signing.digest_of(request.arguments):
                raise UnauthorizedError("the arguments are not those that were signed")
            return request.action, msgspec.msgpack.decode(request.arguments)
        except (UnauthorizedError, msgspec.DecodeError, TypeError, ValueError) as exc:
            raise refusal() from exc


def sign_request(data_dir: str, action: str, **arguments: Any) -> bytes:
    """Return a signed request for the control plane; called on the head.

    Raises:
        KocoError: the key cannot be read.
    """
    body = msgspec.msgpack.encode(arguments)
    key = _read(Path(data_dir) / FILE)
    return msgspec.msgpack.encode(
        Signed(action, body, signing.sign(key, "POST", action, body=body))
    )


def setting_names(values: Any) -> str:
    """Return the names of the requested settings for the audit log.

    They are shortened, because the request is unproven and may contain anything.
    """
    names = itertools.islice(values, 20) if isinstance(values, dict) else ()
    shown = " ".join(str(name)[:200] for name in names)[:200]
    return shown.encode(errors="backslashreplace").decode()


def refusal() -> NotAllowedError:
    """Return the error for a request without proof."""
    return NotAllowedError(
        "only the user of the head's machine may do this",
        hint="`koco up` there, or `koco up --ray` with Ray's token",
    )


def _read(path: Path) -> bytes:
    try:
        key = path.read_bytes()
    except OSError as exc:
        raise KocoError(
            f"cannot read {path}: {exc.strerror}",
            hint="run `koco up` on the head's machine, as the user that runs Ray there",
        ) from exc
    if len(key) != _BYTES:
        raise KocoError(f"{path} is damaged", hint="remove it and restart the control plane")
    return key
