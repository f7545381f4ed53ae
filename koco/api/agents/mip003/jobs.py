"""Jobs, as MIP-003 calls executions: ordered, paid, followed, asked, and their result."""

import hashlib
import logging
from typing import Any

import msgspec

from koco.api.agents.calls import Calls
from koco.api.agents.mip003 import access, inputs
from koco.api.http.request import Request
from koco.api.middleware.idempotency import HEADER
from koco.control.access import payload_checks
from koco.control.executions.launcher import KEY_LENGTH
from koco.control.payments import result_text
from koco.control.payments.hashes import hash_input
from koco.control.services.catalog import Entry
from koco.errors import AnswerError, ConflictError, NotFoundError, UnreachableError, UsageError
from koco.events import line
from koco.events.model import Status
from koco.manifest.agent_rules import MIP003
from koco.manifest.descriptions import KODOSUMI
from koco.store.model import Execution, Lock, Payment, PaymentState, Terms

log = logging.getLogger(__name__)

#: The longest identifier of a purchaser (characters).
_IDENTIFIER_LENGTH = 1000

#: The shortest idempotency key of callers without a key of koco (characters).
_SHORTEST_KEY = 16

AWAITING_PAYMENT = "awaiting_payment"
AWAITING_INPUT = "awaiting_input"
RUNNING = "running"
COMPLETED = "completed"
FAILED = "failed"

_OF_PAYMENTS = {PaymentState.AWAITING: AWAITING_PAYMENT, PaymentState.FAILED: FAILED}
_OF_EXECUTIONS = {
    Status.AWAITING: AWAITING_INPUT,
    Status.FINISHED: COMPLETED,
    Status.ERROR: FAILED,
    Status.CANCELLED: FAILED,
}


