"""MIP-003: `/mip003/{service}/{flow}/…`, with the paths that the standard names."""

from typing import Annotated, Any

import msgspec
from litestar import Response, get, post
from litestar.params import Parameter

from koco.api.agents.calls import Calls
from koco.api.agents.mip003 import access, bodies, fields, jobs, metadata, questions
from koco.api.http.request import Request
from koco.control.payments import result_text
from koco.control.payments.hashes import hash_input
from koco.errors import NotFoundError

_PATH = "/mip003/{service:str}/{flow:str}"
_JobId = Annotated[str, Parameter(query="job_id")]


class Inputs(msgspec.Struct, frozen=True):
    """Further input for a job."""

    job_id: str
    status_id: str | None = None
    input_data: dict[str, Any] = {}


class StartedJob(msgspec.Struct, rename="camel"):
    """A job that was accepted. Times are in milliseconds since the epoch, 0 for a free job."""

    id: str
    blockchain_identifier: str
    pay_by_time: int
    submit_result_time: int
    unlock_time: int
    external_dispute_unlock_time: int
    agent_identifier: str
    identifier_from_purchaser: str
    seller_vkey: str = msgspec.field(name="sellerVKey")
    input_hash: str = msgspec.field(name="input_hash")


class Provided(msgspec.Struct):
    """Input that was accepted."""

    input_hash: str
    signature: str


@get(_PATH, guards=[access.requires("read")])
async def show_agent(request: Request, service: str, flow: str) -> Response[Any]:
    """Show a flow as MIP-002 describes agents."""
    entry = jobs.find_flow(request, f"{service}/{flow}")
    url = Calls(request).url(f"/mip003/{service}/{flow}")
    return Response(metadata.describe(request, entry, url=url))


@get(f"{_PATH}/availability", guards=[access.requires("read")])
async def show_availability(request: Request, service: str, flow: str) -> Response[Any]:
    """Say whether a flow takes jobs."""
    return Response(metadata.availability(request, jobs.find_flow(request, f"{service}/{flow}")))


@get(f"{_PATH}/input_schema", guards=[access.requires("read")])
async def show_input_schema(request: Request, service: str, flow: str) -> Response[Any]:
    """Show the input that a job takes."""
    entry = jobs.find_flow(request, f"{service}/{flow}")
    return Response({"input_data": fields.describe(entry.form)})


@get(f"{_PATH}/demo", guards=[access.requires("read")])
async def show_demo(request: Request, service: str, flow: str) -> Response[Any]:
    """Show a flow's first example with a result."""
    entry = jobs.find_flow(request, f"{service}/{flow}")
    for each in entry.flow.examples:
        if each.result is not None:
            output = {"result": result_text.of(each.result)}
            return Response({"input": each.inputs, "output": output})
    raise NotFoundError(
        f"{entry.name} has no example with a result", hint="its author gives some as `examples`"
    )


@post(f"{_PATH}/start_job", status_code=200, guards=[access.requires("launch")])
async def start_job(request: Request, service: str, flow: str) -> Response[StartedJob]:
    """Start a job, or keep it until it is paid."""
    entry = jobs.find_flow(request, f"{service}/{flow}")
    started = await jobs.start(request, entry, await bodies.read(request, jobs.Order))
    terms = started.terms
    return Response(
        StartedJob(
            id=started.fid,
            blockchain_identifier=terms.blockchain_identifier if terms else "",
            pay_by_time=terms.pay_by if terms else 0,
            submit_result_time=terms.submit_by if terms else 0,
            unlock_time=terms.unlock if terms else 0,
            external_dispute_unlock_time=terms.dispute_unlock if terms else 0,
            agent_identifier=terms.agent if terms else "",
            seller_vkey=terms.seller_vkey if terms else "",
            identifier_from_purchaser=started.identifier,
            input_hash=started.input_hash,
        )
    )


@get(f"{_PATH}/status", guards=[access.requires("read")])
async def show_status(request: Request, service: str, flow: str, job_id: _JobId) -> Response[Any]:
    """Show the status of a job, what it asks, and its result."""
    job = await jobs.look(request, job_id, of=f"{service}/{flow}")
    shown: dict[str, Any] = {"id": _status_id(job), "status": job.status}
    calls = Calls(request)
    if len(job.locks) == 1:
        shown["input_schema"] = {"input_data": await questions.describe(calls, job.locks[0])}
    elif job.locks:
        groups = await questions.describe_groups(calls, job.locks)
        shown["input_schema"] = {"input_groups": groups}
    if job.result is not None:
        shown["result"] = job.result
    elif job.error is not None:
        shown["result"] = job.error
    return Response(shown)


@post(f"{_PATH}/provide_input", status_code=200, guards=[access.requires("launch")])
async def provide_input(request: Request, service: str, flow: str) -> Response[Provided]:
    """Answer what a job asks."""
    given = await bodies.read(request, Inputs)
    job = await jobs.look(request, given.job_id, of=f"{service}/{flow}")
    answers = questions.assign(job.locks, given.input_data, lid=given.status_id)
    refused = await questions.answer(Calls(request), job, answers)
    if refused:
        is_plain = len(job.locks) == 1
        raise next(iter(refused.values())) if is_plain else questions.prefixed(refused)
    return Response(Provided(hash_input(given.input_data, job.identifier), signature=""))


def _status_id(job: jobs.Job) -> str:
    """Return the id of a status, which is another one for each status of a job.

    If it asks one thing, it is the id of that lock, for `provide_input`.
    """
    if len(job.locks) == 1:
        return job.locks[0].lid
    seq = job.execution.last_seq if job.execution is not None and job.locks else 0
    return f"{job.fid}.{job.status}{f'.{seq}' if seq else ''}"


ROUTES = (
    *(provide_input, show_agent, show_availability, show_demo, show_input_schema, show_status),
    start_job,
)
