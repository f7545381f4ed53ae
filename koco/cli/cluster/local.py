"""`koco up` and `koco down` on this machine. Only `koco.bootstrap.driver` connects to Ray."""

import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from koco import __version__, versions
from koco.bootstrap import local_head as cluster
from koco.bootstrap import running_heads
from koco.cli.cluster import driver_process, join, options
from koco.cli.terminal import output
from koco.client import context_file, known_servers
from koco.client.client import Client
from koco.client.context_file import LOCAL, Context
from koco.errors import AnswerError, KocoError, NotAllowedError, UsageError
from koco.events.model import FINAL
from koco.plurals import counted

if TYPE_CHECKING:
    from koco.control.storage.blob_stores.protocol import BlobStore

#: Time for the remaining processes of a dead head to end on their own (seconds).
_REMAINS_S = 1.0
#: Where the context keeps which of OpenTelemetry's variables the control plane has, by a digest.
_TELEMETRY = "telemetry"


def up(
    asked: Mapping[str, Any],
    *,
    ca: str | None = None,
    free_ports: bool = False,
    recover_admin: bool = False,
    settings: Sequence[str] = (),
    backup: tuple[Path, bool] | None = None,
) -> dict[str, Any]:
    """Start the missing parts; return `{url, address, ray, version, contexts, started, …}`.

    `asked` has the requested options of the control plane: see `options.check`. `gone` names the
    dead parts of a cluster that `koco up` started, and `ended` counts its remaining processes,
    which are ended. A `backup` is restored first: its file, and whether it replaces a store.
    """
    from koco.control.settings import parse  # msgspec, which `koco down` does not need
    from koco.control.tracing import variables

    values = parse(settings)
    with alone():
        known = _load_context()
        if backup is not None:
            _check(asked, known)
            recover_admin = _restore(*backup, asked, known) or recover_admin
        remains = running_heads.remains(cluster.mark_of(context_file.home()))
        here = known.cluster if known else {}
        telemetry = variables.digest(variables.asked(os.environ))
        is_asked_anew = (
            values
            or _has_new_keys(here)
            or recover_admin
            or options.differs(asked, here)
            or options.is_other_key(known)
            or telemetry not in ("", here.get(_TELEMETRY))
        )
        is_same = known and ca in (None, known.ca) and not is_asked_anew
        if known and is_same and (found := _find_running(known, remains)):
            _finish(known)
            return found
        wanted = {"ca": ca, "free": free_ports, "recover": recover_admin, "settings": values}
        return _bring_up(known, remains, asked, **wanted)


def down() -> dict[str, Any]:
    """Stop what `up` started; return `{what, ended, executions, mortal}`.

    `executions` counts the open ones by status, `mortal` those of them that will end with an error.
    Both are None if the control plane did not answer.
    """
    with alone():
        known = _load_context()
        here = dict(known.cluster) if known else {}
        mark = cluster.mark_of(context_file.home())
        executions = open_executions(known if cluster.is_running(mark) else None)
        if ended := cluster.stop(mark):
            _forget(known)
            return {"what": "Ray and the control plane", "ended": ended, **executions}
        address = str(here.get("address", ""))
        if not known or not running_heads.listens(address) or join.is_another(address, here):
            return {"what": "", "ended": 0, **open_executions(None)}
        executions = open_executions(known)
        answer = driver_process.carry_out(driver_process.order("down", here, address))
        _forget(known)
        return {
            "what": "the control plane and its runners",
            "ended": answer["ended"],
            **executions,
        }


def _has_new_keys(here: Mapping[str, Any]) -> bool:
    """Return whether the environment has other keys for S3 than the control plane uses."""
    if not str(here.get("blobs", "")).startswith("s3://"):
        return False
    from koco.control.storage.blob_stores import s3_access  # few need it

    new = s3_access.of_environment(os.environ)
    data_dir = Path(here.get("data_dir") or driver_process.data_dir())
    return bool(new) and new != s3_access.kept(data_dir)