class Order(msgspec.Struct, frozen=True):
    """The request for a job."""

    identifier_from_purchaser: str
    input_data: dict[str, Any] | None = None


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """A job that was accepted. `terms` are those of its payment, if it waits for one."""

    fid: str
    identifier: str
    input_hash: str
    terms: Terms | None


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A job at one moment. `execution` is None before it was paid."""

    fid: str
    status: str
    identifier: str
    input_hash: str
    payment: Payment | None
    execution: Execution | None
    #: Its open locks, while it awaits input.
    locks: list[Lock] = []
    #: The result as text once it is completed, and the reason once it has failed.
    result: str | None = None
    error: str | None = None


def find_flow(request: Request, name: str) -> Entry:
    """Return a flow by its full name.

    Raises:
        NotFoundError: there is none that the caller may use over MIP-003.
    """
    entry = Calls(request).flow(name, MIP003)
    if not access.may_see(request, name):
        raise NotFoundError(f"no flow is called {name[:200]!r}")
    return entry


async def start(request: Request, entry: Entry, order: Order, *, is_strict: bool = True) -> Started:
    """Accept a job: launch it, or keep it until it is paid if the flow has an agent's identifier.

    Unless `is_strict`, inputs that the form does not have are ignored.

    Raises:
        UsageError: the identifier is invalid.
        KocoError: see `Calls.launch` and `Payments.hold`. There is no job then.
    """
    identifier, given = order.identifier_from_purchaser, order.input_data or {}
    _check_identifier(identifier)
    input_hash = hash_input(given, identifier)
    sent = inputs.read(entry.form, given, is_strict=is_strict)
    if entry.form is not None and entry.flow.dialect == KODOSUMI:
        sent = inputs.to_texts(entry.form, sent)
    about = {"identifier_from_purchaser": identifier, "input_hash": input_hash}
    named = access.terms(request.parts.catalog, entry.name)
    if named is None or named.agent_identifier is None:
        execution, _ = await Calls(request).launch(
            entry,
            sent,
            key=_key(request, entry, order),
            about={MIP003: about},
            prefilled=entry.flow.dialect == KODOSUMI,
        )
        return Started(fid=execution.fid, identifier=identifier, input_hash=input_hash, terms=None)
    await request.parts.launches.check(entry, sent)
    payment = await _hold(
        request,
        entry,
        sent,
        identifier=identifier,
        input_hash=input_hash,
        agent=named.agent_identifier,
        network=named.network,
        about={"request": request.auth.request, MIP003: about},
    )
    return Started(
        fid=payment.fid, identifier=identifier, input_hash=input_hash, terms=payment.terms
    )


async def _hold(
    request: Request, entry: Entry, sent: dict[str, Any], *, agent: str, **more: Any
) -> Payment:
    """Keep a job until it is paid. Without a key, nobody learns where the payment service is.

    Raises as `Payments.hold`.
    """
    try:
        return await request.parts.payments.hold(
            entry, sent, user=request.auth.name, agent=agent, **more
        )
    except (AnswerError, ConflictError, UnreachableError) as exc:
        if not access.is_keyless(request):
            raise
        log.warning("a job of %s cannot be paid: %s", entry.name, exc.message)
        raise UnreachableError(
            "jobs cannot be paid at the moment", hint="try again later"
        ) from None


async def look(request: Request, fid: str, *, of: str | None) -> Job:
    """Return a job, with what it waits for or what has become of it.

    `of` is the full name of its flow, or None if it may be of any.

    Raises:
        NotFoundError: the caller may see no such job.
    """
    payment = await request.parts.store.payments.get(fid)
    is_before = payment is not None and payment.state in (PaymentState.AWAITING, PaymentState.PAID)
    try:
        execution = await Calls(request).execution(fid)
    except NotFoundError:
        # It failed before it was launched, or its execution was deleted.
        if payment is None or not (is_before or payment.state is PaymentState.FAILED):
            raise _missing(fid) from None
        _require_visible(request, payment, of)
        return _before_launch(payment)
    if of not in (None, execution.flow) or not access.may_see(request, execution.flow):
        raise _missing(fid)
    return await _of_execution(request, execution, payment)


def _missing(fid: str) -> NotFoundError:
    """Return the error for a job that is not there, and for one that the caller may not see."""
    return NotFoundError(f"there is no job {fid[:200]!r}")


def _require_visible(request: Request, payment: Payment, of: str | None) -> None:
    caller = request.auth
    is_theirs = caller.sight.user in (None, payment.user) and caller.reaches(payment.flow)
    is_of_flow = of in (None, payment.flow) and access.may_see(request, payment.flow)
    if not (is_theirs and is_of_flow):
        raise _missing(payment.fid)


def _before_launch(payment: Payment) -> Job:
    return Job(
        fid=payment.fid,
        status=_OF_PAYMENTS.get(payment.state, RUNNING),
        identifier=payment.identifier,
        input_hash=payment.input_hash,
        payment=payment,
        execution=None,
        error=payment.cause,
    )


async def _of_execution(request: Request, execution: Execution, payment: Payment | None) -> Job:
    parts = request.parts
    snapshot = await parts.store.snapshots.get(execution.fid, outcome=True, locks=True)
    now = snapshot.execution
    status = _OF_EXECUTIONS.get(now.status, RUNNING)
    about = await _about(request, now)
    payload = snapshot.payload if now.status.is_final else None
    return Job(
        fid=now.fid,
        status=status,
        identifier=str(about.get("identifier_from_purchaser", "")),
        input_hash=str(about.get("input_hash", "")),
        payment=payment,
        execution=now,
        locks=list(snapshot.locks) if status == AWAITING_INPUT else [],
        result=result_text.of(payload) if status == COMPLETED else None,
        error=_reason(now.status, payload) if status == FAILED else None,
    )


async def _about(request: Request, execution: Execution) -> dict[str, Any]:
    """Return what the first event, `meta`, says of the job; nothing if it was no such launch."""
    chunks = await request.parts.store.events.after(execution.id, 0, budget_bytes=1)
    if not chunks:
        return {}
    payload = line.decode(1, chunks[0].body.partition(b"\n")[0]).get("payload")
    found = payload.get(MIP003) if isinstance(payload, dict) else None
    return found if isinstance(found, dict) else {}


def _reason(status: Status, payload: Any) -> str:
    if status is Status.CANCELLED:
        return "it was cancelled"
    error = payload if isinstance(payload, dict) else {}
    kind, message = str(error.get("type", "")), str(error.get("message", ""))
    return f"{kind}: {message}" if kind and message else kind or message


def _key(request: Request, entry: Entry, order: Order) -> str | None:
    """Return the idempotency key of an order; None if it has none, or if the header's counts.

    Callers without a key of koco's are one user. So theirs counts only together with the whole
    order: another order with it is another job, and no answer tells of the first one.

    Raises:
        UsageError: it could be guessed, or is not valid.
    """
    key = request.headers.get(HEADER)
    if key is None or not access.is_keyless(request):
        return None
    if not _SHORTEST_KEY <= len(key) <= KEY_LENGTH or not (key.isascii() and key.isprintable()):
        raise UsageError(
            f"without a key of koco, an {HEADER} has {_SHORTEST_KEY} to {KEY_LENGTH} printable"
            " characters",
            hint="send a random one, such as a UUID: whoever guesses it may get the job",
        )
    ordered = (entry.name, key, order.identifier_from_purchaser, order.input_data)
    encoded = msgspec.json.encode(ordered, order="deterministic")
    return f"keyless:{hashlib.sha256(encoded).hexdigest()}"


def _check_identifier(identifier: str) -> None:
    if not 1 <= len(identifier) <= _IDENTIFIER_LENGTH or not identifier.isprintable():
        raise UsageError(
            "identifier_from_purchaser is not valid",
            hint=f"it has 1 to {_IDENTIFIER_LENGTH} printable characters",
        )
    payload_checks.refuse(identifier, "identifier_from_purchaser")
