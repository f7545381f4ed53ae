"""What `koco up` and `koco down` do on this machine; Ray itself is touched by `koco.boot`."""

import contextlib
import fcntl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

from koco import __version__, code, config, tokens
from koco.cli import booting, joining, options, output
from koco.cluster import heads
from koco.cluster import local as cluster
from koco.config import Context
from koco.errors import KocoError, NotAllowedError, UnreachableError

NAME = "local"

#: How long what is left of a head that has died may take to end by itself (seconds).
_REMAINS_S = 1.0


def up(
    asked: Mapping[str, Any],
    *,
    ca: str | None = None,
    free_ports: bool = False,
    recover_admin: bool = False,
    settings: Sequence[str] = (),
) -> dict[str, Any]:
    """Bring up what is missing; return `{url, address, ray, version, contexts, started, …}`.

    `asked` is what was asked of the control plane: see `options.checked`. `gone` names what had
    died of a cluster that `koco up` started, and `ended` counts the processes that were left of it.
    """
    from koco.control.settings import parsed

    values = parsed(settings)
    with alone():
        known = _known()
        remains = heads.remains(cluster.mark_of(config.home()))
        is_asked_anew = (
            values or recover_admin or options.differs(asked, known.cluster if known else {})
        )
        is_same = known and ca in (None, known.ca) and not is_asked_anew
        if known and is_same and (found := _answering(known, remains)):
            _finish(known)
            return found
        wanted = {"ca": ca, "free": free_ports, "recover": recover_admin, "settings": values}
        return _bring_up(known, remains, asked, **wanted)


def down() -> dict[str, Any]:
    """Stop what `up` started; return `{what, ended, executions}`, the latter open ones by status.

    `executions` is None where the control plane did not say.
    """
    with alone():
        known = _known()
        here = dict(known.cluster) if known else {}
        mark = cluster.mark_of(config.home())
        executions = open_executions(known) if known and cluster.is_running(mark) else None
        if ended := cluster.stop(mark):
            _forget(known)
            return {
                "what": "Ray and the control plane",
                "ended": ended,
                "executions": executions,
            }
        address = str(here.get("address", ""))
        if not known or not heads.listens(address) or joining.is_another(address, here):
            return {"what": "", "ended": 0, "executions": None}
        executions = open_executions(known)
        answer = booting.carry_out(booting.order("down", here, address))
        _forget(known)
        return {
            "what": "the control plane and its runners",
            "ended": answer["ended"],
            "executions": executions,
        }


def _forget(known: Context | None) -> None:
    """Have no command wait for the return of a control plane that was stopped."""
    from koco.client import answered

    if known:
        answered.forget(known.url)


def open_executions(known: Context) -> dict[str, int] | None:
    """Return how many executions have not ended, by status; None where nobody says."""
    from koco.cli.stream import OUTCOMES
    from koco.client import Client

    try:
        tallies = Client(known).status()["executions"]
    except KocoError:
        return None  # what cannot be asked can be stopped all the same
    return {status: count for status, count in tallies.items() if status not in OUTCOMES}


def _known() -> Context | None:
    """Return this machine's context: as it was begun, where that did not come to an end."""
    return config.load_begun().get(NAME) or config.load_contexts().get(NAME)


def _finish(context: Context) -> None:
    """Write the context of a control plane that answers, as the current one."""
    from koco.client import answered

    config.save_context(context)
    config.forget_begun(NAME)
    answered.remember(context.url)


def _answering(known: Context, remains: heads.Remains) -> dict[str, Any] | None:
    """Return what `up` returns if this context's control plane runs, as this version, already."""
    from koco.client import Client

    if remains.gone or not heads.listens(str(known.cluster.get("address", ""))):
        return None
    try:
        status = Client(known).status()
    except (UnreachableError, NotAllowedError):
        return None
    plane = status["control_plane"]
    if (plane["version"], plane.get("code")) != (__version__, code.digest()):
        return None  # to be upgraded
    more = {"version": plane["version"], "replaced": None, "gone": [], "ended": 0}
    return _result(known, ray=status["ray"]["version"], started=False, **more)


def _bring_up(
    known: Context | None, remains: heads.Remains, asked: Mapping[str, Any], **how: Any
) -> dict[str, Any]:
    """Bring up what is missing, from what is there; a head that dies meanwhile is started anew."""
    _check(asked, known)  # before anything is ended
    if not remains.is_alive:
        return _brought_up(known, remains, asked, ended=_end(remains), **how)
    if remains.gone:
        output.note(f"{_told(remains.gone)}: bringing back what is missing…")
    try:
        return _brought_up(known, remains, asked, ended=0, **how)
    except KocoError:
        remains = heads.remains(cluster.mark_of(config.home()))
        if remains.is_alive:
            raise
        return _brought_up(known, remains, asked, ended=_end(remains), **how)


def _check(asked: Mapping[str, Any], known: Context | None) -> None:
    """Look at what is asked of this machine, as whoever starts there does once more.

    Raises:
        UsageError: it is not to be had.
    """
    from koco.cluster import head

    remembered = known.cluster if known else {}
    wanted = options.wanted(asked, remembered, {"port": 0}, reached_at="127.0.0.1").all
    head.tls(wanted.get("tls_cert"), wanted.get("tls_key"))
    head.folder(wanted.get("data_dir") or str(booting.data_dir()))


def _end(remains: heads.Remains) -> int:
    """End what is left of a head that cannot go on; return how many processes that were."""
    if not remains.count:
        return 0
    # The control plane among them may serve still: it has the store, which the next one needs.
    ended = cluster.stop(cluster.mark_of(config.home()), term_s=_REMAINS_S)
    left = "1 process that was" if ended == 1 else f"{ended} processes that were"
    output.note(f"{_told(remains.gone)}: ended {left} left of it")
    return ended


