"""Contexts: the control planes that a user can talk to, and which of them is selected.

They are kept in `<home>/contexts.toml`. It holds keys, so only its user may read it. It is replaced
as a whole, under a lock: concurrent writers lose no changes, and a reader sees the old file or the
new one.

`<home>/begun.toml` is written the same way. It has the contexts that `koco up` has begun and not
finished.
"""

import os
import shlex
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from koco import tokens
from koco.client.url import check, host
from koco.disk_sync import sync
from koco.errors import NotFoundError, UnreachableError, UsageError

#: The name of the context of the control plane that `koco up` starts on this machine. It has the
#: facts about its cluster that later commands need.
LOCAL = "local"

#: The name of the context that KOCO_URL creates.
FROM_ENVIRONMENT = "KOCO_URL"


class Context(NamedTuple):
    """A named control plane. `cluster` has the facts that `koco up` keeps about its cluster.

    `ca` is the path of a PEM file with the certificates to trust for this control plane, if those
    that this machine trusts are not enough. `user` is the user who logged in; `key` is then the
    token of their session.
    """

    name: str
    url: str
    key: str
    cluster: Mapping[str, Any] = MappingProxyType({})
    ca: str = ""
    user: str = ""

    def __repr__(self) -> str:
        return f"Context({self.name!r}, {self.url!r})"  # without the key

    @property
    def is_session(self) -> bool:
        """Whether its key is a session token, which expires."""
        return self.key.startswith(tokens.SESSION)

    @property
    def login(self) -> str:
        """The command that begins another session there."""
        words = ["koco", "login", self.url, "--user", self.user or "NAME"]
        if self.name not in (FROM_ENVIRONMENT, host(self.url)):
            words += ["--name", self.name]
        return shlex.join([*words, *(["--ca", self.ca] if self.ca else [])])


class Choice(NamedTuple):
    """The name of the selected context, and the source that selected it.

    `by` is one of --context, KOCO_URL, KOCO_CONTEXT, koco.toml, contexts.toml. `name` is None if no
    source names a context.
    """

    name: str | None
    by: str
    path: Path | None = None

    @property
    def said_by(self) -> str:
        """The source, for messages."""
        if self.path is None:
            return self.by
        return f"`current` in {self.path}" if self.by == "contexts.toml" else str(self.path)


def home() -> Path:
    """Return koco's directory: `KOCO_HOME`, or `~/.koco`.

    Raises:
        UsageError: this user has no home directory.
    """
    return expand_path(_trim(os.environ.get("KOCO_HOME")) or "~/.koco").absolute()


def expand_path(path: str) -> Path:
    """Return a path with `~` expanded.

    Raises:
        UsageError: there is no home directory: in a container HOME may be unset and the user
            nameless.
    """
    try:
        if path.startswith("~/") and os.environ.get("HOME") == "":  # Python takes it for `/`
            return Path(_home_of_user(), path[2:])
        return Path(path).expanduser()
    except (KeyError, RuntimeError):
        what = f"there is no home directory for {path}: HOME is not set"
        hint = "set HOME, or set KOCO_HOME to koco's folder; KOCO_URL and KOCO_KEY need neither"
        raise UsageError(what, hint=hint) from None


def _home_of_user() -> str:
    import pwd  # only if HOME is empty

    return pwd.getpwuid(os.getuid()).pw_dir


def contexts_path() -> Path:
    """Return the path of the contexts file."""
    return home() / "contexts.toml"


def begun_path() -> Path:
    """Return the path of the file of contexts whose control plane has not answered yet."""
    return home() / "begun.toml"


def load_contexts() -> dict[str, Context]:
    """Return all contexts by name.

    Raises:
        UsageError: the file is broken, or others can read it.
    """
    path = contexts_path()
    return _contexts(_read(path), path)


def load_begun() -> dict[str, Context]:
    """Return by name the contexts that `koco up` saves when their control plane answers.

    Raises:
        UsageError: the file is broken, or others can read it.
    """
    path = begun_path()
    return _contexts(_read(path), path)


def save_begun(context: Context) -> None:
    """Keep a context until its control plane answers; its key may already be an admin key."""
    with _edit(begun_path()) as document:
        document.setdefault("contexts", {})[context.name] = _entry(context)


def forget_begun(name: str) -> None:
    """Forget a context whose control plane has not answered, if there is one."""
    if name in load_begun():
        with _edit(begun_path()) as document:
            document["contexts"].pop(name, None)


def select(flag: str | None = None, *, env: str | None = None) -> Choice:
    """Return the choice of context, whether that context exists or not.

    The first source that is set decides: `flag` (a name), KOCO_URL with KOCO_KEY, the context of
    the environment `env` in the project's koco.toml, KOCO_CONTEXT, that of the environment that
    KOCO_ENV names, `[deploy] context`, the file's `current`.

    Raises:
        NotFoundError: there is no environment of that name; the hint lists those that exist.
    """
    of_env = _of_environment(env) if env else None
    if flag is not None:
        return Choice(flag.strip(), "--context")
    if _trim(os.environ.get("KOCO_URL")):
        return Choice(FROM_ENVIRONMENT, "KOCO_URL")
    if of_env is not None:
        return of_env
    if variable := _trim(os.environ.get("KOCO_CONTEXT")):
        return Choice(variable, "KOCO_CONTEXT")
    named = _trim(os.environ.get("KOCO_ENV")) if env is None else ""
    if named and (of_env := _of_environment(named)) is not None:
        return of_env
    project = _project_file()
    if project is not None and (name := _project_context(project)):
        return Choice(name, "koco.toml", project)
    document = _read(contexts_path())
    _contexts(document, contexts_path())
    return Choice(document.get("current"), "contexts.toml", contexts_path())