def _restore(file: Path, replaces: bool, asked: Mapping[str, Any], known: Context | None) -> bool:
    """Restore a backup into the data directory that the control plane will start with.

    Return whether its admin key must be replaced, because the context has none of its keys. Whoever
    has the file, with all of its secrets, may do that.
    """
    from koco.bootstrap import machine_check  # only if something has to start
    from koco.control.backup import restoring  # msgspec and the store

    remembered = known.cluster if known else {}
    if asked.get("store", remembered.get("store")):
        raise UsageError(
            "--restore fills a store that is a file, and this one is a database",
            hint="restore it without `--store`; then `koco down`, and `koco store copy` moves it",
        )
    usual = str(driver_process.data_dir())
    named = asked.get("data_dir") or remembered.get("data_dir") or usual
    data_dir = Path(machine_check.folder(named))
    kept = _blobs_elsewhere(asked.get("blobs", remembered.get("blobs")), data_dir)
    head, former = restoring.restore(file, data_dir, replaces=replaces, kept=kept)
    if former:
        output.note(f"the former store is now in {former}")
    output.note(f"restored {file}, which koco {head.koco} wrote at {head.created}")
    if _admits(data_dir, options.admin_key(known)):
        return False
    output.note(
        f"the context {LOCAL!r} has no key of the backup: its admin key is replaced by a new one"
    )
    return True


def _blobs_elsewhere(place: str | None, data_dir: Path) -> "BlobStore | None":
    """Return the place of blobs if it is not the data directory."""
    from koco.bootstrap import blobs_check  # only if something has to start
    from koco.control.storage.blob_stores import address  # as above

    checked = blobs_check.place(place, str(data_dir))
    return address.make(checked, data_dir) if checked else None


def _admits(data_dir: Path, key: str) -> bool:
    """Return whether a store that is not open will accept a key: it has that one, or none."""
    from koco.store import key_check  # the store, which `koco down` does not need

    return key_check.admits(data_dir / "store.db", bytes.fromhex(options.digest(key)))


def _forget(known: Context | None) -> None:
    """Make commands stop waiting for a control plane that was stopped."""
    if known:
        known_servers.forget(known.url)


def open_executions(known: Context | None) -> dict[str, dict[str, int] | None]:
    """Return the numbers of open executions by status: all, and those that a stop ends.

    They are None without a control plane that answers.
    """
    if known is None:
        return {"executions": None, "mortal": None}
    try:
        status = Client(known).status()
    except KocoError:
        return open_executions(None)  # one that does not answer can still be stopped
    tallies = {name: count for name, count in status["executions"].items() if name not in FINAL}
    return {"executions": tallies, "mortal": status.get("mortal", {})}


def _load_context() -> Context | None:
    """Return this machine's context; the begun one if an earlier `koco up` did not finish."""
    return context_file.load_begun().get(LOCAL) or context_file.load_contexts().get(LOCAL)


def _finish(context: Context) -> None:
    """Write the context of a control plane that answers, as the current one."""
    context_file.save_context(context)
    context_file.forget_begun(LOCAL)
    known_servers.remember(context.url)


def _find_running(known: Context, remains: running_heads.Remains) -> dict[str, Any] | None:
    """Return the result of `up` if this context's control plane already runs this version."""
    if remains.gone or not running_heads.listens(str(known.cluster.get("address", ""))):
        return None
    try:
        status = Client(known).status()
    except AnswerError:
        raise
    except KocoError:
        return None  # perhaps its store is away: what is checked next says so
    plane = status["control_plane"]
    if (plane["version"], plane.get("code")) != (__version__, versions.code_digest()):
        return None  # to be upgraded
    facts = {"ray": status["ray"]["version"], "version": plane["version"], "started": False}
    return _result(known, **facts, replaced=None, gone=[], ended=0)


def _bring_up(
    known: Context | None, remains: running_heads.Remains, asked: Mapping[str, Any], **how: Any
) -> dict[str, Any]:
    """Start the missing parts. If a head dies in the meantime, start a new one."""
    _check(asked, known)  # before anything ends
    if not remains.is_alive:
        return _start_parts(known, remains, asked, ended=_end(remains), **how)
    if remains.gone:
        output.note(f"{_describe_gone(remains.gone)}: starting the missing parts…")
    try:
        return _start_parts(known, remains, asked, ended=0, **how)
    except KocoError:
        remains = running_heads.remains(cluster.mark_of(context_file.home()))
        if remains.is_alive:
            raise
        return _start_parts(known, remains, asked, ended=_end(remains), **how)


