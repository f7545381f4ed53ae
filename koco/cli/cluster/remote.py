"""The operations of `koco up --ray` and `koco down --ray`, all through the cluster's dashboard."""

import json
import secrets
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from koco import __version__, versions
from koco.cli import contexts
from koco.cli.cluster import options
from koco.cli.cluster.local_down import open_executions
from koco.cli.cluster.local_home import alone
from koco.cli.terminal import output
from koco.client import context_file, known_servers, url
from koco.client.client import Client
from koco.client.context_file import Context
from koco.errors import (
    ConflictError,
    KocoError,
    NotAllowedError,
    UnreachableError,
    UsageError,
    from_wire,
)

#: Timeout of the job (seconds): a cluster may have to install koco's dependencies.
_JOB_S = 600.0
#: The API's port, unless another is requested.
_PORT = 8400


def up(
    ray: str,
    asked: Mapping[str, Any],
    *,
    token: str | None,
    name: str | None,
    ca: str | None,
    recover_admin: bool,
    settings: Sequence[str],
) -> dict[str, Any]:
    """Start the missing parts; return `{url, context, dashboard, ray, version, started, …}`."""
    from koco.control.settings import parse  # msgspec, which `koco down` does not need

    values = parse(settings)
    if name is not None:
        contexts.check_name(name)
    with _alone(), _dashboard(ray, token, ca=ca) as dashboard:
        version = _require_version(dashboard)
        known = _find_context(dashboard.url, name)
        here = dict(known.cluster) if known else {}
        is_asked_anew = values or recover_admin or options.differs(asked, here)
        is_asked_anew = is_asked_anew or options.is_other_key(known)
        if known and ca in (None, known.ca) and not is_asked_anew and _answers(known):
            _finish(known)
            more = {"version": __version__, "started": False, "replaced": None}
            return _result(known, ray=version, **more)
        return _bring_up(
            dashboard, known, here, asked, name=name, ca=ca, recover=recover_admin, settings=values
        )


def down(ray: str, *, token: str | None) -> dict[str, Any]:
    """Remove the control plane and its runners; return `{what, ended, executions, mortal}`."""
    with _alone(), _dashboard(ray, token) as dashboard:
        _require_version(dashboard)
        known = _find_context(dashboard.url, None)
        executions = open_executions(known)
        answer = _run_order(dashboard, {"action": "down"})
    if known:
        known_servers.forget(known.url)
    ended = answer["ended"]
    what = "the control plane and its runners" if ended else ""
    return {"what": what, "ended": ended, **(executions if ended else open_executions(None))}


def _bring_up(
    dashboard: Any,
    known: Context | None,
    here: Mapping[str, Any],
    asked: Mapping[str, Any],
    *,
    name: str | None,
    ca: str | None,
    recover: bool,
    settings: dict[str, Any],
) -> dict[str, Any]:
    host = url.host(dashboard.url)
    # A tunnel reaches the head's own loopback, and then no one else can reach the API.
    defaults = {"host": "127.0.0.1"} if url.is_loopback(host) else {}
    port = here.get("api", _PORT)
    wanted = options.combine(asked, here, {**defaults, "port": port}, reached_at=host)
    name = name or (known.name if known else contexts.check_name(url.host(wanted.all["url"])))
    contexts.warn_of_clear(wanted.all["url"])
    key = options.admin_key(known, recover=recover)
    trusted = ca if ca is not None else known.ca if known else ""
    place = {"ray": dashboard.url}
    context = Context(name, wanted.all["url"], key, {**wanted.kept, **place}, trusted)
    _refuse_other(context)
    if not known or known.key != key:
        # Saved before anything starts, so the key is not lost if the start is interrupted. The name
        # and the URL count only after that.
        begun = (known or context)._replace(name=name, key=key)
        context_file.save_begun(begun if known else begun._replace(cluster=place))
    order = {
        "action": "up",
        "asked": wanted.asked,
        "defaults": wanted.defaults,
        "digest": options.digest(key),
        "recover": recover,
        "settings": settings,
    }
    answer = _run_order(dashboard, order)
    if not answer["admitted"]:
        _forget_begun(dashboard.url)
        what = f"the store there has an admin key, but no context here has one for {dashboard.url}"
        hint = "`koco login` saves a key that you were given, `--recover-admin` creates a new one"
        raise NotAllowedError(what, hint=hint)
    kept = {**wanted.kept, **options.options_to_keep(answer["start"]), **place}
    # It may have been running already, at an address that no context here had.
    context = context._replace(url=answer["url"], cluster=kept)
    context_file.save_begun(context)
    _require_reachable(context, answer["start"])
    _finish(context)
    more = {name: answer[name] for name in ("ray", "version", "started", "replaced", "members")}
    return _result(context, **more)


