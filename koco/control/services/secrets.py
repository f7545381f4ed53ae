"""Services' secrets, encrypted in the store. The key is in a file next to the store.

The encryption is AES-256-GCM with the secret's name as associated data, so a row that is moved to
another name cannot be decrypted. The store alone reveals nothing, but the data directory reveals
everything. Values leave only through `values_of`, in calls that are visible neither to Ray's
dashboard nor to its GCS.

`cryptography` is imported when it is first needed, because it takes 7 MB.
"""

import base64
import binascii
import os
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from koco.disk_sync import sync
from koco.errors import KocoError, NotAllowedError, NotFoundError, UsageError
from koco.events import line
from koco.manifest import rules
from koco.manifest.problems import InvalidValueError
from koco.sdk.process.secrets import Masks
from koco.store.model import Release, ReleaseFailure, Sealed
from koco.store.store import Store

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

#: The key's file in the data directory.
KEY_FILE = "secrets.key"
#: The size limit of a value (bytes). Each is sent in a separate answer that is small enough for Ray
#: to send directly. Larger ones would go through shared memory, and perhaps through a disk.
VALUE_BYTES = 64 * 1024

_KEY_BITS = 256
_NONCE_BYTES = 12


#: A release: its service and its number.
ReleaseId = tuple[str, int]


class SecretError(KocoError):
    """A secret cannot be read: its key is not there, or not the one that it was sealed with."""

    exit_code = 2
    http_status = 409
    code = "secret_failed"


class _WrongKeyError(Exception):
    """Data was encrypted with another key."""


class KnownSecret(msgspec.Struct, frozen=True):
    """A secret without its value. `trouble` is the reason why it cannot be read, or None."""

    name: str
    updated: str
    by: str
    trouble: str | None


class Box:
    """Encrypts other data in the store with the key of the secrets.

    What it has encrypted begins with a mark. So data from before the service asked for encryption
    stays readable.
    """

    #: No encoding of a step's result begins like this.
    _MARK = b"\x00koco-sealed\x00"

    def __init__(self, key: Callable[[], bytes]) -> None:
        """`key` reads the key, when it is first needed."""
        self._key = key

    @cached_property
    def _cipher(self) -> "AESGCM":
        return _cipher(self._key())

    def seal(self, data: bytes, name: str) -> bytes:
        """Encrypt data under a name."""
        return self._MARK + _seal(self._cipher, data, name)

    def open(self, data: bytes, name: str) -> bytes:
        """Return the data that was encrypted under a name; other data as it is.

        Raises:
            SecretError: it was encrypted with another key, or the key is missing.
        """
        if not data.startswith(self._MARK):
            return data
        try:
            return _open(self._cipher, data[len(self._MARK) :], name)
        except _WrongKeyError:
            raise SecretError(
                f"{name!r} was encrypted with another key than the data directory has",
                hint=f"restore the former {KEY_FILE} from a backup",
            ) from None