def current(flag: str | None = None, *, env: str | None = None) -> Context:
    """Return the selected context; see `chosen`.

    KOCO_KEY alone replaces the key of the context, unless the flag names the context.

    Raises:
        NotFoundError: no context has that name.
        UnreachableError: no source names a context.
        UsageError: a file or a URL is invalid.
    """
    choice = select(flag, env=env)
    if choice.by == "KOCO_URL":
        url = check(_trim(os.environ.get("KOCO_URL")), "KOCO_URL")
        return Context(FROM_ENVIRONMENT, url, key_of_environment())
    contexts = load_contexts()
    if choice.name is None:
        hint = "`koco up` starts one on this machine, `koco login URL` adds another"
        if contexts:
            hint += f"; `--context` selects one of: {', '.join(contexts)}"
        raise UnreachableError("no control plane is known here", hint=hint)
    if choice.name not in contexts:
        what = f"{choice.said_by} selects the context {choice.name!r}, which is not in"
        raise _unknown(what, contexts)
    context = contexts[choice.name]
    if flag is None and (key := key_of_environment()):
        return context._replace(key=key)
    return context


def find(name: str) -> Context:
    """Return the context of that name from the file; raises NotFoundError if there is none."""
    contexts = load_contexts()
    if name not in contexts:
        raise _unknown(f"there is no context {name!r} in", contexts)
    return contexts[name]


def save_context(
    context: Context,
    make_current: bool | None = True,
    *,
    guard: Callable[[Context], None] | None = None,
) -> None:
    """Write a context, new or changed. The others stay unchanged.

    With `make_current=None` it becomes the current one if there is none. `guard` gets the context
    that would be replaced, and raises to keep it.
    """
    with _edit(contexts_path()) as document:
        contexts = document.setdefault("contexts", {})
        if guard is not None and context.name in contexts:
            guard(_context(context.name, contexts[context.name], contexts_path()))
        contexts[context.name] = _entry(context)
        if make_current is None:
            make_current = document.get("current") not in contexts
        if make_current:
            document["current"] = context.name


def replace_key(old: str, new: str) -> list[str]:
    """Replace a key wherever it is stored, and return the names of the changed contexts."""
    found = []
    for path in (begun_path(), contexts_path()):
        if not path.exists():
            continue
        with _edit(path) as document:
            entries = document.get("contexts", {})
            found = [
                name
                for name, entry in entries.items()
                if old and entry.get("key", "").strip() == old
            ]
            for name in found:
                entries[name]["key"] = new
    return found


def use_context(name: str) -> None:
    """Make a context the current one; raises NotFoundError if there is none of that name."""
    with _edit(contexts_path()) as document:
        if name not in document.get("contexts", {}):
            raise _unknown(f"there is no context {name!r} in", document.get("contexts", {}))
        document["current"] = name


def remove_context(name: str) -> None:
    """Forget a context, if there is one of that name."""
    with _edit(contexts_path()) as document:
        document.get("contexts", {}).pop(name, None)
        if document.get("current") == name:
            del document["current"]


def key_of_environment() -> str:
    """Return the value of KOCO_KEY; empty if it is not set."""
    return _trim(os.environ.get("KOCO_KEY"))


def admin_key_of_environment() -> str:
    """Return the value of KOCO_ADMIN_KEY; empty if it is not set.

    Raises:
        UsageError: it is not a key that nobody can guess.
    """
    key = _trim(os.environ.get("KOCO_ADMIN_KEY"))
    if key and not tokens.is_key(key):
        hint = "`koco_` and 43 characters of base64url, which are 32 random bytes"
        raise UsageError("KOCO_ADMIN_KEY is not a key", hint=hint)
    return key


def _trim(text: str | None) -> str:
    """Return the value of an environment variable, stripped; empty if it is not set or blank."""
    # Stripped because a file or a CI secret usually ends in a newline.
    return (text or "").strip()


def environments() -> list[str]:
    """Return the names of the environments of the project here; none without a project."""
    path = _project_file()
    tables = _parse(path).get("env", {}) if path else {}
    return list(tables) if isinstance(tables, dict) else []


def restart_wait_s() -> float | None:
    """Return the value of KOCO_RESTART_WAIT (seconds); None if it is not set.

    Raises:
        UsageError: it is not a number of seconds.
    """
    text = os.environ.get("KOCO_RESTART_WAIT", "").strip()
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise UsageError(
            f"KOCO_RESTART_WAIT is not a number of seconds: {text!r}",
            hint="such as 30; with 0, commands do not wait",
        )
    return seconds


