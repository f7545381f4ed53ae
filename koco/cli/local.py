"""What `koco up` and `koco down` do on this machine; Ray itself is touched by `koco.boot`."""

import fcntl
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

from koco import __version__, code, config, tokens
from koco.cli import options, output
from koco.cluster import local as cluster
from koco.config import Context
from koco.errors import KocoError, NotAllowedError, UnreachableError, from_wire

NAME = "local"

#: How long starting Ray and the control plane may take (seconds).
_BOOT_S = 180


def up(
    asked: Mapping[str, Any],
    *,
    ca: str | None = None,
    free_ports: bool = False,
    recover_admin: bool = False,
    settings: Sequence[str] = (),
) -> dict[str, Any]:
    """Bring up what is missing; return `{url, address, ray, version, contexts, started}`.

    `asked` is what was asked of the control plane: see `options.checked`.
    """
    from koco.control.settings import parsed

    values = parsed(settings)
    with alone():
        known = config.load_contexts().get(NAME)
        here = dict(known.cluster) if known else {}
        is_asked_anew = values or recover_admin or options.differs(asked, here)
        if known and ca in (None, known.ca) and not is_asked_anew and (found := _answering(known)):
            return found
        return _bring_up(
            known, here, asked, ca=ca, free=free_ports, recover=recover_admin, settings=values
        )


def down() -> dict[str, Any]:
    """Stop what `up` started; return `{what, ended, executions}`, the latter open ones by status.

    `executions` is None where the control plane did not say.
    """
    with alone():
        known = config.load_contexts().get(NAME)
        here = dict(known.cluster) if known else {}
        mark = cluster.mark_of(config.home())
        executions = open_executions(known) if known and cluster.is_running(mark) else None
        if ended := cluster.stop(mark):
            return {
                "what": "Ray and the control plane",
                "ended": ended,
                "executions": executions,
            }
        address = str(here.get("address", ""))
        if not known or not address or cluster.running_address() != address:
            return {"what": "", "ended": 0, "executions": None}
        executions = open_executions(known)
        answer = _boot(_order("down", here, address))
        return {
            "what": "the control plane and its runners",
            "ended": answer["ended"],
            "executions": executions,
        }


def open_executions(known: Context) -> dict[str, int] | None:
    """Return how many executions have not ended, by status; None where nobody says."""
    from koco.cli.stream import OUTCOMES
    from koco.client import Client

    try:
        tallies = Client(known).status()["executions"]
    except KocoError:
        return None  # what cannot be asked can be stopped all the same
    return {status: count for status, count in tallies.items() if status not in OUTCOMES}


def _answering(known: Context) -> dict[str, Any] | None:
    """Return what `up` returns if this context's control plane runs, as this version, already."""
    from koco.client import Client

    if not known.cluster.get("address") or not cluster.running_address():
        return None
    try:
        status = Client(known).status()
    except (UnreachableError, NotAllowedError):
        return None
    plane = status["control_plane"]
    if (plane["version"], plane.get("code")) != (__version__, code.digest()):
        return None  # to be upgraded
    more = {"version": plane["version"], "replaced": None}
    return _result(known, ray=status["ray"]["version"], started=False, **more)


