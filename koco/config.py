"""Contexts: the control planes that a user can talk to, and which of them is meant.

They stand in `<home>/contexts.toml`, which holds keys and so belongs to its user
alone. It is written as a whole, under a lock: two writers lose nothing of one
another's, and a reader sees the old file or the new one.
"""

import os
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from koco.errors import NotFoundError, UnreachableError, UsageError

#: The name of the context that KOCO_URL makes.
FROM_ENVIRONMENT = "KOCO_URL"

_MASKED_FROM = len("koco_") + 4


@dataclass(frozen=True, slots=True)
class Context:
    """A named control plane. `cluster` is what `koco up` remembers of a local one."""

    name: str
    url: str
    key: str = field(repr=False)
    cluster: dict[str, Any] = field(default_factory=dict)


def home() -> Path:
    """Return koco's directory: `KOCO_HOME`, or `~/.koco`."""
    given = os.environ.get("KOCO_HOME")
    return Path(given).expanduser().absolute() if given else Path.home() / ".koco"


def contexts_path() -> Path:
    """Return where contexts are kept."""
    return home() / "contexts.toml"


def load_contexts() -> dict[str, Context]:
    """Return all contexts by name.

    Raises:
        UsageError: the file is broken, or others can read it.
    """
    return _contexts(_read())


def current(flag: str | None = None) -> Context:
    """Return the context that is meant.

    The first of these that is there decides: `flag` (a name), KOCO_URL with
    KOCO_KEY, KOCO_CONTEXT, `[deploy] context` of the project's koco.toml, the
    file's `current`. KOCO_KEY alone replaces the key of a context not named by flag.

    Raises:
        NotFoundError: no context has that name.
        UnreachableError: none of them is there.
        UsageError: a file or a URL makes no sense.
    """
    env = os.environ
    if flag is None and env.get("KOCO_URL"):
        url = _checked_url(env["KOCO_URL"], "KOCO_URL")
        return Context(FROM_ENVIRONMENT, url, _key_of_environment())
    document = _read()
    name, said_by = _name(flag, document)
    contexts = _contexts(document)
    if name is None:
        hint = "`koco up` starts one on this machine"
        if contexts:
            hint += f"; `--context` chooses one of: {', '.join(contexts)}"
        raise UnreachableError("no control plane is known here", hint=hint)
    if name not in contexts:
        known = f"there are: {', '.join(contexts)}" if contexts else "there is none yet"
        raise NotFoundError(
            f"{said_by} names the context {name!r}, which is not in {contexts_path()}",
            hint=f"{known}; `koco up` makes `local`",
        )
    chosen = contexts[name]
    if flag is None and (key := _key_of_environment()):
        return Context(chosen.name, chosen.url, key, chosen.cluster)
    return chosen


def save_context(context: Context, make_current: bool = True) -> None:
    """Write a context, new or changed; the others stay as they are."""
    with _changing() as document:
        entry: dict[str, Any] = {"url": context.url, "key": context.key}
        if context.cluster:
            entry["cluster"] = dict(context.cluster)
        document.setdefault("contexts", {})[context.name] = entry
        if make_current:
            document["current"] = context.name


def remove_context(name: str) -> None:
    """Forget a context; one that is not there is no error."""
    with _changing() as document:
        document.get("contexts", {}).pop(name, None)
        if document.get("current") == name:
            del document["current"]


def new_key() -> str:
    """Return a new random key: 256 bits, with a prefix that secret scanners know."""
    import secrets

    return f"koco_{secrets.token_urlsafe(32)}"


def mask(key: str) -> str:
    """Return a key as it may be shown: enough to tell it from another, not to use it."""
    return f"{key[:_MASKED_FROM]}…" if len(key) > 2 * _MASKED_FROM else "…" if key else ""


def _key_of_environment() -> str:
    # A file or a CI secret ends in a newline more often than not.
    return os.environ.get("KOCO_KEY", "").strip()