def _check(asked: Mapping[str, Any], known: Context | None) -> None:
    """Check the requested options on this machine. The driver checks them again at start.

    Raises:
        UsageError: they cannot be met.
        StoreError: the store's database cannot be reached.
        BlobsAwayError: the storage of blobs does not answer.
    """
    from koco.bootstrap import blobs_check, machine_check  # only if something has to start

    remembered = known.cluster if known else {}
    wanted = options.combine(asked, remembered, {"port": 0}, reached_at="127.0.0.1").all
    machine_check.tls(wanted.get("tls_cert"), wanted.get("tls_key"))
    data_dir = machine_check.folder(wanted.get("data_dir") or str(driver_process.data_dir()))
    blobs_check.place(wanted.get("blobs"), data_dir)
    if store := machine_check.store(wanted.get("store")):
        from koco.bootstrap import store_check  # the driver of the database

        store_check.reach(store)


def _end(remains: running_heads.Remains) -> int:
    """End the remaining processes of a head that cannot continue; return their number."""
    if not remains.count:
        return 0
    # This includes a control plane that still serves, because it holds the store, which the next
    # one needs.
    ended = cluster.stop(cluster.mark_of(context_file.home()), term_s=_REMAINS_S)
    left = counted(ended, "remaining process")
    output.note(f"{_describe_gone(remains.gone)}: ended {left}")
    return ended


def _end_orphan(here: Mapping[str, Any]) -> None:
    """End a control plane that still serves although the Ray that it joined is gone.

    It would serve for another minute, and it holds the store.
    """
    if running_heads.listens(str(here.get("address", ""))):
        return
    data_dir = Path(here.get("data_dir") or driver_process.data_dir())
    if running_heads.end_control_plane(data_dir.resolve()):
        output.note("the Ray of this control plane is gone: ended its process, too")


def _describe_gone(gone: Sequence[str]) -> str:
    listed = " and ".join(filter(None, (", ".join(gone[:-1]), gone[-1])))
    is_one = len(gone) == 1 and listed != running_heads.AGENTS
    return f"the {listed} of this cluster {'is' if is_one else 'are'} gone"


