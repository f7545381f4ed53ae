"""Recognize files that look like secrets, by their name or the start of their content.

A key next to the code is rarely meant to be shipped, so these files are left out unless they are
named. A wrong guess costs a line in the manifest, so commonly harmless files are not listed:
modules, public keys, examples.
"""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

_VARIABLES = "environment variables"
_KEY = "a private key"
_KEYS = "a store of keys"
_CREDENTIALS = "credentials"
_SESSION = "what somebody has typed"
_TERRAFORM = "Terraform's state or variables"

#: Whole names, of files and of folders, in lower case.
_NAMES = {
    **dict.fromkeys((".env", ".envrc", ".dev.vars"), _VARIABLES),
    **dict.fromkeys(
        ("id_rsa", "id_dsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk"), _KEY
    ),
    **dict.fromkeys((".gnupg", ".password-store", ".ssh"), _KEYS),
    **dict.fromkeys((".terraform", "terraform.tfstate.d"), _TERRAFORM),
    **dict.fromkeys(
        (
            *("credentials.json", "credentials.yaml", "credentials.yml", "credentials.toml"),
            *("secrets.json", "secrets.yaml", "secrets.yml", "secrets.toml", ".secrets"),
            *("application_default_credentials.json", "token.json", "kaggle.json"),
            *(".netrc", "_netrc", ".npmrc", ".pypirc", ".terraformrc", "terraform.rc"),
            *(".git-credentials", ".dockercfg", ".dockerconfigjson", ".docker"),
            *(".aws", ".azure", ".boto", ".databrickscfg", ".gcloud", ".kaggle", ".oci", ".s3cfg"),
            *(".kube", "kubeconfig", "kubeconfig.yaml", "kubeconfig.yml", ".snowflake"),
            *(".my.cnf", ".mylogin.cnf", ".pgpass", ".htpasswd", ".vault-token", ".koco"),
        ),
        _CREDENTIALS,
    ),
}

#: Folders whose names do not begin with a dot.
_FOLDERS = frozenset({"terraform.tfstate.d"})

#: Endings of names, in lower case.
_ENDINGS = {
    **dict.fromkeys((".pem", ".key", ".p8", ".ppk", ".agekey"), _KEY),
    **dict.fromkeys((".p12", ".pfx", ".jks", ".keystore", ".kdbx"), _KEYS),
    **dict.fromkeys((".tfstate", ".tfvars"), _TERRAFORM),
    **dict.fromkeys((".kubeconfig", ".ovpn"), _CREDENTIALS),
    ".env": _VARIABLES,
}

#: Beginnings of the names of JSON files, in lower case.
_JSON = ("client_secret", "service-account", "service_account", "serviceaccount")

#: Words that mark a name as an example.
_EXAMPLES = frozenset(
    {
        *("example", "examples", "sample", "template", "dist", "defaults", "schema"),
        *("j2", "jinja", "jinja2", "tmpl", "tpl", "erb", "mustache"),
    }
)

_WORDS = re.compile(r"[._ -]+")
_BACKUP = re.compile(r"(\.(bak|backup|old|orig|save)|~)+$")

#: The start of a file that is certainly a private key.
_PRIVATE_KEY = re.compile(
    rb"(\xef\xbb\xbf)?\s*(-----BEGIN [A-Z0-9 ]*PRIVATE KEY( BLOCK)?-----|PuTTY-User-Key-File-\d)"
)
#: A part of service account files, near the start of the JSON.
_SERVICE_ACCOUNT = re.compile(rb'"private_key"\s*:\s*"-----BEGIN ')
_KUBECONFIG = re.compile(rb"^kind:\s*Config\s*$", re.MULTILINE)

#: The first member of the tar file that `koco backup` writes.
_OWN_BACKUP = b"koco-backup.json\0"

#: The part of a file that is examined (bytes).
_LOOK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, order=True)
class LeftOut:
    """A file or folder (with a trailing `/`) that is not shipped, and what it looks like."""

    name: str
    looks_like: str


def by_name(name: str, *, is_folder: bool = False) -> str | None:
    """Return the kind of secret that a file or folder of that name looks like, or None."""
    name = _BACKUP.sub("", name.lower())
    if is_folder and not name.startswith(".") and name not in _FOLDERS:
        return None  # a package of that name, or a folder whose own files are checked by name
    found = _NAMES.get(name) or _ENDINGS.get(PurePosixPath(name).suffix) or _by_parts(name)
    # Examples are marked in their name: `.env.example`, `credentials.sample.json`.
    return None if found is None or _EXAMPLES & {*_WORDS.split(name)} else found


def _by_parts(name: str) -> str | None:
    if name.startswith(".env."):
        return _VARIABLES
    if ".tfstate." in name or ".tfvars." in name:
        return _TERRAFORM
    if name.endswith(".json") and (name.startswith(_JSON) or "firebase-adminsdk" in name):
        return _CREDENTIALS
    return _SESSION if name.startswith(".") and name.endswith("_history") else None


def by_path(path: str, *, is_folder: bool = False) -> str | None:
    """Return the kind of secret that a path looks like, by its name or that of a parent folder."""
    *folders, name = path.split("/")
    found = [*(by_name(each, is_folder=True) for each in folders)]
    return next(filter(None, [*found, by_name(name, is_folder=is_folder)]), None)


def by_content(name: str, start: bytes) -> str | None:
    """Return the kind of secret that a file with this start certainly is, or None."""
    if _PRIVATE_KEY.match(start):
        return _KEY
    if start.startswith(_OWN_BACKUP):
        return _KEYS
    start = start[:_LOOK_BYTES]
    if name.endswith(".json") and _SERVICE_ACCOUNT.search(start):
        return _CREDENTIALS
    if start.startswith(b"apiVersion:") and _KUBECONFIG.search(start):
        return _CREDENTIALS
    return None
