"""Sumi, Kodosumi 1.2's variant of MIP-003: `/sumi/{expose}/{name}/…`.

An expose is a service here, and a name is that of a flow. A flow at the root of its service has no
name there. Each answer has all members, if only as null.
"""

import contextlib
from datetime import datetime
from typing import Any

import msgspec
from litestar import Response, get, post

from koco.api.agents.calls import Calls
from koco.api.agents.mip003 import access, bodies, fields, jobs, metadata, questions
from koco.api.agents.mip003.routes import Inputs
from koco.api.http.auth import Connection
from koco.api.http.request import Request
from koco.control.container import Parts
from koco.control.payments.hashes import hash_input
from koco.control.services.catalog import Catalog, Entry
from koco.errors import InputsError, NotFoundError
from koco.manifest.agent_rules import MIP003
from koco.store.model import Lock, Payment

_EXPOSE = "/sumi/{service:str}"
_NAMED = f"{_EXPOSE}/{{name:str}}"
_LOCK = "/sumi/lock/{fid:str}/{lid:str}"
_MOST_ITEMS = 100


async def _flow_at(connection: Connection) -> str | None:
    """Return the full name of the flow that a path names."""
    parts: Parts = connection.app.state.parts
    names = connection.path_params
    found = _find(parts.catalog, names["service"], names.get("name", ""))
    return found.name if found is not None else f"{names['service']}/{names.get('name', '')}"


async def _any(_: Connection) -> str | None:
    """Return None: the route itself looks whether its caller may see what it is about.

    So it answers the same if there is no such job, and if it is somebody else's.
    """
    return None


_MAY_READ = access.requires("read", _flow_at)
_MAY_LAUNCH = access.requires("launch", _flow_at)


@get("/sumi", guards=[access.requires("read", _any)])
async def list_services(
    request: Request, expose: str | None = None, pp: int = 10, offset: str | None = None
) -> Response[Any]:
    """List the flows, by id. `offset` is the id of the last one of the page before."""
    found = [
        _item(request, each)
        for each in Calls(request).flows(MIP003)
        if access.may_see(request, each.name) and expose in (None, each.service)
    ]
    found = sorted(found, key=lambda each: str(each["id"]))
    start = next((at + 1 for at, each in enumerate(found) if each["id"] == offset), 0)
    items = found[start : start + max(1, min(pp, _MOST_ITEMS))]
    has_more = items and start + len(items) < len(found)
    return Response({"items": items, "offset": items[-1]["id"] if has_more else None})


@get([_EXPOSE, _NAMED], guards=[_MAY_READ])
async def show_service(request: Request, service: str, name: str = "") -> Response[Any]:
    """Show a flow."""
    return Response(_item(request, _require(request, service, name)))


@get([f"{_EXPOSE}/availability", f"{_NAMED}/availability"], guards=[_MAY_READ])
async def show_sumi_availability(request: Request, service: str, name: str = "") -> Response[Any]:
    """Say whether a flow takes jobs. One that does not exist is not available."""
    try:
        found = metadata.availability(request, _require(request, service, name))
    except NotFoundError:
        what = f"{service}/{name}".rstrip("/")
        found = metadata.unavailable(f"Service {what!r} not found or not available")
    return Response(found)


@get([f"{_EXPOSE}/input_schema", f"{_NAMED}/input_schema"], guards=[_MAY_READ])
async def show_sumi_schema(request: Request, service: str, name: str = "") -> Response[Any]:
    """Show the input that a job takes."""
    entry = _require(request, service, name)
    return Response({"input_data": _full(fields.describe(entry.form)) or None})


@post([f"{_EXPOSE}/start_job", f"{_NAMED}/start_job"], guards=[_MAY_LAUNCH])
async def start_sumi_job(request: Request, service: str, name: str = "") -> Response[Any]:
    """Start a job, or keep it until it is paid. Refused inputs are a failed job without an id."""
    entry = _require(request, service, name)
    order = await bodies.read(request, jobs.Order)
    try:
        started = await jobs.start(request, entry, order, is_strict=False)
    except InputsError as exc:
        return Response({"status": jobs.FAILED, "error": exc.message.replace("\n", "; ")})
    return Response(_shown(await jobs.look(request, started.fid, of=entry.name)))


@get(
    [
        *(f"{_EXPOSE}/status", f"{_NAMED}/status"),
        *(f"{_EXPOSE}/status/{{job_id:str}}", f"{_NAMED}/status/{{job_id:str}}"),
    ],
    guards=[_MAY_READ],
)
async def show_sumi_status(
    request: Request, service: str, job_id: str, name: str = ""
) -> Response[Any]:
    """Show the status of a job, what it asks, and its result."""
    job = await jobs.look(request, job_id, of=_flow_name(request, service, name))
    groups = await questions.describe_groups(Calls(request), job.locks)
    for each in groups:
        each["input_data"] = _full(each["input_data"]) or None
    shown = _shown(job)
    shown["input_schema"] = {"input_groups": groups} if groups else None
    return Response(shown)


@post([f"{_EXPOSE}/provide_input", f"{_NAMED}/provide_input"], guards=[_MAY_LAUNCH])
async def provide_sumi_input(request: Request, service: str, name: str = "") -> Response[Any]:
    """Answer what a job asks. It is an error if none of the answers is accepted."""
    given = await bodies.read(request, Inputs)
    job = await jobs.look(request, given.job_id, of=_flow_name(request, service, name))
    answers = questions.assign(job.locks, given.input_data, lid=given.status_id)
    refused = await questions.answer(Calls(request), job, answers, is_strict=False)
    if len(refused) == len(answers):
        raise questions.prefixed(refused)
    return _provided(given.input_data, given.job_id)