def _end_orphan(here: Mapping[str, Any]) -> None:
    """End a control plane that serves still though the Ray that it had joined is gone.

    It would do so for a minute, and has the store.
    """
    if heads.listens(str(here.get("address", ""))):
        return
    data_dir = Path(here.get("data_dir") or booting.data_dir())
    if heads.end_control_plane(data_dir.resolve()):
        output.note("the Ray of this control plane is gone: ended its process, too")


def _told(gone: Sequence[str]) -> str:
    listed = " and ".join(filter(None, (", ".join(gone[:-1]), gone[-1])))
    is_one = len(gone) == 1 and listed != heads.AGENTS
    return f"the {listed} of this cluster {'is' if is_one else 'are'} gone"


def _brought_up(
    known: Context | None,
    remains: heads.Remains,
    asked: Mapping[str, Any],
    *,
    ended: int,
    ca: str | None,
    free: bool,
    recover: bool,
    settings: dict[str, Any],
) -> dict[str, Any]:
    here = dict(known.cluster) if known else {}
    is_ours = remains.is_alive
    # What ran here comes back; where nothing did, another Ray may do.
    if is_ours:
        address = remains.address
    else:
        # What serves already goes on where it is, whatever Ray's ports are.
        is_free = free and not (known and _serves(known))
        address = "" if remains.present else joining.joinable(here, free=is_free)
    starts_ray = not address
    if known and starts_ray:
        _end_orphan(here)
    with contextlib.ExitStack() as turn:
        lock = turn.enter_context(cluster.turn()) if starts_ray else None
        ports = _ports(here, remains, free=free, starts_ray=starts_ray)
        usual = int(here.get("api") or cluster.PORTS["api"])
        if starts_ray and not free and "port" not in asked and ports["api"] != usual:
            output.note(f"port {usual} is taken: the API is at port {ports['api']} from now on")
        wanted = options.wanted(
            asked,
            here,
            {"host": "127.0.0.1", "port": ports["api"], "data_dir": str(booting.data_dir())},
            reached_at="127.0.0.1",
        )
        if starts_ray:
            cluster.ensure_token()
        key = known.key if known and known.key and not recover else tokens.new()
        was_asked = address and address in (heads.asked(), here.get("asked"))
        asked_for = {"asked": address} if was_asked else {}
        address = address or f"127.0.0.1:{ports['gcs']}"
        kept = {**ports, **wanted.kept, "address": address, **asked_for}
        context = Context(NAME, wanted.all["url"], key, kept, ca=_trusted(ca, known))
        output.note(
            "starting Ray and the control plane…" if starts_ray else f"joining Ray at {address}…"
        )
        # Kept before anything starts: a key that is interrupted on its way is not lost. Contexts
        # stay as they are until this one answers; what is asked counts from then on, too.
        if starts_ray or not known or known.key != key:
            begun = {**here, **ports, "address": address, **asked_for}
            config.save_begun(replace(context, cluster=begun))
        order = {
            **booting.order("up", kept, None if starts_ray else address),
            "asked": wanted.asked,
            "defaults": wanted.defaults,
            "digest": options.digest(key),
            "recover": recover,
            "settings": settings,
            "needs_dashboard": is_ours and heads.DASHBOARD in remains.gone,
            "turn": lock,
        }
        mark = cluster.mark_of(config.home()) if is_ours or starts_ray else None
        answer = booting.carry_out(order, mark=mark, pass_fds=() if lock is None else (lock,))
    if not answer["admitted"]:
        config.forget_begun(NAME)
        raise NotAllowedError(
            "the store has an admin key that the context 'local' does not hold",
            hint="`koco up --recover-admin` replaces it by a new one",
        )
    # It may have run already, under an address that this context had lost.
    kept |= {"api": answer["start"]["port"], "dashboard": answer["dashboard"] or kept["dashboard"]}
    context = replace(context, url=answer["url"], cluster=kept)
    _finish(context)
    more = {name: answer[name] for name in ("ray", "version", "replaced")}
    return _result(context, started=starts_ray, gone=remains.gone, ended=ended, **more)


def _ports(
    here: Mapping[str, Any], remains: heads.Remains, *, free: bool, starts_ray: bool
) -> dict[str, int]:
    ports = cluster.choose_ports(dict(here), free=free)
    if starts_ray:
        return ports
    # What runs keeps its ports: they are taken by itself.
    ports |= {name: int(here[name]) for name in cluster.PORTS if here.get(name)}
    if remains.address:
        ports["gcs"] = int(remains.address.rpartition(":")[2])
    return {**ports, "dashboard": remains.dashboard or ports["dashboard"]}


def _serves(known: Context) -> bool:
    from koco.client import Client

    try:
        Client(known).status()
    except KocoError:
        return False
    return True


def _trusted(ca: str | None, known: Context | None) -> str:
    return ca if ca is not None else known.ca if known else ""


def _result(context: Context, **more: Any) -> dict[str, Any]:
    return {
        "url": context.url,
        "context": context.name,
        "address": context.cluster["address"],
        "dashboard": f"http://127.0.0.1:{context.cluster['dashboard']}",
        "contexts": str(config.contexts_path()),
        **more,
    }


@contextmanager
def alone(lock: str = "up.lock") -> Iterator[None]:
    """Wait until no other `koco up` or `koco down` of this user is under way."""
    path = booting.data_dir() / lock
    file: TextIO
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            output.note("another `koco up` or `koco down` is under way: waiting for it…")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