def _result(context: Context, **more: Any) -> dict[str, Any]:
    return {
        "url": context.url,
        "context": context.name,
        "dashboard": context.cluster["ray"],
        "contexts": str(context_file.contexts_path()),
        **more,
    }


def _find_context(ray: str, name: str | None) -> Context | None:
    """Return the context of a cluster, or the one with this name if it belongs to this cluster.

    A begun context that does not answer yet goes first, because it has the latest options.
    """
    begun = _of(ray, context_file.load_begun())
    saved = _of(ray, context_file.load_contexts())
    named = [each for each in (*begun, *saved) if name in (None, each.name)]
    # The key of an attempt counts whatever its name, because the store may already have that key.
    return next(iter(named or begun), None)


def _of(ray: str, contexts: Mapping[str, Context]) -> list[Context]:
    return [each for each in contexts.values() if each.cluster.get("ray") == ray]


def _forget_begun(ray: str) -> None:
    for each in _of(ray, context_file.load_begun()):
        context_file.forget_begun(each.name)


def _finish(context: Context) -> None:
    """Write the context of a control plane that answers, as the current one."""
    ray = str(context.cluster["ray"])
    context_file.save_context(context, guard=_refuse_unless(ray))
    _forget_begun(ray)


def _refuse_other(context: Context) -> None:
    """Refuse the name of a context that belongs to another control plane."""
    if old := context_file.load_contexts().get(context.name):
        _refuse_unless(str(context.cluster["ray"]))(old)


def _refuse_unless(ray: str) -> Callable[[Context], None]:
    def refuse(old: Context) -> None:
        if old.cluster.get("ray") != ray:
            what = f"the context {old.name!r} already exists, for {old.url}"
            raise ConflictError(what, hint="`--name` gives this one another name")

    return refuse


def _answers(known: Context) -> bool:
    """Return whether a context's control plane answers with exactly this koco."""
    try:
        plane = Client(known).status()["control_plane"]
    except KocoError:
        return False  # in any case, the job reports the reason
    return (plane["version"], plane.get("code")) == (__version__, versions.code_digest())


def _require_reachable(context: Context, start: Mapping[str, Any]) -> None:
    """Check that users here can reach the control plane.

    Raises:
        UnreachableError: they cannot; the message says what to do.
    """
    try:
        contexts.fetch_version(context)
    except NotAllowedError:
        raise
    except KocoError as exc:
        what = f"the control plane runs on the head, but cannot be reached from here: {exc.message}"
        if "CERTIFICATE_VERIFY_FAILED" in what:
            hint = "`koco up --ray … --ca FILE` names the certificates to trust"
        else:
            port, place = start["port"], f"{start['host']}:{start['port']}"
            hint = (
                f"it listens on {place} there: `--host` and `--port` change that, `--public-url` "
                f"sets another URL, such as an SSH tunnel's (`ssh -L {port}:{place} HEAD`)"
            )
        raise UnreachableError(what, hint=hint) from exc


