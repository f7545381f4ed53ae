"""Jobs that are launched once they are paid, from the order to the submission of the result.

Each step is committed before the next one is taken, so a job goes on where it was if the control
plane is restarted. A payment service tells nobody when money arrives. So it is asked from time to
time while a job is open, and not at all while none is.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from koco.control.access import rights
from koco.control.executions.launcher import Launches
from koco.control.payments import result_text
from koco.control.payments.hashes import hash_output
from koco.control.payments.payment_service import PaymentService
from koco.control.services.catalog import Catalog, Entry
from koco.control.settings import Settings
from koco.control.tasks import Tasks
from koco.errors import InputsError, KocoError, LimitError, NotFoundError, TooManyError
from koco.events.model import Status
from koco.manifest.descriptions import KODOSUMI
from koco.plurals import counted
from koco.store.executions.repository import new_fid
from koco.store.model import AuditEntry, PaidJob, Payment, PaymentState
from koco.store.store import Store

log = logging.getLogger(__name__)

#: The state of a payment on the blockchain when its money is there.
_LOCKED = "FundsLocked"
#: How long after the deadline a payment may still arrive, because blocks take their time (s).
_LATE_S = 900.0
#: How long settled payments are kept (seconds).
_KEPT_S = 180 * 86_400.0
#: How many payments are looked at at once.
_AT_ONCE = 8
#: How many jobs of one key may wait for their payments: the payment service is asked for each.
MOST_UNPAID = 10_000
#: Refusals of a launch that another try would not change.
_FINAL = (InputsError, LimitError)


class Payments:
    """The paid jobs of one control plane."""

    def __init__(
        self,
        store: Store,
        catalog: Catalog,
        launches: Launches,
        *,
        service: PaymentService,
        settings: Settings,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._launches = launches
        self._service = service
        self._settings = settings
        self._tasks = Tasks("the payments")
        #: Set when there is a new job.
        self._news = asyncio.Event()
        #: The open jobs by fid, as far as they were looked at.
        self._jobs: dict[str, PaidJob] = {}

    async def hold(
        self,
        entry: Entry,
        inputs: dict[str, Any],
        *,
        user: str,
        identifier: str,
        input_hash: str,
        agent: str,
        network: str,
        about: dict[str, Any],
    ) -> Payment:
        """Commit a job that is launched once it is paid. Its execution will have its fid.

        `about` holds further fields for the execution's `meta` event.

        Raises as `PaymentService.request`, and nothing is committed then.

        Raises:
            TooManyError: too many jobs of the user wait for their payments.
        """
        self._refuse_more(user)

        async def commit() -> Payment:
            terms = await self._service.request(
                agent=agent, network=network, input_hash=input_hash, identifier=identifier
            )
            payment = Payment(
                fid=new_fid(),
                flow=entry.name,
                user=user,
                identifier=identifier,
                input_hash=input_hash,
                inputs=inputs,
                terms=terms,
                created=time.time(),
                about=about,
            )
            await self._store.payments.add(payment)
            self._jobs[payment.fid] = _job_of(payment)
            self._news.set()
            return payment

        return await self._tasks.finish(commit())

    def _refuse_more(self, user: str) -> None:
        jobs = [each for each in self._jobs.values() if each.user == user]
        if sum(each.state is PaymentState.AWAITING for each in jobs) >= MOST_UNPAID:
            raise TooManyError(
                f"{MOST_UNPAID} jobs wait for their payments, and no more may",
                hint="try again once some were paid, or were not in time",
                retry_after_s=60.0,
            )

    def start(self) -> None:
        """Carry the open payments on, from now on and without end."""
        self._tasks.keep(self._keep)

    async def _keep(self) -> None:
        while True:
            self._news.clear()
            payments = await self._store.payments.open()
            if not payments:
                self._jobs.clear()
                await self._store.payments.forget(time.time() - _KEPT_S)
                await self._news.wait()
                continue
            await self.look(payments)
            await asyncio.sleep(self._settings.masumi_poll_s)

    async def look(self, payments: Mapping[str, PaymentState]) -> None:
        """Carry some payments on as far as they go now. Those that are not among them are over."""
        self._jobs = {fid: each for fid, each in self._jobs.items() if fid in payments}
        turns = asyncio.Semaphore(_AT_ONCE)
        waiting: list[str] = []

        async def one(fid: str, state: PaymentState) -> None:
            async with turns:
                job = self._jobs.get(fid) or await self._store.payments.job(fid)
                if job is None:
                    return
                job = self._jobs[fid] = msgspec.structs.replace(job, state=state)
                try:
                    await self._advance(job)
                except KocoError as exc:
                    waiting.append(f"{fid}: {exc.message}")

        async with asyncio.TaskGroup() as group:
            for fid, state in payments.items():
                group.create_task(one(fid, state))
        if waiting:  # one line: there may be thousands
            log.warning("%s, the first: %s", counted(len(waiting), "payment", "waits"), waiting[0])

    async def _advance(self, job: PaidJob) -> None:
        if job.state is PaymentState.LAUNCHED:
            await self._submit(job)
        elif not await self._may_launch(job):
            await self._fail(job, "who ordered it has no access any more")
        elif job.state is PaymentState.AWAITING:
            await self._check(job)
        else:
            await self._launch(job)

    async def _may_launch(self, job: PaidJob) -> bool:
        """Whether who ordered a job may still launch it."""
        caller = await rights.of(self._store, job.user)
        return caller is not None and caller.may("launch") and caller.reaches(job.flow)

    async def _check(self, job: PaidJob) -> None:
        state = await self._service.state(job.terms)
        if state == _LOCKED:
            await self._store.payments.move(job.fid, job.state, PaymentState.PAID)
            await self._launch(job)
        elif state is not None:
            await self._fail(job, f"its payment is {state}")
        elif _is_over(job.terms.pay_by, _LATE_S):
            await self._fail(job, "it was not paid in time")

    async def _launch(self, job: PaidJob) -> None:
        if await self._store.executions.find(job.fid) is None:
            try:
                await self._create(job)
            except _FINAL as exc:
                await self._fail(job, f"it was paid, and could not be launched: {exc.message}")
                return
            except KocoError as exc:
                if not _is_over(job.terms.submit_by):
                    raise
                await self._fail(job, f"it could not be launched in time: {exc.message}")
                return
        await self._store.payments.move(job.fid, PaymentState.PAID, PaymentState.LAUNCHED)

    async def _create(self, job: PaidJob) -> None:
        entry = self._catalog.find(job.flow)
        payment = await self._store.payments.get(job.fid)
        assert payment is not None
        await self._launches.launch(
            entry,
            payment.inputs,
            user=job.user,
            about=payment.about,
            audited=AuditEntry(action="launch", who=job.user, detail={"paid": True}),
            as_browser=entry.flow.dialect == KODOSUMI,
            fid=job.fid,
        )

    async def _submit(self, job: PaidJob) -> None:
        """Submit the result of an execution that has ended."""
        try:
            snapshot = await self._store.snapshots.get(job.fid, outcome=True, locks=False)
        except NotFoundError:
            await self._fail(job, "its execution was deleted")
            return
        status = snapshot.execution.status
        if not status.is_final:
            return
        if status is not Status.FINISHED:
            await self._fail(job, f"its execution ended as {status}")
            return
        text = result_text.of(snapshot.payload)
        escaped = self._settings.masumi_escaped_hash
        result_hash = hash_output(text, job.identifier, escaped=escaped)
        try:
            await self._service.submit(job.terms, result_hash)
        except KocoError as exc:
            if not _is_over(job.terms.submit_by):
                raise
            # Purchasers without a key read the cause, and may not learn of the payment service.
            log.warning("the result of %s is not submitted: %s", job.fid, exc.message)
            await self._fail(job, "its result could not be submitted in time")
            return
        await self._store.payments.move(job.fid, job.state, PaymentState.SUBMITTED)

    async def _fail(self, job: PaidJob, cause: str) -> None:
        log.warning("the paid job %s of %s failed: %s", job.fid, job.flow, cause)
        now = await self._store.payments.job(job.fid)
        if now is not None:
            await self._store.payments.move(job.fid, now.state, PaymentState.FAILED, cause=cause)


def _job_of(payment: Payment) -> PaidJob:
    """Return a payment without its inputs."""
    return PaidJob(**{name: getattr(payment, name) for name in PaidJob.__struct_fields__})


def _is_over(deadline_ms: int, late_s: float = 0.0) -> bool:
    return time.time() > deadline_ms / 1000 + late_s