def _start_parts(
    known: Context | None,
    remains: running_heads.Remains,
    asked: Mapping[str, Any],
    *,
    ended: int,
    ca: str | None,
    free: bool,
    recover: bool,
    settings: dict[str, Any],
) -> dict[str, Any]:
    from koco.control.tracing import variables  # as in `up`

    here = dict(known.cluster) if known else {}
    is_ours = remains.is_alive
    # A Ray that ran here is started again. If none did, another Ray may be joined.
    if is_ours:
        address = remains.address
    else:
        # A control plane that already serves keeps its address, whatever Ray's ports are.
        is_free = free and not (known and _serves(known))
        address = "" if remains.present else join.joinable(here, free=is_free)
    starts_ray = not address
    if known and starts_ray:
        _end_orphan(here)
    with contextlib.ExitStack() as turn:
        lock = turn.enter_context(cluster.turn()) if starts_ray else None
        ports = _ports(here, remains, free=free, starts_ray=starts_ray)
        usual = int(here.get("api") or cluster.PORTS["api"])
        if starts_ray and not free and "port" not in asked and ports["api"] != usual:
            output.note(f"port {usual} is taken: the API is at port {ports['api']} from now on")
        wanted = options.combine(
            asked,
            here,
            {"host": "127.0.0.1", "port": ports["api"], "data_dir": str(driver_process.data_dir())},
            reached_at="127.0.0.1",
        )
        if starts_ray:
            cluster.ensure_token()
        key = options.admin_key(known, recover=recover)
        if starts_ray and not recover and not wanted.all.get("store"):
            _require_admitted(wanted.all["data_dir"], key)
        was_asked = address and address in (running_heads.requested_address(), here.get("asked"))
        asked_for = {"asked": address} if was_asked else {}
        address = address or f"127.0.0.1:{ports['gcs']}"
        kept = {**ports, **wanted.kept, "address": address, **asked_for}
        context = Context(LOCAL, wanted.all["url"], key, kept, ca=_choose_ca(ca, known))
        output.note(
            "starting Ray and the control plane…" if starts_ray else f"joining Ray at {address}…"
        )
        # Saved before anything starts, so the key is not lost if the start is interrupted. The
        # contexts stay unchanged until this one answers. From then on, the requested options count
        # too.
        if starts_ray or not known or known.key != key:
            begun = {**here, **ports, "address": address, **asked_for}
            context_file.save_begun(context._replace(cluster=begun))
        order = {
            **driver_process.order("up", kept, None if starts_ray else address),
            "asked": wanted.asked,
            "defaults": wanted.defaults,
            "digest": options.digest(key),
            "recover": recover,
            "settings": settings,
            "needs_dashboard": is_ours and running_heads.DASHBOARD in remains.gone,
            "turn": lock,
        }
        mark = cluster.mark_of(context_file.home()) if is_ours or starts_ray else None
        answer = driver_process.carry_out(
            order, mark=mark, pass_fds=() if lock is None else (lock,)
        )
    if not answer["admitted"]:
        context_file.forget_begun(LOCAL)
        raise _make_refusal("the store")
    if telemetry := answer["start"].get("telemetry"):
        kept[_TELEMETRY] = variables.digest(telemetry)
    # It may have been running already, at an address that this context had lost.
    kept |= {"api": answer["start"]["port"], "dashboard": answer["dashboard"] or kept["dashboard"]}
    context = context._replace(url=answer["url"], cluster=kept)
    _finish(context)
    more = {name: answer[name] for name in ("ray", "version", "replaced")}
    return _result(context, started=starts_ray, gone=remains.gone, ended=ended, **more)


def _require_admitted(data_dir: str, key: str) -> None:
    """Raise if the control plane would refuse the key, before Ray starts for nothing."""
    from koco.bootstrap import machine_check  # only if something has to start

    if not _admits(Path(machine_check.folder(data_dir)), key):
        context_file.forget_begun(LOCAL)  # the next attempt has the key of the context
        raise _make_refusal(f"the store in {data_dir}")


def _make_refusal(store: str) -> NotAllowedError:
    return NotAllowedError(
        f"{store} has an admin key that the context {LOCAL!r} does not have",
        hint="`koco up --recover-admin` replaces it with a new one",
    )


def _ports(
    here: Mapping[str, Any], remains: running_heads.Remains, *, free: bool, starts_ray: bool
) -> dict[str, int]:
    ports = cluster.choose_ports(dict(here), free=free)
    if starts_ray:
        return ports
    # Running processes keep their ports, because they occupy them themselves.
    ports |= {name: int(here[name]) for name in cluster.PORTS if here.get(name)}
    if remains.address:
        ports["gcs"] = int(remains.address.rpartition(":")[2])
    return {**ports, "dashboard": remains.dashboard or ports["dashboard"]}


def _serves(known: Context) -> bool:
    try:
        Client(known).status()
    except KocoError:
        return False
    return True


def _choose_ca(ca: str | None, known: Context | None) -> str:
    return ca if ca is not None else known.ca if known else ""


def _result(context: Context, **more: Any) -> dict[str, Any]:
    return {
        "url": context.url,
        "context": context.name,
        "address": context.cluster["address"],
        "dashboard": f"http://127.0.0.1:{context.cluster['dashboard']}",
        "contexts": str(context_file.contexts_path()),
        **more,
    }


@contextmanager
def alone(lock: str = "up.lock") -> Iterator[None]:
    """Wait until no other `koco up` or `koco down` of this user is running."""
    path = driver_process.data_dir() / lock
    file: TextIO
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            output.note("another `koco up` or `koco down` is running: waiting for it…")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