@get(_LOCK, guards=[access.requires("read", _any)])
async def show_sumi_lock(request: Request, fid: str, lid: str) -> Response[Any]:
    """Show what a job asks."""
    lock = await _lock(request, fid, lid)
    is_open = lock.status == "open"
    asked = await questions.describe(Calls(request), lock) if is_open else []
    statuses = {"open": "pending", "answered": "released"}
    return Response(
        {
            "job_id": fid,
            "status_id": lock.lid,
            "status": statuses.get(lock.status, "expired"),
            "input_schema": {"input_data": _full(asked) or None},
            "expires_at": lock.expires,
            "prompt": lock.name if is_open else None,
        }
    )


class LockInput(msgspec.Struct):
    """The answer to a lock."""

    input_data: dict[str, Any] | None = None


@post(_LOCK, guards=[access.requires("launch", _any)])
async def answer_sumi_lock(request: Request, fid: str, lid: str) -> Response[Any]:
    """Answer what a job asks."""
    given = (await bodies.read(request, LockInput)).input_data or {}
    job = await jobs.look(request, fid, of=None)
    lock = questions.find(job.locks, lid)
    refused = await questions.answer(Calls(request), job, {lock.lid: given}, is_strict=False)
    if refused:
        raise refused[lock.lid]
    return _provided(given, f"{fid}:{lid}")


# finding


def _find(catalog: Catalog, service: str, name: str) -> Entry | None:
    """Return a flow that is offered over MIP-003, by its name; without one, that of the root.

    If a service offers only one flow, that one has no name either.
    """
    found = [
        each for each in catalog.entries() if each.service == service and MIP003 in each.flow.expose
    ]
    named = [each for each in found if each.flow.name == (name or service)]
    if not named and not name and len(found) == 1:
        return found[0]
    return named[0] if named else None


def _require(request: Request, service: str, name: str) -> Entry:
    found = _find(request.parts.catalog, service, name)
    with contextlib.suppress(NotFoundError):  # that one has the name of a flow that may be hidden
        if found is not None:
            return jobs.find_flow(request, found.name)
    raise NotFoundError(f"no flow is called {f'{service}/{name}'[:200]!r}")


def _flow_name(request: Request, service: str, name: str) -> str:
    """Return the full name of the flow at a path, also if it is not there now."""
    found = _find(request.parts.catalog, service, name)
    return found.name if found is not None else f"{service}/{name or service}"


async def _lock(request: Request, fid: str, lid: str) -> Lock:
    job = await jobs.look(request, fid, of=None)
    if job.execution is None:
        raise NotFoundError(f"there is no lock {lid[:200]!r}")
    return await request.parts.locks.find(job.execution, lid)


# answers


def _item(request: Request, entry: Entry) -> dict[str, Any]:
    """Return a flow as Sumi lists it."""
    is_root = entry.flow.name == entry.service
    name = "" if is_root else entry.flow.name
    flow_id = entry.service if is_root else entry.name
    about = metadata.describe(request, entry, url=Calls(request).url(f"/sumi/{flow_id}"))
    named = access.terms(request.parts.catalog, entry.name)
    network = named.network if named is not None and named.agent_identifier else None
    ids = {"id": flow_id, "parent": entry.service, "name": name, "display": about["name"]}
    return {**about, **ids, "network": network, "state": "alive"}


def _full(described: list[fields.Described]) -> list[fields.Described]:
    """Return fields with all their members."""
    return [{"data": None, "validations": None, **each} for each in described]


def _shown(job: jobs.Job) -> dict[str, Any]:
    """Return a job as Sumi shows it, without what it asks."""
    execution, payment = job.execution, job.payment
    started = updated = payment.created if payment is not None else 0.0
    if execution is not None:
        started = _seconds(execution.created)
        updated = _seconds(execution.finished or execution.started or execution.created)
    return {
        "job_id": job.fid,
        "status": job.status,
        "input_schema": None,
        "result": job.result,
        "error": job.error,
        "input_hash": job.input_hash or None,
        **_terms(payment),
        "identifierFromPurchaser": job.identifier or None,
        "startedAt": started,
        "updatedAt": updated,
        "runtime": updated - started,
    }


def _seconds(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()


def _terms(payment: Payment | None) -> dict[str, Any]:
    terms = payment.terms if payment is not None else None
    return {
        "blockchainIdentifier": terms.blockchain_identifier if terms else None,
        "payByTime": terms.pay_by if terms else None,
        "submitResultTime": terms.submit_by if terms else None,
        "unlockTime": terms.unlock if terms else None,
        "externalDisputeUnlockTime": terms.dispute_unlock if terms else None,
        "agentIdentifier": terms.agent if terms else None,
        "sellerVKey": terms.seller_vkey if terms else None,
    }


def _provided(given: dict[str, Any], identifier: str) -> Response[Any]:
    """Return the answer to accepted input. Kodosumi sends the hash as the signature, too."""
    found = hash_input(given, identifier)
    return Response({"input_hash": found, "signature": found})


ROUTES = (
    *(list_services, show_service, show_sumi_availability, show_sumi_schema, show_sumi_status),
    *(answer_sumi_lock, provide_sumi_input, show_sumi_lock, start_sumi_job),
)
