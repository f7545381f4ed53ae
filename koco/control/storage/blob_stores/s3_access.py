"""Who koco is to S3-compatible storage, and where that is: the usual variables `AWS_…`.

`koco up` keeps those of its own environment in the data directory, readable by their owner only,
because the Ray that it joins may have been started without them. Ray's processes, and so flows, do
not get them that way. Without any, the control plane's own environment counts, and then
`~/.aws/credentials`. Roles of machines and of Kubernetes' service accounts need no keys at all.
"""

import configparser
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from koco.disk_sync import sync
from koco.errors import UsageError

#: The file in the data directory.
FILE = "s3.json"
_ID, _SECRET, _TOKEN = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"
#: Where the storage is, most specific first.
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")
#: A file of certificates to trust.
CA = "AWS_CA_BUNDLE"
#: What `koco up` keeps.
_KEPT = (_ID, _SECRET, _TOKEN, *ENDPOINTS, *REGIONS, CA)
#: What says that something else than keys proves who koco is.
_ROLES = (
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)


def of_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that `koco up` keeps; none if there is no key and no endpoint."""
    found = {name: environ[name] for name in _KEPT if environ.get(name)}
    return found if _ID in found or any(name in found for name in ENDPOINTS) else {}


def is_news(values: Mapping[str, str], data_dir: Path) -> bool:
    """Return whether variables say something else than those in the data directory."""
    return not values.items() <= kept(data_dir).items()


def save(data_dir: Path, values: Mapping[str, str]) -> None:
    """Keep variables in the data directory, in place of the former ones."""
    new = data_dir / f"{FILE}.{secrets.token_hex(4)}"
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(dict(values), file)
        file.flush()
        os.fsync(file.fileno())
    new.replace(data_dir / FILE)
    sync(data_dir)


def kept(data_dir: Path) -> dict[str, str]:
    """Return the variables in the data directory.

    Raises:
        UsageError: the file was damaged.
    """
    path = data_dir / FILE
    try:
        found = json.loads(path.read_bytes())
        return {name: str(found[name]) for name in _KEPT if found.get(name)}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError) as exc:
        raise UsageError(
            f"{path} cannot be read: {exc}",
            hint="remove it, and run `koco up` with the AWS_… variables set",
        ) from exc


def load(data_dir: Path) -> dict[str, str]:
    """Return the variables that count: the kept ones, else the environment's, else of ~/.aws.

    Raises:
        UsageError: one of these files was damaged.
    """
    values = kept(data_dir) or {name: os.environ[name] for name in _KEPT if os.environ.get(name)}
    if _ID in values or any(os.environ.get(name) for name in _ROLES):
        return values
    return {**_of_profile(), **values}


def searched(data_dir: Path) -> str:
    """Return where no key was found, in words."""
    return (
        f"no {_ID} in {data_dir / FILE} and in the environment, none of the profile"
        f" {_profile()!r} in {_profiles()}"
    )


def stamp(data_dir: Path) -> float:
    """Return when the variables in the data directory were changed; 0 if there are none."""
    try:
        return (data_dir / FILE).stat().st_mtime
    except OSError:
        return 0.0


def _of_profile() -> dict[str, str]:
    """Return the keys of AWS_PROFILE in the file of AWS's own tools."""
    path, profile = _profiles(), _profile()
    parser = configparser.ConfigParser(interpolation=None, default_section="")
    try:
        parser.read(path)
    except (OSError, configparser.Error, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else type(exc).__name__
        raise UsageError(f"{path} cannot be read: {reason}") from exc
    if not parser.has_section(profile):
        return {}
    section = parser[profile]
    return {name: section[name.lower()] for name in _KEPT if section.get(name.lower())}


def _profiles() -> Path:
    return Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials").expanduser()


def _profile() -> str:
    return os.environ.get("AWS_PROFILE") or "default"