def _project_file() -> Path | None:
    try:
        here = Path.cwd()
    except FileNotFoundError:  # the folder was removed, so it has no file either
        return None
    return next((p for d in (here, *here.parents) if (p := d / "koco.toml").is_file()), None)


def _project_context(path: Path) -> str | None:
    # Reads only this key: `koco.project.project` checks the whole file, but its import takes
    # longer.
    deploy = _parse(path).get("deploy", {})
    name = deploy.get("context") if isinstance(deploy, dict) else None
    if name is not None and not isinstance(name, str):
        raise UsageError(f"{path}: deploy.context must be the name of a context")
    return name.strip() if name else None


def _of_environment(name: str) -> Choice | None:
    """Return the context of an environment in the project's koco.toml; None if it has none."""
    from koco.client import environment_names  # only where an environment is chosen

    path = _project_file()
    tables = _parse(path).get("env", {}) if path else {}
    if path is None or not isinstance(tables, dict) or name not in tables:
        raise environment_names.unknown(name, tables, path)
    table = tables[name]
    context = table.get("context") if isinstance(table, dict) else None
    if context is not None and not isinstance(context, str):
        raise UsageError(f"{path}: env.{name}.context must be the name of a context")
    return Choice(context.strip(), f"env.{name}", path) if context else None


def _read(path: Path) -> dict[str, Any]:
    """Return the content of a contexts file; an empty document if there is no file."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return {}
    except OSError as exc:
        raise UsageError(f"cannot read {path}: {exc.strerror}") from exc
    if os.name == "posix" and mode & 0o077:
        # Like ssh, because a key that others can read is a key that others have.
        raise UsageError(f"{path} has keys, but other users can read it", hint=f"chmod 600 {path}")
    return _parse(path)


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8-sig"))
    except OSError as exc:
        raise UsageError(f"cannot read {path}: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise UsageError(f"{path} is not TOML: {exc}", hint="fix or move that file") from exc


def _entry(context: Context) -> dict[str, Any]:
    """Return a context in the form of the file."""
    entry: dict[str, Any] = {"url": context.url, "key": context.key}
    if context.cluster:
        entry["cluster"] = dict(context.cluster)
    if context.ca:
        entry["ca"] = context.ca
    if context.user:
        entry["user"] = context.user
    return entry


def _contexts(document: dict[str, Any], path: Path) -> dict[str, Context]:
    tables = document.get("contexts", {})
    if not isinstance(tables, dict):
        raise _broken(path, "`contexts` must be a table")
    if not isinstance(document.get("current", ""), str):
        raise _broken(path, "`current` must be the name of a context")
    return {name: _context(name, table, path) for name, table in tables.items()}


def _context(name: str, table: Any, path: Path) -> Context:
    where = f"contexts.{name}"
    if not isinstance(table, dict):
        raise _broken(path, f"`{where}` must be a table")
    url, key, cluster = table.get("url"), table.get("key", ""), table.get("cluster", {})
    if not isinstance(url, str) or not isinstance(key, str) or not isinstance(cluster, dict):
        raise _broken(path, f"`{where}` needs a `url` and a `key`, both strings")
    ca = table.get("ca", "")
    if not isinstance(ca, str):
        raise _broken(path, f"`{where}.ca` must be the path of a PEM file")
    user = table.get("user", "")
    if not isinstance(user, str):
        raise _broken(path, f"`{where}.user` must be the name of a user")
    address = check(url, f"{path}: {where}.url")
    return Context(name, address, key.strip(), cluster, ca, user)


def _unknown(what: str, contexts: Collection[str]) -> NotFoundError:
    known = f"contexts: {', '.join(contexts)}" if contexts else "there are no contexts yet"
    hint = f"{known}; `koco up` creates `local`, `koco login URL` adds another"
    return NotFoundError(f"{what} {contexts_path()}", hint=hint)


def _broken(path: Path, what: str) -> UsageError:
    return UsageError(f"{path}: {what}", hint="fix or move that file")


@contextmanager
def _edit(path: Path) -> Iterator[dict[str, Any]]:
    """Hold the lock, give the document to change, and write it."""
    import fcntl  # only to write contexts

    directory = home()
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        # A separate lock file, because the contexts file is replaced, and a lock on it would go
        # with it.
        lock = os.open(directory / "contexts.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise UsageError(
            f"cannot write to {directory}: {exc.strerror}", hint="set KOCO_HOME to another folder"
        ) from exc
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        document = _read(path)
        _contexts(document, path)  # report a broken file instead of overwriting it
        yield document
        try:
            _write(document, path)
        except OSError as exc:
            what = f"cannot write {path}: {exc.strerror}"
            raise UsageError(what, hint="it is unchanged") from exc
    finally:
        os.close(lock)


def _write(document: dict[str, Any], path: Path) -> None:
    # Only to write contexts: most commands only read them.
    import tempfile

    import tomli_w

    target = Path(os.path.realpath(path))  # it may be a link into the user's dotfiles
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
    sync(target.parent)