@contextmanager
def _dashboard(ray: str, token: str | None, *, ca: str | None = None) -> Iterator[Any]:
    from koco.cluster import jobs  # httpx; most users have no `--ray`

    address = _address(ray)
    if ca is None:
        known = _find_context(address, None)
        ca = known.ca if known else ""

    def find() -> str:
        if url.is_clear(address):
            output.note(f"warning: {address} is not encrypted: Ray's token travels in clear")
        return _read_token(token) if token is not None else jobs.find_token()

    dashboard = jobs.JobClient(address, find, ca=ca)
    try:
        yield dashboard
    finally:
        dashboard.close()


def _address(ray: str) -> str:
    try:
        return url.check(ray, "--ray")
    except UsageError:
        what = f"--ray is not the URL of a Ray dashboard: {url.redact(ray)!r}"
        raise UsageError(what, hint="such as http://head:8265; `ray start` prints it") from None


def _read_token(token: str) -> str:
    """Return the token, from stdin if it is `-`."""
    if token != "-":
        output.note(
            "note: others can see command lines; `--ray-token -` reads the token from stdin"
        )
        return token.strip()
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError("--ray-token -: there is nothing on stdin", hint="pipe the token in")
    return sys.stdin.read(4096).strip()


def _require_version(dashboard: Any) -> str:
    # As `jobs`: only for `--ray`.
    from packaging.specifiers import SpecifierSet

    from koco.bootstrap import package

    version: str = dashboard.version()
    bounds = package.ray_bounds()
    if not SpecifierSet(bounds).contains(version, prereleases=True):
        raise KocoError(
            f"the cluster runs Ray {version}, koco {__version__} needs {bounds}",
            hint="update Ray there, or use a koco that fits it",
        )
    return version


def _run_order(dashboard: Any, order: dict[str, Any]) -> dict[str, Any]:
    """Run an order as a job on the cluster and return its answer."""
    # As `jobs`: only for `--ray`.
    from koco.bootstrap import job, package
    from koco.cluster import job_python

    file, data = package.of_koco()
    modules = [f"gcs://{file}"]
    dashboard.require_package(file, data)
    order = {**order, "environment": {"py_modules": modules}}
    name = f"koco-{order['action']}-{secrets.token_hex(4)}"
    entrypoint = f'"${job_python.PYTHON}" -m koco.bootstrap.job {shlex.quote(json.dumps(order))}'
    dashboard.submit(name, entrypoint, modules=modules)
    try:
        output.note(f"job {name} is running on {dashboard.url}…")
        log = dashboard.wait(name, timeout_s=_JOB_S, on_log=_Notes())
    except KeyboardInterrupt:
        output.note(f"\nthe job {name} goes on; run the same command again to see its outcome")
        raise
    answer = _line(log, job.ANSWER)
    if answer is None:
        raise KocoError(
            f"the job {name} ended without an answer",
            hint=f"`ray job logs {name} --address {dashboard.url}` has the details",
        )
    if "error" in answer:
        raise from_wire(answer)
    return answer


class _Notes:
    """Shows each note of the job once."""

    def __init__(self) -> None:
        self._is_reported = False

    def __call__(self, log: str) -> None:
        from koco.bootstrap import job  # only for `--ray`

        if not self._is_reported and (note := _line(log, job.NOTE)):
            self._is_reported = True
            listed = ", ".join(note["lacking"])
            output.note(f"the cluster lacks {listed}: koco installs them for itself…")


def _line(log: str, mark: str) -> dict[str, Any] | None:
    """Return the content of a marked line in the job's log."""
    for line in reversed(log.splitlines()):
        if line.startswith(mark):
            try:
                found: dict[str, Any] = json.loads(line.removeprefix(mark))
            except ValueError:
                return None  # not complete yet
            return found
    return None


@contextmanager
def _alone() -> Iterator[None]:
    """Wait until no other `koco up --ray` or `koco down --ray` of this user is running."""
    with alone("remote.lock"):
        yield