def _name(flag: str | None, document: dict[str, Any]) -> tuple[str | None, str]:
    """Return the name that is meant, and who says so."""
    if flag is not None:
        return flag, "--context"
    if name := os.environ.get("KOCO_CONTEXT"):
        return name, "KOCO_CONTEXT"
    project = _project_file()
    if project is not None and (name := _project_context(project)):
        return name, str(project)
    name = document.get("current")
    return name, f"`current` in {contexts_path()}"


def _project_file() -> Path | None:
    here = Path.cwd()
    return next((p for d in (here, *here.parents) if (p := d / "koco.toml").is_file()), None)


def _project_context(path: Path) -> str | None:
    # Only this one key: `koco.project` checks the file as a whole, and costs more to import.
    deploy = _parse(path).get("deploy", {})
    name = deploy.get("context") if isinstance(deploy, dict) else None
    if name is not None and not isinstance(name, str):
        raise UsageError(f"{path}: deploy.context must be the name of a context")
    return name


def _read() -> dict[str, Any]:
    """Return the file as it stands; an empty document where there is none."""
    path = contexts_path()
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return {}
    except OSError as exc:
        raise UsageError(f"cannot read {path}: {exc.strerror}") from exc
    if os.name == "posix" and mode & 0o077:
        # As ssh does: a key that others can read is a key that others have.
        raise UsageError(
            f"{path} holds keys, and other users can read it", hint=f"chmod 600 {path}"
        )
    return _parse(path)


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as exc:
        raise UsageError(f"cannot read {path}: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise UsageError(f"{path} is no TOML: {exc}", hint="mend or move that file") from exc


def _contexts(document: dict[str, Any]) -> dict[str, Context]:
    tables = document.get("contexts", {})
    if not isinstance(tables, dict):
        raise _broken("`contexts` must be a table")
    if not isinstance(document.get("current", ""), str):
        raise _broken("`current` must be the name of a context")
    return {name: _context(name, table) for name, table in tables.items()}


def _context(name: str, table: Any) -> Context:
    where = f"contexts.{name}"
    if not isinstance(table, dict):
        raise _broken(f"`{where}` must be a table")
    url, key, cluster = table.get("url"), table.get("key", ""), table.get("cluster", {})
    if not isinstance(url, str) or not isinstance(key, str) or not isinstance(cluster, dict):
        raise _broken(f"`{where}` needs a `url` and a `key`, both strings")
    return Context(name, _checked_url(url, f"{contexts_path()}: {where}.url"), key, cluster)


def _broken(what: str) -> UsageError:
    return UsageError(f"{contexts_path()}: {what}", hint="mend or move that file")


def _checked_url(url: str, where: str) -> str:
    """Return a control plane's URL without a slash at its end."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        (parts.hostname or "").encode("idna").decode("idna")  # as it will be looked up
    except ValueError:
        usable = False
    is_clean = url.isprintable() and " " not in url
    if not usable or not is_clean or "@" in parts.netloc or parts.query or parts.fragment:
        raise UsageError(
            f"{where} is no URL of a control plane: {url!r}", hint="such as http://127.0.0.1:8400"
        )
    return url.rstrip("/")


@contextmanager
def _changing() -> Iterator[dict[str, Any]]:
    """Hold the lock, give the document to be changed, and write it."""
    import fcntl

    directory = home()
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        # A lock file of its own: the contexts file is replaced, a lock on it would go with it.
        lock = os.open(directory / "contexts.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise UsageError(
            f"cannot write to {directory}: {exc.strerror}", hint="KOCO_HOME names another place"
        ) from exc
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        document = _read()
        _contexts(document)  # a broken file is told of, not written over
        yield document
        _write(document)
    finally:
        os.close(lock)


def _write(document: dict[str, Any]) -> None:
    import tempfile

    import tomli_w

    target = Path(os.path.realpath(contexts_path()))  # it may be a link into one's dotfiles
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=".contexts-")  # 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            tomli_w.dump(document, file)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name is durable with this, not before
    finally:
        os.close(folder)