class Vault:
    """The secrets of one control plane."""

    def __init__(self, store: Store, data_dir: Path) -> None:
        self._store = store
        self._path = data_dir / KEY_FILE

    async def put(self, name: str, value: str, *, by: str) -> bool:
        """Store a secret, and replace one of the same name. Return True if it is a new one.

        Raises:
            UsageError: The name or the value is not valid for an environment variable.
            SecretError: There are other secrets, and their key is missing or wrong.
        """
        _check(name, value)
        others = [each for each in await self._store.secrets.all() if each.name != name]
        if others:
            # Refuse if the key has changed. With two keys, no single backup could restore all.
            self._open(others[0])
        else:
            self._make_key()
        sealed = _seal(_cipher(self._key()), value.encode(), name)
        row = Sealed(name, sealed, line.timestamp(), by)
        return await self._store.secrets.put(row)

    async def remove(self, name: str) -> None:
        """Remove a secret. Raises NotFoundError if there is none of that name."""
        if not await self._store.secrets.remove(name):
            raise NotFoundError(
                f"there is no secret {name!r}", hint="`koco secret list` shows them"
            )

    async def value(self, name: str) -> str:
        """Return a secret's value.

        Raises:
            NotFoundError: There is no secret of that name.
            SecretError: It cannot be read.
        """
        for each in await self._store.secrets.all():
            if each.name == name:
                return self._open(each)
        raise NotFoundError(f"there is no secret {name!r}", hint=f"`koco secret set {name}`")

    async def releases_in_need(self, running: Iterable[ReleaseId]) -> list[ReleaseId]:
        """Return the releases with secrets that have or may have processes.

        `running` are the releases with runners, whatever their status. If parked executions of a
        release await somebody, its endpoint still has processes.
        """
        found = [
            *await self._store.releases.with_status("live"),
            *await self._store.releases.with_status("starting"),
        ]
        known = {(each.service, each.number) for each in found}
        others = {*running, *await self._store.releases.awaited()} - known
        found += [await self._store.releases.get(service, number) for service, number in others]
        return [(each.service, each.number) for each in found if each.manifest.secrets]

    async def values_of(
        self, service: str, number: int, running: Collection[ReleaseId]
    ) -> dict[str, str]:
        """Return the values of a release's secrets by name, for one of its processes.

        Raises:
            NotAllowedError: The release has ended, so it has no processes.
            NotFoundError: One of its secrets is not set.
            SecretError: One of them cannot be read.
        """
        release = await self._store.releases.get(service, number)
        is_present = (service, number) in running or release.status in ("starting", "live")
        if not is_present and (service, number) not in await self._store.releases.awaited():
            raise NotAllowedError(f"release {number} of {service!r} has ended: it gets no secrets")
        return {name: await self.value(name) for name in release.manifest.secrets}

    async def last_set(self, names: Collection[str]) -> str:
        """Return when the last of these secrets was set, or an empty text if none exists."""
        return max(
            (s.updated for s in await self._store.secrets.all() if s.name in names), default=""
        )

    async def listing(self) -> list[KnownSecret]:
        """Return all secrets, without their values."""
        return [
            KnownSecret(each.name, each.updated, each.by, self._why(each))
            for each in await self._store.secrets.all()
        ]

    async def masks(self, release: Release) -> Masks:
        """Return the masks for the values of a release's secrets."""
        values = []
        for name in release.manifest.secrets:
            with suppress(KocoError):  # an unreadable value cannot be in the texts either
                values.append(await self.value(name))
        return Masks(values)

    async def mask(self, release: Release, error: ReleaseFailure) -> ReleaseFailure:
        """Return an error with the values of a release's secrets masked in its texts."""
        masks = await self.masks(release)
        return ReleaseFailure(
            message=masks.text(error.message),
            detail=error.detail and masks.text(error.detail),
            hint=error.hint and masks.text(error.hint),
        )

    async def box(self) -> Box:
        """Return a box to encrypt with. The key is made if there are no secrets yet.

        Raises:
            SecretError: the key is missing or wrong.
        """
        known = await self._store.secrets.all()
        if known:
            self._open(known[0])
        else:
            self._make_key()
        return self.opener()

    def opener(self) -> Box:
        """Return a box to decrypt with. If nothing is encrypted, it needs no key."""
        return Box(self._key)

    def _why(self, sealed: Sealed) -> str | None:
        try:
            self._open(sealed)
        except SecretError as exc:
            return exc.message
        return None

    def _open(self, sealed: Sealed) -> str:
        try:
            return _open(_cipher(self._key()), sealed.value, sealed.name).decode()
        except _WrongKeyError:
            raise SecretError(
                f"the secret {sealed.name!r} was not encrypted with the key in {self._path}",
                hint="restore the former file from a backup; or `koco secret unset` "
                "the unreadable ones and set them again",
            ) from None

    def _key(self) -> bytes:
        hint = "restore the file from a backup; or `koco secret unset` all and set them again"
        try:
            key = base64.b64decode(self._path.read_bytes(), validate=False)
        except FileNotFoundError:
            raise SecretError(
                f"the key for all secrets is missing: {self._path}", hint=hint
            ) from None
        except OSError as exc:
            raise SecretError(f"{self._path} cannot be read: {exc.strerror}") from exc
        except binascii.Error:
            key = b""
        if len(key) * 8 != _KEY_BITS:
            raise SecretError(f"there is no key in {self._path}", hint=hint)
        return key

    def _make_key(self) -> None:
        """Make the key if there is none. It is synced to disk before anything depends on it."""
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return
        with os.fdopen(descriptor, "wb") as file:
            file.write(base64.b64encode(os.urandom(_KEY_BITS // 8)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        sync(self._path.parent)


def _cipher(key: bytes) -> "AESGCM":
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(key)


def _seal(cipher: "AESGCM", data: bytes, name: str) -> bytes:
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, data, name.encode())


def _open(cipher: "AESGCM", sealed: bytes, name: str) -> bytes:
    from cryptography.exceptions import InvalidTag

    try:
        return cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], name.encode())
    except InvalidTag:
        raise _WrongKeyError from None


def users_of(name: str, releases: list[Release]) -> list[Release]:
    """Return the releases whose processes get a secret."""
    return [each for each in releases if name in each.manifest.secrets]


def _check(name: str, value: str) -> None:
    try:
        rules.check_secret_name(name)
    except InvalidValueError as exc:
        raise UsageError(str(exc), hint=exc.hint) from exc
    size = len(value.encode("utf-8", "surrogatepass"))
    if not value:
        raise UsageError(
            f"the value for {name} is empty",
            hint="is the variable or file that it comes from empty?",
        )
    if "\0" in value:
        raise UsageError("an environment variable cannot hold a NUL character")
    if size > VALUE_BYTES:
        raise UsageError(
            f"the value for {name} has {size} bytes; at most {VALUE_BYTES} are allowed",
            hint="put large data elsewhere, and only the key to it into a secret",
        )
    try:
        value.encode()
    except UnicodeEncodeError:
        raise UsageError(f"the value for {name} is not UTF-8") from None
