"""`koco up` on this machine. Only `koco.bootstrap.driver` connects to Ray."""

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from koco import __version__, versions
from koco.bootstrap import local_head as cluster
from koco.bootstrap import running_heads
from koco.cli.cluster import (
    driver_process,
    join,
    local_home,
    local_remains,
    local_store,
    options,
)
from koco.cli.terminal import output
from koco.client import context_file
from koco.client.client import Client
from koco.client.context_file import LOCAL, Context
from koco.client.http.failures import SilenceError
from koco.errors import AnswerError, KocoError

#: Time for a control plane to answer before the process that joins its Ray looks what is wrong
#: (seconds).
_STATUS_S = 10.0
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
    with local_home.alone():
        known = local_home.load_context()
        if backup is not None:
            _check(asked, known)
            recover_admin = local_store.restore(*backup, asked, known) or recover_admin
        remains = running_heads.remains(cluster.mark_of(context_file.home()))
        here = known.cluster if known else {}
        telemetry = variables.digest(variables.asked(os.environ))
        is_asked_anew = (
            values
            or local_store.has_new_keys(here)
            or recover_admin
            or options.differs(asked, here)
            or options.is_other_key(known)
            or telemetry not in ("", here.get(_TELEMETRY))
        )
        is_same = known and ca in (None, known.ca) and not is_asked_anew
        if known and is_same and (found := _find_running(known, remains)):
            local_home.save_answering(known)
            return found
        wanted = {"ca": ca, "free": free_ports, "recover": recover_admin, "settings": values}
        return _bring_up(known, remains, asked, **wanted)


def _find_running(known: Context, remains: running_heads.Remains) -> dict[str, Any] | None:
    """Return the result of `up` if this context's control plane already runs this version."""
    if remains.gone or not running_heads.listens(str(known.cluster.get("address", ""))):
        return None
    try:
        status = Client(known).status(timeout_s=_STATUS_S)
    except AnswerError:
        raise
    except KocoError as exc:
        if isinstance(exc.__cause__, SilenceError):
            output.note(f"{known.url} has not answered for {_STATUS_S:g} s: looking at its Ray…")
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
    local_store.refuse_to_leave(asked, known)
    if not remains.is_alive:
        return _start_parts(known, remains, asked, ended=local_remains.end(remains), **how)
    if remains.gone:
        output.note(f"{local_remains.describe_gone(remains.gone)}: starting the missing parts…")
    try:
        return _start_parts(known, remains, asked, ended=0, **how)
    except KocoError:
        remains = running_heads.remains(cluster.mark_of(context_file.home()))
        if remains.is_alive:
            raise
        return _start_parts(known, remains, asked, ended=local_remains.end(remains), **how)


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
    store = machine_check.store(wanted.get("store"))
    machine_check.processes(wanted.get("api"), store, asked_on=asked.get("api_on"))
    if store:
        from koco.bootstrap import store_check  # the driver of the database

        store_check.reach(store)


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
        local_remains.end_orphan(here)
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
            local_store.require_admitted(wanted.all["data_dir"], key)
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
        local_home.forget_stop()
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
        raise local_store.make_refusal("the store")
    if telemetry := answer["start"].get("telemetry"):
        kept[_TELEMETRY] = variables.digest(telemetry)
    # It may have been running already, at an address that this context had lost.
    kept |= {"api": answer["start"]["port"], "dashboard": answer["dashboard"] or kept["dashboard"]}
    context = context._replace(url=answer["url"], cluster=kept)
    local_home.save_answering(context)
    more = {name: answer[name] for name in ("ray", "version", "replaced", "members")}
    return _result(context, started=starts_ray, gone=remains.gone, ended=ended, **more)


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
        Client(known).status(timeout_s=_STATUS_S)
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