def _bring_up(
    known: Context | None,
    here: dict[str, Any],
    asked: Mapping[str, Any],
    *,
    ca: str | None,
    free: bool,
    recover: bool,
    settings: dict[str, Any],
) -> dict[str, Any]:
    from koco.cluster import head

    mark = cluster.mark_of(config.home())
    is_ours = cluster.is_running(mark)
    address = str(here["address"]) if is_ours and "address" in here else cluster.running_address()
    starts_ray = address is None
    # What runs keeps its ports: they are taken by itself.
    runs_on = {name: int(here[name]) for name in cluster.PORTS if here.get(name)}
    ports = {**cluster.choose_ports(here, free=free), **({} if starts_ray else runs_on)}
    usual = int(here.get("api") or cluster.PORTS["api"])
    if starts_ray and not free and "port" not in asked and ports["api"] != usual:
        output.note(f"port {usual} is taken: the API is at port {ports['api']} from now on")
    wanted = options.wanted(
        asked,
        here,
        {"host": "127.0.0.1", "port": ports["api"], "data_dir": str(_data_dir())},
        reached_at="127.0.0.1",
    )
    # Both are looked at before anything starts, and again by who needs them.
    head.tls(wanted.all.get("tls_cert"), wanted.all.get("tls_key"))
    head.folder(wanted.all["data_dir"])
    if starts_ray:
        cluster.ensure_token()
    key = known.key if known and known.key and not recover else tokens.new()
    here = {**ports, **wanted.kept, "address": address or f"127.0.0.1:{ports['gcs']}"}
    context = Context(NAME, wanted.all["url"], key, here, ca=_trusted(ca, known))
    output.note(
        "starting Ray and the control plane…" if starts_ray else f"joining Ray at {address}…"
    )
    # Written before anything starts: a key that is interrupted on its way is not lost,
    # and `koco down` finds what a killed `koco up` left behind. What runs is where it is,
    # should it not be upgraded.
    if starts_ray or not known or known.key != key:
        config.save_context(context)
    order = {
        **_order("up", here, address),
        "asked": wanted.asked,
        "defaults": wanted.defaults,
        "digest": options.digest(key),
        "recover": recover,
        "settings": settings,
    }
    answer = _boot(order, mark=mark if is_ours or starts_ray else None)
    if not answer["admitted"]:
        raise NotAllowedError(
            "the store has an admin key that the context 'local' does not hold",
            hint="`koco up --recover-admin` replaces it by a new one",
        )
    # It may have run already, under an address that this context had lost.
    here["api"] = answer["start"]["port"]
    context = replace(context, url=answer["url"], cluster=here)
    config.save_context(context)
    more = {"version": answer["version"], "replaced": answer["replaced"]}
    return _result(context, ray=answer["ray"], started=starts_ray, **more)


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


def _order(action: str, here: Mapping[str, Any], address: str | None) -> dict[str, Any]:
    return {
        "action": action,
        "address": address,
        "ports": {name: int(here.get(name, 0)) for name in cluster.PORTS},
    }


def _data_dir() -> Path:
    directory = config.home() / NAME
    # One by one: `mode` does not reach the parents that mkdir makes.
    for path in (config.home(), directory):
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return directory


def _boot(order: dict[str, Any], *, mark: str | None = None) -> dict[str, Any]:
    """Run `koco.boot` with an order; return its answer. `mark` is for a Ray that is ours.

    Raises:
        KocoError: it could not carry it out; its log says more.
    """
    log, work = _data_dir() / "boot.log", _data_dir() / "work"
    work.mkdir(exist_ok=True, mode=0o700)
    if mark:
        env = cluster.starting_environment(mark)
    else:
        env = cluster.joining_environment(str(order["address"]))
    with log.open("ab") as stderr:
        try:
            done = subprocess.run(
                # From a folder of its own, and with `-P`: Ray hands this process's import
                # path on to every runner, which must find the bundle's modules, not yours;
                # and the folder, where a flow's `open("store.db", "w")` must harm nothing.
                [sys.executable, "-P", "-m", "koco.boot"],
                input=json.dumps(order).encode(),
                stdout=subprocess.PIPE,
                stderr=stderr,
                cwd=work,
                env=env,
                timeout=_BOOT_S,
                start_new_session=True,
                check=False,
            )
        except subprocess.TimeoutExpired as exc:
            raise KocoError(f"Ray did not start within {_BOOT_S} s", hint=f"see {log}") from exc
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        raise _failed(f"starting ended with exit code {done.returncode}", log) from None
    if "error" in answer:
        error = from_wire(answer)
        raise error if error.hint else _failed(error.message, log)
    return answer


def _failed(message: str, log: Path) -> KocoError:
    if "No module named 'ray'" in message or "No module named 'ray'" in _tail(log):
        return KocoError(
            "Ray is not installed here",
            hint="`pip install 'koco[ray]'` brings what a cluster of one's own needs",
        )
    return KocoError(message, hint=f"{log} has the whole story")


def _tail(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 2000))
        return file.read().decode(errors="replace")


@contextmanager
def alone(lock: str = "up.lock") -> Iterator[None]:
    """Wait until no other `koco up` or `koco down` of this user is under way."""
    path = _data_dir() / lock
    file: TextIO
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            output.note("another `koco up` or `koco down` is under way: waiting for it…")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
